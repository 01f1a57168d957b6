"""The job: run it on the demo or on an archive, and see how it went."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Quiet, Sets, Verbose, load, log_to_stderr
from shotlake.config import Config
from shotlake.terminal import (
    ProgressView,
    conservation_lines,
    hit_lines,
    print_json,
    running_line,
    say,
    table_lines,
)

if TYPE_CHECKING:
    from shotlake.flow.run_report import RunReport

app = typer.Typer()


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
    from shotlake.report.render import cost_line

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
    say(f"cost    {cost_line(result.report.cost)}")
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
    sources: Annotated[
        list[str], typer.Argument(help="Folders, s3:// prefixes, Inventory manifests, lists or Delta tables of URIs.")
    ],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    max_hours: Annotated[float | None, typer.Option(help="Short for --set limits.max_hours=...")] = None,
    max_units: Annotated[int | None, typer.Option(help="Short for --set limits.max_units=...")] = None,
    index: Annotated[str, typer.Option(help="auto: update the index at the end; never: leave it.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """List, decode, embed and write what is new in the sources, then update the index."""
    from shotlake.flow.backfill import backfill as run

    if index not in ("auto", "never"):
        raise typer.BadParameter(f"--index is {index!r}; auto or never is allowed.")
    limits = {"max_hours": max_hours, "max_units": max_units}
    tree = load(config, sets, lake, [f"limits.{name}={value}" for name, value in limits.items() if value is not None])
    log_to_stderr(verbose)
    with ProgressView(quiet) as progress:
        report = run(sources, tree, progress, build=index == "auto")
    if not (report.ledger.videos["listed"] or as_json):
        print(f"shotlake: warning: no object under {', '.join(sources)}; nothing to do", file=sys.stderr)
    return _print_report(report, tree, as_json)


@app.command(epilog="Example: shotlake retry --code timed_out --code crashed --lake ./lake")
def retry(
    code: Annotated[list[str], typer.Option(help="What was lost with it is tried again; may be repeated.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Work again at what was lost with the named codes, however often it was tried, and at nothing else."""
    from shotlake.flow.backfill import backfill as run
    from shotlake.flow.status import failure_groups, roots_with

    tree, codes = load(config, sets, lake), frozenset(code)
    known = [group["code"] for group in failure_groups(tree.lake)]
    if unknown := sorted(codes - set(known)):
        lost = f"this lake has {', '.join(known)}" if known else "nothing is lost"
        raise typer.BadParameter(f"nothing is lost with --code {', '.join(unknown)}; {lost}.")
    log_to_stderr(verbose)
    with ProgressView(quiet) as progress:
        report = run(roots_with(tree.lake, codes), tree, progress, retried=codes)
    return _print_report(report, tree, as_json)


def _print_report(report: RunReport, tree: Config, as_json: bool) -> int:
    from shotlake.report.render import cost_line

    status = report.exit_status(tree.limits)
    if as_json:
        print_json(report.to_json())
        return status
    for line in conservation_lines(report.to_json()):
        say(line)
    if report.message:
        print(f"shotlake: {report.message}", file=sys.stderr)
    if report.ledger.codes:
        reasons = ", ".join(f"{n} {code}" for code, n in sorted(report.ledger.codes.items()))
        say(f"codes   {reasons}   (`shotlake failures` has the details)")
    if tree.decode.device != "cpu":
        devices = report.ledger.devices
        say(f"decode  {devices['nvdec']} units on nvdec, {devices['cpu']} on the CPU instead")
    say(f"cost    {cost_line(report.cost)}")
    say(f"index   {report.generation or 'unchanged'}")
    return status


@app.command(epilog="Example: shotlake status --lake ./lake")
def status(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """The newest runs and what the lake holds, from the lake alone."""
    from shotlake.flow.status import lake_status

    tree = lake_status(load(config, sets, lake).lake)
    if as_json:
        print_json(tree)
        return 0
    for name, value in tree["lake"].items():
        say(f"{name:<12}{value}")
    counts = ("listed", "indexed", "partial", "failed", "deferred")
    names = ("run_id", "status", "started_at", "video_hours", *counts, "usd")
    for line in table_lines([{name: run[name] for name in names} for run in tree["runs"]]):
        say(line)
    for run in tree["runs"]:
        if run["heard_s"] is not None:
            say(running_line(run))
    return 0


@app.command(epilog="Example: shotlake failures --lake ./lake")
def failures(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """What was lost, grouped by code, with an example each."""
    from shotlake.flow.status import failure_groups

    groups = failure_groups(load(config, sets, lake).lake)
    if as_json:
        print_json({"failures": groups})
        return 0
    for line in table_lines(groups) or ["nothing was lost"]:
        say(line)
    return 0


@app.command(epilog="Example: shotlake verify --sample 20 --lake ./lake")
def verify(
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    balance: Annotated[
        bool, typer.Option("--balance/--no-balance", help="Recompute the conservation from the tables alone.")
    ] = True,
    sample: Annotated[int, typer.Option(min=0, help="Make so many rows again from their sources and compare.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the sample.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Recompute from the tables that nothing vanished, and make rows again; exit 1 if something is not as it says."""
    from shotlake.flow.verify import lake_balance, verify_sample

    tree = load(config, sets, lake)
    found = lake_balance(tree.lake) if balance else {}
    remade = verify_sample(tree, sample, seed) if sample else {}
    if as_json:
        print_json({**found, **({"sample": remade} if remade else {})})
    else:
        rows = remade.pop("rows", [])
        for name, value in {**found, **remade}.items():
            say(f"{name:<16}{value}")
        for line in table_lines(rows):
            say(line)
    return 0 if found.get("balanced", True) and remade.get("sound", True) else 1
