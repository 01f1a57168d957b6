"""The index of a lake: its generations, built, brought up to date, compared, and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Sets, Verbose, load, log_to_stderr
from shotlake.errors import IndexingError
from shotlake.terminal import print_json, say, table_lines, tell

if TYPE_CHECKING:
    from shotlake.flow.index_plan import PlannedIndex
    from shotlake.index.manifest import Manifest

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
    from shotlake.flow.index_plan import plan_build

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


@app.command(epilog="Example: shotlake index build --lake ./lake")
def build(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    publish: Annotated[bool, typer.Option(help="Else it is stored, for `shotlake index publish`.")] = True,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Build a generation from the newest table version and publish it."""
    from shotlake.flow.build_index import build_index

    log_to_stderr(verbose)
    manifest = build_index(load(config, sets, lake), is_published=publish, tell=_tell_plan)
    said = "published" if publish else "stored, not published:"
    return _print_made(manifest, said, as_json)


@app.command(epilog="Example: shotlake index update --lake ./lake")
def update(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Do what `shotlake index status` advises: fresh shards for what is new, fewer shards, other targets, or build."""
    from shotlake.flow.build_index import build_index

    log_to_stderr(verbose)
    manifest = build_index(load(config, sets, lake), action="update", tell=_tell_plan)
    return _print_made(manifest, "current is", as_json)


@app.command(epilog="Example: shotlake index compact --lake ./lake")
def compact(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Join small shards and drop retired rows from those that are written again, without training or encoding."""
    from shotlake.flow.build_index import build_index

    log_to_stderr(verbose)
    manifest = build_index(load(config, sets, lake), action="compact")
    return _print_made(manifest, "current is", as_json)


def _print_made(manifest: Manifest, said: str, as_json: bool) -> int:
    """What a command has made of the index; exit status 0."""
    if as_json:
        print_json(manifest.to_json())
    else:
        shards = f"{len(manifest.shards)} shard(s), {manifest.n_rows:,} rows, {manifest.retired_rows:,} retired"
        say(f"{said} {manifest.generation} of table version {manifest.table_version}: {shards}")
    return 0


@app.command("list", epilog="Example: shotlake index list --lake ./lake")
def listing(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """The published generations of the lake, newest pointer last."""
    from shotlake.flow.generations import published

    rows = published(load(config, sets, lake))
    if as_json:
        print_json({"generations": rows})
        return 0
    for line in table_lines(rows) or ["no generation is published"]:
        say(line)
    return 0


@app.command(epilog="Example: shotlake index status --lake ./lake")
def status(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """The current generation beside the table, and whether to keep, re-tune or retrain it, and why."""
    from shotlake.flow.generations import standing

    found = standing(load(config, sets, lake))
    if as_json:
        print_json(found)
        return 0
    spaces, advice = found.pop("spaces"), found.pop("advice")
    for name, value in found.items():
        say(f"{name:<20}{'-' if value is None else value}")
    say()
    for line in table_lines(recall_rows(spaces)):
        say(line)
    for line in worst_collections(spaces):
        say(line)
    say()
    say(f"advice: {_ADVICE[advice['action']]}")
    for reason in advice["reasons"]:
        say(f"  {reason}")
    return 0


_ADVICE = {
    "keep": "keep it",
    "retune": "re-tune it (`shotlake index update`)",
    "update": "give it fresh shards (`shotlake index update`)",
    "compact": "join its shards (`shotlake index update`)",
    "build": "retrain it (`shotlake index update` or `build`)",
}


def recall_rows(spaces: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each space and kind of query."""
    return [
        {
            "space": space,
            "queries": kind,
            **{name: recall[name] for name in ("recall", "lower_bound", "target", "nprobe", "rerank", "ms")},
            "drift": " ".join(f"{name} {ratio}" for name, ratio in entry["drift"].items()) if entry["drift"] else "-",
        }
        for space, entry in spaces.items()
        for kind, recall in entry["recall_at_10"].items()
    ]


def worst_collections(spaces: dict[str, Any]) -> list[str]:
    """A line for each space whose recall was measured by collection, of the one that is found worst."""
    lines = []
    for space, entry in spaces.items():
        measured = [each for recall in entry["recall_at_10"].values() for each in recall["by_collection"]]
        if measured:
            worst = min(measured, key=lambda each: each["recall"])
            name = "the smaller collections" if worst["collection"] is None else f"collection {worst['collection']!r}"
            lines.append(
                f"worst of {len(measured)} in {space}: {name}, {worst['recall']} of {worst['n_queries']} queries"
            )
    return lines


@app.command(epilog="Example: shotlake index diff OLDER NEWER --queries queries.txt --lake ./lake")
def diff(
    first: Annotated[str, typer.Argument(help="A generation of `shotlake index list`.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    queries: Annotated[str, typer.Option(help="Texts to ask, one a line; else those that SECOND was tuned with.")] = "",
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """How the answers of two generations differ: common answers, the same best one, and answers that were lost."""
    from shotlake.flow.generations import differences

    found = differences(load(config, sets, lake), first, second, queries)
    if as_json:
        print_json(found)
        return 0
    rows = found["rows"]
    say(f"{first} ({rows['first']} rows) and {second} ({rows['second']} rows), queries: {found['queries']}")
    for line in table_lines([{"space": space, **numbers} for space, numbers in found["spaces"].items()]):
        say(line)
    return 0


@app.command(epilog="Example: shotlake index publish GENERATION --lake ./lake")
def publish(
    generation: Annotated[str, typer.Argument(help="What `shotlake index build --no-publish` printed.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Make a stored generation current: all of its bytes, its counts and its recall are checked first."""
    from shotlake.flow.generations import publish_stored

    number = publish_stored(load(config, sets, lake), generation)
    if as_json:
        print_json({"generation": generation, "pointer": number})
    else:
        say(f"current is {generation}, pointer {number}")
    return 0


@app.command(epilog="Example: shotlake index rollback --lake ./lake")
def rollback(
    generation: Annotated[str, typer.Argument(help="One of `shotlake index list`; else the one before.")] = "",
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Point the lake at an earlier generation again."""
    from shotlake.flow.generations import roll_back

    name = roll_back(load(config, sets, lake), generation)
    if as_json:
        print_json({"generation": name})
    else:
        say(f"current is {name}")
    return 0
