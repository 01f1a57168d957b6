"""The command line: words in, one function of flow, query or report called, data to stdout, an exit status out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from shotlake.config import Config, field_paths, load_config
from shotlake.errors import ShotlakeError
from shotlake.terminal import ProgressView, conservation_lines, hit_lines, print_json, say, table_lines

app = typer.Typer(
    help="Turn an archive of video into searchable vectors in Delta Lake, exactly once, at a measured cost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
index_app = typer.Typer(help="Build, publish and inspect index generations.", no_args_is_help=True)
config_app = typer.Typer(help="Show the configuration and its keys.", no_args_is_help=True)
cost_app = typer.Typer(help="What an hour of video costs.", no_args_is_help=True)
models_app = typer.Typer(help="The encoders.", no_args_is_help=True)
for name, sub in {"index": index_app, "config": config_app, "cost": cost_app, "models": models_app}.items():
    app.add_typer(sub, name=name)

# typer carries a click of its own, of which it exports the leaves only
_click_exception = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
WrongWords = cast("type[typer.BadParameter]", _click_exception)

ConfigFile = Annotated[str | None, typer.Option("--config", help="YAML file; configs/archive.yaml is a commented one.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one key, such as embed.model=mini.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log every work unit.")]
LakeRoot = Annotated[str | None, typer.Option("--lake", help="Short for --set lake=...")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status. Errors are one sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(app(arguments, standalone_mode=False, prog_name="shotlake") or 0)
    except ShotlakeError as error:
        print(f"shotlake: {error.message}", file=sys.stderr)
        return error.exit_status
    except WrongWords as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(error.format_message())
        else:
            print(f"shotlake: {error.format_message()} See --help.", file=sys.stderr)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0


@app.command(epilog="Example: shotlake demo --seed 7")
def demo(
    seed: Annotated[int, typer.Option(help="Archive and queries are drawn by it.")] = 7,
    queries: Annotated[int, typer.Option(help="How many queries.")] = 8,
    sets: Sets = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Paint a small archive, run the whole job on it, and answer queries; leaves ./demo-lake."""
    from shotlake.demo import ARCHIVE, LAKE, demo_config, run_demo

    config = demo_config(LAKE, tuple(sets or ()))
    if not (as_json or quiet):
        say(
            f"Painting about 60 short videos of a toy world into ./{ARCHIVE} (seed {seed}), then the whole job on them."
        )
    with ProgressView(quiet) as progress:
        result = run_demo(seed, config, progress, queries)
    status = result.report.exit_status(config.limits)
    if as_json:
        print_json(result.to_json())
        return status
    _print_answers(result)
    for line in conservation_lines(result.report.to_json()):
        say(line)
    say(f"cost    {_cost_line(result.report)}")
    say()
    say("Next:  .venv/bin/shotlake search --config configs/demo.yaml 'a red circle'       ask the same lake")
    say("       .venv/bin/shotlake failures --config configs/demo.yaml                    what was lost, and why")
    say("       .venv/bin/shotlake serve --config configs/demo.yaml                       the same over HTTP")
    say("       .venv/bin/shotlake backfill YOUR_FOLDER --lake ./lake                     your own video")
    return status


def _print_answers(result: Any) -> None:
    say()
    for number, answer in enumerate(result.answers, 1):
        verdict = "the truth agrees" if answer.agree else "THE TRUTH DISAGREES"
        say(f"{number}. {answer.query.text!r}  (decided by {answer.query.kind}; {verdict})")
        marks = ["+" if agreed else "-" for agreed in answer.agreed]
        for line in hit_lines(answer.result.hits, str(result.archive.absolute()), marks):
            say(line)
    right = sum(answer.agree for answer in result.answers)
    say(f"\n{right} of {len(result.answers)} queries answered right at rank 1 (+ the truth agrees, - it does not)\n")


