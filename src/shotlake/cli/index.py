"""The index of a lake: its generations, built, brought up to date, compared, and taken back."""

from __future__ import annotations

from typing import Annotated

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Sets, load
from shotlake.terminal import print_json, say, table_lines

app = typer.Typer(help="Build, publish and inspect index generations.", no_args_is_help=True)


@app.command("build", epilog="Example: shotlake index build --lake ./lake")
def build(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Build a generation from the newest table version and publish it."""
    from shotlake.flow.build_index import build_index

    manifest = build_index(load(config, sets, lake))
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        say(f"published {manifest.generation} of table version {manifest.table_version}")
    return 0


@app.command("update", epilog="Example: shotlake index update --lake ./lake")
def update(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Add what is new to the current epoch as fresh shards, or build again where that is not good enough."""
    from shotlake.flow.build_index import build_index

    manifest = build_index(load(config, sets, lake), action="update")
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
