"""The index of a lake: its generations, built, brought up to date, compared, and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Sets, load
from shotlake.errors import IndexingError
from shotlake.terminal import print_json, say, table_lines, tell

if TYPE_CHECKING:
    from shotlake.flow.index_plan import PlannedIndex

app = typer.Typer(help="Plan, build, publish and inspect index generations.", no_args_is_help=True)


@app.command("plan", epilog="Example: shotlake index plan --lake ./lake --rows 1000000000 --set embed.model=mini")
def plan(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="So many rows instead of the live ones of the lake, which is not opened.")
    ] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Values a vector instead of the encoder's.")] = None,
    as_json: AsJson = False,
) -> int:
    """What `index build` would build and cost, without building it; writes nothing. Exit 1 if it would be refused."""
    from shotlake.flow.build_index import plan_build

    found = plan_build(load(config, sets, lake), rows or 0, dim or 0)
    if as_json:
        print_json(found.to_json())
    else:
        for line in _plan_lines(found):
            say(line)
    if found.refused:
        raise IndexingError(found.refused)
    return 0


def _plan_lines(found: PlannedIndex) -> list[str]:
    from shotlake.report.render import size

    plan = found.plan
    return [
        f"rows      {plan.n_rows:,} of {plan.dim} values in {len(found.spaces)} space(s): {', '.join(found.spaces)}",
        f"index     {plan.factory}, {plan.code_bytes} bytes a code, {plan.nlist:,} lists, {plan.n_shards:,} shard(s)",
        f"training  {plan.train_rows:,} rows" if plan.codec != "exact" else "training  none: the index is exact",
        f"readers   {size(found.ram_bytes)} of RAM, {size(found.disk_bytes)} on disk",
        f"build     {size(found.build_bytes)} of memory, {_spent(found)}",
        f"          {found.price_basis}",
    ]


def _spent(found: PlannedIndex) -> str:
    from shotlake.report.render import dollars

    return f"about {found.effort.cpu_s:,.0f} CPU-s = {dollars(found.usd)}"


def _tell_plan(found: PlannedIndex) -> None:
    """The plan in two lines, before it is carried out."""
    from shotlake.report.render import size

    plan, action = found.plan, found.action
    fresh = "" if found.fresh_rows is None else f"{found.fresh_rows:,} fresh of "
    rows = f"{fresh}{plan.n_rows:,} rows of {plan.dim} values in {len(found.spaces)} space(s)"
    tell(f"{action}: {rows} as {plan.factory}, {size(found.ram_bytes)} of RAM, {size(found.disk_bytes)} on disk")
    tell(f"{action}: {size(found.build_bytes)} of memory, {_spent(found)} ({found.price_basis})")


@app.command("build", epilog="Example: shotlake index build --lake ./lake")
def build(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Build a generation from the newest table version and publish it."""
    from shotlake.flow.build_index import build_index

    manifest = build_index(load(config, sets, lake), tell=_tell_plan)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        say(f"published {manifest.generation} of table version {manifest.table_version}")
    return 0


@app.command("update", epilog="Example: shotlake index update --lake ./lake")
def update(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Add what is new to the current epoch as fresh shards, or build again where that is not good enough."""
    from shotlake.flow.build_index import build_index

    manifest = build_index(load(config, sets, lake), action="update", tell=_tell_plan)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        say(f"current is {manifest.generation} of table version {manifest.table_version}")
    return 0


@app.command("list", epilog="Example: shotlake index list --lake ./lake")
def listing(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """The published generations of the lake, newest pointer last."""
    from shotlake.flow.build_index import published

    rows = published(load(config, sets, lake))
    if as_json:
        print_json({"generations": rows})
        return 0
    for line in table_lines(rows) or ["no generation is published"]:
        say(line)
    return 0


@app.command("rollback", epilog="Example: shotlake index rollback GENERATION --lake ./lake")
def roll_back(
    generation: Annotated[str, typer.Argument(help="A generation of `shotlake index list`.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
) -> int:
    """Point the lake at an earlier generation again."""
    from shotlake.flow import build_index

    build_index.roll_back(load(config, sets, lake), generation)
    say(f"current is {generation}")
    return 0
