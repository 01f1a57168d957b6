"""Questions: to the index, to the encoder, to the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shotlake.cli import models
from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Sets, load, log_to_stderr
from shotlake.config import Config, field_paths
from shotlake.records import Space
from shotlake.terminal import clock, hit_lines, print_json, say, tell

if TYPE_CHECKING:
    from shotlake.query.result import SearchResult

app = typer.Typer()
config_app = typer.Typer(help="Show the configuration and its keys.", no_args_is_help=True)
app.add_typer(models.app, name="models")
app.add_typer(config_app, name="config")


@app.command(epilog="Example: shotlake search 'a red circle moving up' --lake ./lake --limit 5")
def search(
    text: Annotated[str, typer.Argument(help="What to look and listen for; may be left out beside a file.")] = "",
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    limit: Annotated[int | None, typer.Option(help="Short for --set query.limit=...")] = None,
    space: Annotated[
        str | None, typer.Option(help="Short for --set query.space=...: fused, visual, audio or auto.")
    ] = None,
    of: Annotated[str, typer.Option(help="moments, or scenes or videos as a whole.")] = "moments",
    image: Annotated[Path | None, typer.Option(help="A picture to look for.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A sound to listen for; of a video its sound.")] = None,
    clip: Annotated[Path | None, typer.Option(help="A video whose like to look and listen for.")] = None,
    recall: Annotated[float | None, typer.Option(help="recall@10 other than the index was tuned to.")] = None,
    time_limit_ms: Annotated[
        float | None, typer.Option(help="Take the best recall@10 that was measured within so long.")
    ] = None,
    where: Annotated[str, typer.Option("--filter", help="Such as 'collection = news and date >= 2026-01-01'.")] = "",
    group_size: Annotated[int, typer.Option(help="So many moments of each video together; --limit counts videos.")] = 0,
    cursor: Annotated[str, typer.Option(help="That of the page before, with the same query.")] = "",
    generation: Annotated[str, typer.Option(help="Ask this generation, without newer rows.")] = "",
    as_json: AsJson = False,
) -> int:
    """Answer a question from the current index generation, or from the vectors of whole scenes or videos."""
    from shotlake.embed.load import load_encoder
    from shotlake.query.default import with_default_model
    from shotlake.query.request import SearchRequest, Term
    from shotlake.query.search import LakeSearch
    from shotlake.query.whole import Kind, WholeSearch
    from shotlake.serve.files import FileKind, read_files

    given: dict[FileKind, Path | None] = {"image": image, "audio": audio, "clip": clip}
    files = {kind: path for kind, path in given.items() if path}
    short = [f"query.limit={limit}"] if limit is not None else []
    tree = with_default_model(load(config, sets, lake, short + ([f"query.space={space}"] if space else [])))
    encoder = load_encoder(tree.embed)
    match of:
        case "moments":
            terms = [Term("text", text)] if text or not files else []
            request = SearchRequest(
                (*terms, *read_files(files, encoder, tree.decode)),
                filter=where,
                recall=recall,
                time_limit_ms=time_limit_ms,
                group_by="video" if group_size else None,
                group_size=max(1, group_size),
                cursor=cursor,
                generation=generation,
            )
            result = LakeSearch.open(tree.lake, encoder, tree).answer(request)
        case "videos" | "scenes":
            kind: Kind = "video" if of == "videos" else "scene"
            result = WholeSearch.open(tree.lake, encoder, tree).search(text, kind)
        case other:
            raise typer.BadParameter(f"--of is {other!r}; moments, scenes or videos is allowed.")
    if as_json:
        print_json(result.to_json())
        return 0
    _say_result(result, narrowed=bool(where or cursor))
    return 0


def _say_result(result: SearchResult, narrowed: bool) -> None:
    """Hits for people to read, and what they should know about them."""
    if result.match and not result.match.good:
        say(f"no good match: the best score is {result.match.score:.3f}, a match has {result.match.threshold:.3f}")
    for line in hit_lines(result.hits):
        say(line)
    if result.spent:
        say(f"partial: the query has used up its {result.spent}; {result.coverage:.0%} of the rows were looked at")
    if not result.hits:
        say("no hit: nothing in the lake passes" if narrowed else "no hit: the lake has no segments")
    elif result.cursor:
        say(f"more: --cursor {result.cursor}")


@app.command("near-duplicates", epilog="Example: shotlake near-duplicates --likeness 0.98 --lake ./lake")
def near_duplicates(
    likeness: Annotated[
        float, typer.Option(help="Cosine of two segments that show the same.", min=0.01, max=1.0)
    ] = 0.95,
    space: Annotated[Space, typer.Option(help="What to compare: fused, visual or audio.")] = "fused",
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Segments that show the same in several videos, in groups, the largest first; by exact vectors."""
    from shotlake.embed.load import load_encoder
    from shotlake.query.default import with_default_model
    from shotlake.query.duplicates import near_duplicates as find
    from shotlake.query.search import LakeSearch

    tree = with_default_model(load(config, sets, lake))
    groups = find(LakeSearch.open(tree.lake, load_encoder(tree.embed), tree).rows, likeness, space)
    if as_json:
        print_json({"groups": groups})
        return 0
    for number, group in enumerate(groups, 1):
        say(f"{number}. {len(group)} segments")
        for segment in group:
            say(f"   {clock(segment['start_us'])}-{clock(segment['end_us'])}  {segment['uri']}")
    if not groups:
        say(f"no two videos have segments with a cosine of {likeness:g} in {space}")
    return 0


@app.command(epilog="Example: shotlake serve --lake ./lake --set serve.port=8080")
def serve(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None) -> int:
    """Answer POST /v1/search on loopback until SIGINT or SIGTERM."""
    tree = load(config, sets, lake)
    tell(f"starting to serve {tree.lake}; another line follows when it is ready")
    from shotlake.serve.command import run_service  # takes seconds

    log_to_stderr(False)
    return run_service(tree)


@config_app.command("show", epilog="Example: shotlake config show --config configs/demo.yaml")
def config_show(config: ConfigFile = None, sets: Sets = None) -> int:
    """The whole tree as it is in force, as YAML."""
    import yaml

    say(yaml.safe_dump(load(config, sets, None).model_dump(mode="json"), sort_keys=False).rstrip())
    return 0


@config_app.command("schema", epilog="Example: shotlake config schema")
def config_schema(as_json: AsJson = False) -> int:
    """Every key with its meaning, or the JSON schema."""
    if as_json:
        print_json(Config.model_json_schema())
        return 0
    for path, meaning in field_paths().items():
        say(f"{path:<36}{meaning}")
    return 0
