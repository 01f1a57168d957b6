"""The encoders: which there are, what the configured one is, fetching weights, proving that they work."""

from __future__ import annotations

from typing import Annotated

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Sets, load, print_counts
from shotlake.terminal import print_json, say, table_lines

app = typer.Typer(help="The encoders.", no_args_is_help=True)


@app.command("list", epilog="Example: shotlake models list")
def list_known(as_json: AsJson = False) -> int:
    """The encoders that are known by name, and which of them were fetched to this machine."""
    from shotlake.embed.known import list_models

    rows = list_models()
    if as_json:
        print_json(rows)
        return 0
    for line in table_lines(rows):
        say(line)
    return 0


@app.command("info", epilog="Example: shotlake models info --set embed.model=mini")
def info(config: ConfigFile = None, sets: Sets = None, as_json: AsJson = False) -> int:
    """What the configured encoder is: its clip specification, spaces and fingerprint."""
    from shotlake.flow.model_check import describe
    from shotlake.flow.space import open_space

    return print_counts(describe(open_space(load(config, sets, None))), as_json)


@app.command("fetch", epilog="Example: shotlake models fetch facebook/pe-av-base-16-frame")
def fetch(
    model: Annotated[str, typer.Argument(help="A hub id, owner/name.")],
    revision: Annotated[str, typer.Option(help="Commit, branch or tag; the newest commit if empty.")] = "",
    as_json: AsJson = False,
) -> int:
    """Download the weights of a public encoder, prove them, and print the commit to pin."""
    from shotlake.embed.known import fetch_model

    found = fetch_model(model, revision)
    tree = {
        "model": found.name,
        "revision": found.revision,
        "architecture": found.architecture,
        "weights_sha256": found.weights_sha256,
        "folder": str(found.folder),
    }
    print_counts(tree, as_json)
    if not as_json:
        say(f"\nUse it with --set embed.model={found.name} --set embed.revision={found.revision}")
    return 0


@app.command("check", epilog="Example: shotlake models check --set embed.model=mini --lake ./lake")
def check(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Load the configured encoder, embed a clip and a text with it, and compare it with the lake if there is one."""
    from shotlake.flow.model_check import check_model

    return print_counts(check_model(load(config, sets, lake)), as_json)


@app.command("cutover", epilog="Example: shotlake models cutover facebook/pe-av-base-16-frame --lake ./lake")
def cutover(
    target: Annotated[
        str, typer.Argument(help="A model, or an embed_key (its first 8 digits do); none lists the spaces.")
    ] = "",
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Even if videos of the space that answers now are missing in it.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Choose which vector space of the lake answers where no model is named; undone by naming the other one."""
    from shotlake.flow.cutover import cut_over, spaces

    tree = load(config, sets, lake)
    if target:
        return print_counts(cut_over(target, tree, allow_missing), as_json)
    rows = spaces(tree)
    if as_json:
        print_json({"spaces": rows})
        return 0
    for line in table_lines(rows) or ["no space is published"]:
        say(line)
    return 0
