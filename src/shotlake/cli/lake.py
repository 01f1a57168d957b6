"""The lake: its upkeep, its costs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Sets, load, print_counts
from shotlake.terminal import print_json, say

app = typer.Typer()
cost_app = typer.Typer(help="What an hour of video costs.", no_args_is_help=True)
app.add_typer(cost_app, name="cost")


@app.command(epilog="Example: shotlake maintain --lake ./lake")
def maintain(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Delete retired rows, join small files, checkpoint, remove what no version refers to."""
    from shotlake.flow.upkeep import maintain_lake

    return print_counts(maintain_lake(load(config, sets, lake)), as_json)


@app.command(epilog="Example: shotlake repair --apply --lake ./lake")
def repair(
    apply: Annotated[bool, typer.Option("--apply", help="Do what is said; without it nothing is written.")] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Find lost files, doubled rows, units without rows and the like, and mend them; exit 1 while something is left."""
    from shotlake.flow.repair import repair_lake

    done = repair_lake(load(config, sets, lake), apply)
    if as_json:
        print_json(done)
    else:
        for line in _repair_lines(done):
            say(line)
    return 1 if done["left"] or (done["findings"] and not apply) else 0


def _repair_lines(done: dict[str, Any]) -> list[str]:
    lines = [f"{found['table']}: {found['what']}; {found['action']}" for found in done["findings"]]
    if done["leftover_files"] or done["leftover_outcomes"]:
        lines.append(
            f"({done['leftover_files']} files and {done['leftover_outcomes']} outcomes that nothing needs hurt nobody; "
            "shotlake maintain removes them)"
        )
    if done["units_of_live_runs"]:
        lines.append(f"({done['units_of_live_runs']} units of runs at work were not judged: ask again when they ended)")
    if not done["findings"]:
        return [*lines, "nothing is wrong"]
    if not done["applied"]:
        return [*lines, "nothing was changed; run with --apply to do it"]
    return [*lines, f"{done['left']} of this cannot be mended here" if done["left"] else "all was done"]


@app.command(epilog="Example: shotlake migrate --lake ./lake")
def migrate(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Give a lake of an earlier version the columns that this one knows."""
    from shotlake.flow.upkeep import migrate_lake

    return print_counts(migrate_lake(load(config, sets, lake)), as_json)


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

    return print_counts(relocate_archive(old_root, new_root, load(config, sets, lake)), as_json)


@app.command(epilog="Example: shotlake erase --uri s3://archive/a.mp4 --reason 'request 17' --lake ./lake")
def erase(
    reason: Annotated[str, typer.Option(help="Kept with who and when; no content is.")],
    uri: Annotated[str | None, typer.Option(help="One object.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Every object below it.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for runs that may still write it.")] = 0,
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Remove every trace of videos from the lake and prove it by searching it.

    A run that is at work drops them at its next commit; until then the erasure is `pending`, and the next erase,
    maintain or repair finishes it. Exit 1 if a trace is left although nobody is at work.
    """
    from shotlake.flow.erasure import erase_videos

    done = erase_videos(uri, prefix, reason, load(config, sets, lake), wait)
    print_counts(done, as_json)
    return 1 if done["traces"] and not done["waits_for"] else 0


@app.command(epilog="Example: shotlake unerase s3://archive/a.mp4 --lake ./lake")
def unerase(
    uri: Annotated[str, typer.Argument(help="The object, as it was erased; the lake keeps no name of it.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Let a video that was erased come back with the next backfill that lists it."""
    from shotlake.flow.erasure import unerase_video

    return print_counts(unerase_video(uri, load(config, sets, lake)), as_json)


@cost_app.command("report", epilog="Example: shotlake cost report --lake ./lake")
def cost_report(config: ConfigFile = None, sets: Sets = None, lake: LakeRoot = None, as_json: AsJson = False) -> int:
    """Dollars an hour of video, by stage and run, from the tables."""
    from shotlake.flow.status import costs
    from shotlake.report.render import report_lines

    report = costs(load(config, sets, lake).lake)
    if as_json:
        print_json(report.to_json())
        return 0
    for line in report_lines(report):
        say(line)
    return 0