@app.command(epilog="Example: shotlake backfill ./videos s3://bucket/prefix --lake ./lake")
def backfill(
    sources: Annotated[list[str], typer.Argument(help="Folders or s3:// prefixes.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    max_hours: Annotated[float | None, typer.Option(help="Short for --set limits.max_hours=...")] = None,
    index: Annotated[str, typer.Option(help="auto: update the index at the end; never: leave it.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """List, decode, embed and write what is new in the sources, then update the index."""
    from shotlake.flow.backfill import backfill as run

    if index not in ("auto", "never"):
        raise typer.BadParameter(f"--index is {index!r}; auto or never is allowed.")
    tree = _load(config, sets, lake, [f"limits.max_hours={max_hours}"] if max_hours is not None else [])
    _log(verbose)
    with ProgressView(quiet) as progress:
        report = run(sources, tree, progress, build=index == "auto")
    status = report.exit_status(tree.limits)
    if as_json:
        print_json(report.to_json())
        return status
    if not report.ledger.videos["listed"]:
        print(f"shotlake: warning: no object under {', '.join(sources)}; nothing to do", file=sys.stderr)
    for line in conservation_lines(report.to_json()):
        say(line)
    if report.message:
        print(f"shotlake: {report.message}", file=sys.stderr)
    if report.ledger.codes:
        reasons = ", ".join(f"{n} {code}" for code, n in sorted(report.ledger.codes.items()))
        say(f"codes   {reasons}   (`shotlake failures` has the details)")
    say(f"cost    {_cost_line(report)}")
    say(f"index   {report.generation or 'unchanged'}")
    return status


@app.command(epilog="Example: shotlake search 'a red circle moving up' --lake ./lake --limit 5")
def search(
    text: Annotated[str, typer.Argument(help="What to look and listen for.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    limit: Annotated[int | None, typer.Option(help="Short for --set query.limit=...")] = None,
    space: Annotated[str | None, typer.Option(help="Short for --set query.space=...: fused, visual or audio.")] = None,
    as_json: AsJson = False,
) -> int:
    """Answer a question from the current index generation."""
    from shotlake.embed.load import load_encoder
    from shotlake.query.search import LakeSearch

    short = [f"query.limit={limit}"] if limit is not None else []
    tree = _load(config, sets, lake, short + ([f"query.space={space}"] if space else []))
    result = LakeSearch.open(tree.lake, load_encoder(tree.embed), tree).search(text)
    if as_json:
        print_json(result.to_json())
        return 0
    for line in hit_lines(result.hits):
        say(line)
    if not result.hits:
        say("no hit: the lake has no segments")
    return 0


@app.command(epilog="Example: shotlake serve --lake ./lake --set serve.port=8080")
def serve(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None) -> int:
    """Answer POST /v1/search on loopback until SIGINT or SIGTERM."""
    from shotlake.serve.deployment import run_service

    tree = _load(config, sets, lake)
    _log(False)
    return run_service(tree)


@app.command(epilog="Example: shotlake failures --lake ./lake")
def failures(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """What was lost, grouped by code, with an example each."""
    from shotlake.flow.status import failure_groups

    groups = failure_groups(_load(config, sets, lake).lake)
    if as_json:
        print_json({"failures": groups})
        return 0
    for line in table_lines(groups) or ["nothing was lost"]:
        say(line)
    return 0


@app.command(epilog="Example: shotlake status --lake ./lake")
def status(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """The newest runs and what the lake holds, from the lake alone."""
    from shotlake.flow.status import lake_status

    tree = lake_status(_load(config, sets, lake).lake)
    if as_json:
        print_json(tree)
        return 0
    for name, value in tree["lake"].items():
        say(f"{name:<12}{value}")
    for line in table_lines(tree["runs"]):
        say(line)
    return 0


@app.command(epilog="Example: shotlake verify --balance --lake ./lake")
def verify(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Recompute the conservation from the tables alone.")
    ] = True,
    as_json: AsJson = False,
) -> int:
    """Recompute from the tables that nothing vanished; exit 1 if something did."""
    from shotlake.flow.status import lake_balance

    tree = lake_balance(_load(config, sets, lake).lake)
    if as_json:
        print_json(tree)
    else:
        for name, value in tree.items():
            say(f"{name:<16}{value}")
    return 0 if tree["balanced"] else 1


@app.command(epilog="Example: shotlake maintain --lake ./lake")
def maintain(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Delete retired rows, join small files, checkpoint, remove what no version refers to."""
    from shotlake.flow.upkeep import maintain_lake

    return _print_counts(maintain_lake(_load(config, sets, lake)), as_json)


@app.command(epilog="Example: shotlake relocate s3://old/masters s3://new/masters --lake s3://my-lake/shotlake")
def relocate(
    old_root: Annotated[str, typer.Argument(help="The root as it was backfilled.")],
    new_root: Annotated[str, typer.Argument(help="Where its objects lie now.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Keep the vectors of an archive that was moved: match by etag and size, embed nothing again."""
    from shotlake.flow.upkeep import relocate_archive

    return _print_counts(relocate_archive(old_root, new_root, _load(config, sets, lake)), as_json)


@app.command(epilog="Example: shotlake erase --uri s3://archive/a.mp4 --reason 'request 17' --lake ./lake")
def erase(
    reason: Annotated[str, typer.Option(help="Kept with who and when; no content is.")],
    uri: Annotated[str | None, typer.Option(help="One object.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Every object below it.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Remove every trace of videos from the tables and prove it by reading the lake; exit 1 if a trace is left."""
    from shotlake.flow.upkeep import erase_videos

    done = erase_videos(uri, prefix, reason, _load(config, sets, lake))
    _print_counts(done, as_json)
    return 1 if done["traces"] else 0


@index_app.command("build", epilog="Example: shotlake index build --lake ./lake")
def index_build(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Build a generation from the newest table version and publish it."""
    from shotlake.flow.build_index import build_index

    manifest = build_index(_load(config, sets, lake))
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        say(f"published {manifest.generation} of table version {manifest.table_version}")
    return 0


@index_app.command("update", epilog="Example: shotlake index update --lake ./lake")
def index_update(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Add what is new to the current epoch as fresh shards, or build again where that is not good enough."""
    from shotlake.flow.build_index import build_index

    manifest = build_index(_load(config, sets, lake), action="update")
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        say(f"current is {manifest.generation} of table version {manifest.table_version}")
    return 0


@index_app.command("list", epilog="Example: shotlake index list --lake ./lake")
def index_list(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """The published generations of the lake, newest pointer last."""
    from shotlake.flow.build_index import published

    rows = published(_load(config, sets, lake))
    if as_json:
        print_json({"generations": rows})
        return 0
    for line in table_lines(rows) or ["no generation is published"]:
        say(line)
    return 0


@index_app.command("rollback", epilog="Example: shotlake index rollback GENERATION --lake ./lake")
def index_rollback(
    generation: Annotated[str, typer.Argument(help="A generation of `shotlake index list`.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
) -> int:
    """Point the lake at an earlier generation again."""
    from shotlake.flow.build_index import roll_back

    roll_back(_load(config, sets, lake), generation)
    say(f"current is {generation}")
    return 0


@cost_app.command("report", epilog="Example: shotlake cost report --lake ./lake")
def cost_report(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Dollars an hour of video, by stage and run, from the tables."""
    from shotlake.flow.status import costs
    from shotlake.report.render import report_lines

    report = costs(_load(config, sets, lake).lake)
    if as_json:
        print_json(report.to_json())
        return 0
    for line in report_lines(report):
        say(line)
    return 0


@models_app.command("info", epilog="Example: shotlake models info --set embed.model=mini")
def models_info(config: ConfigFile = None, sets: Sets = None, as_json: AsJson = False) -> int:
    """What the configured encoder is: its clip specification, spaces and fingerprint."""
    from shotlake.flow.space import describe

    tree = describe(_load(config, sets, None))
    if as_json:
        print_json(tree)
    else:
        for key, value in tree.items():
            say(f"{key:<18}{value}")
    return 0


@config_app.command("show", epilog="Example: shotlake config show --config configs/demo.yaml")
def config_show(config: ConfigFile = None, sets: Sets = None) -> int:
    """The whole tree as it is in force, as YAML."""
    import yaml

    say(yaml.safe_dump(_load(config, sets, None).model_dump(mode="json"), sort_keys=False).rstrip())
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


def _print_counts(counts: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(counts)
    else:
        for name, value in counts.items():
            say(f"{name:<20}{value}")
    return 0


def _load(file: str | None, sets: list[str] | None, lake: str | None, short: Sequence[str] = ()) -> Config:
    root = [f"lake={lake}"] if lake else []
    return load_config(file, [*(sets or ()), *root, *short])


def _log(verbose: bool) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("shotlake").setLevel(level)


def _cost_line(report: Any) -> str:
    from shotlake.report.render import cost_line

    return cost_line(report.cost)


if __name__ == "__main__":
    sys.exit(main())
