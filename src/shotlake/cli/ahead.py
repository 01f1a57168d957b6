"""Before a run: what it would do, and whether this machine, its store and its credentials are up to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Quiet, Sets, load, log_to_stderr
from shotlake.terminal import ProgressView, print_json, say, table_lines

app = typer.Typer()


@app.command(epilog="Example: shotlake plan s3://archive/masters --lake s3://my-lake/shotlake --sample 5")
def plan(
    sources: Annotated[list[str], typer.Argument(help="What `backfill` would be given.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    probes: Annotated[int, typer.Option(min=0, help="Videos to open, evenly spread; 0 opens all.")] = 200,
    sample: Annotated[
        int, typer.Option(min=0, help="Units to decode and embed here for a rate; 0 takes that of the lake's runs.")
    ] = 0,
    nodes: Annotated[int, typer.Option(min=1, help="Machines that the forecast spreads the run over.")] = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """What a backfill would do and cost, without doing it; writes nothing into the lake."""
    from shotlake.flow.forecast import Asked, forecast_backfill

    tree = load(config, sets, lake)
    log_to_stderr(False)
    with ProgressView(quiet) as progress:
        found = forecast_backfill(sources, tree, Asked(probes, sample, nodes), progress)
    if as_json:
        print_json(found)
        return 0
    for line in _plan_lines(found):
        say(line)
    return 0


def _plan_lines(found: dict[str, Any]) -> list[str]:
    from shotlake.report.render import dollars, size

    videos, opened = found["videos"], found["opened"]
    classes = " + ".join(f"{videos[name]} {name}" for name in ("to_do", "unchanged", "skipped", "failed"))
    about = "" if opened["all"] else "about "
    failed = ", ".join(f"{n} {code}" for code, n in opened["failed"].items())
    lines = [
        f"videos    {videos['listed']} listed = {classes}; {videos['vanished']} vanished",
        f"opened    {opened['videos']} of {videos['to_do']}{'; ' + failed if failed else ''}",
        f"to do     {about}{found['video_hours']:,.2f} video-hours, {found['units']:,} units in "
        f"{found['blocks']:,} blocks, {found['cells']:,} cells, {size(found['bytes_to_do'])}",
    ]
    lines += [f"skipped   {n} {reason}" for reason, n in found["skipped_by"].items()]
    if found["video_hours_this_run"] < found["video_hours"]:
        lines.append(f"this run  {found['video_hours_this_run']:,.2f} video-hours; limits leave the rest for later")
    expected = found["forecast"]
    if expected is None:
        return [*lines, "forecast  none: no run of this lake has measured a rate; --sample 5 measures one here"]
    return [
        *lines,
        f"forecast  {expected['core_hours']:,.2f} core-hours, {expected['wall_s'] / 3600:,.2f} h on "
        f"{expected['nodes']} x {expected['instance']}, {dollars(expected['usd'])}: "
        f"{dollars(expected['usd_per_video_hour'])} an hour of video",
        f"          {expected['basis']}",
        f"          {expected['price_basis']}",
    ]


@app.command(epilog="Example: shotlake doctor s3://archive/masters --config configs/archive.yaml")
def doctor(
    source: Annotated[str, typer.Argument(help="What `backfill` would be given; may be left out.")] = "",
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    as_json: AsJson = False,
) -> int:
    """Try everything that a run needs and say what to do about what is missing; exit 4 if a run would fail."""
    from shotlake.flow.doctor import examine

    checks = examine(load(config, sets, lake), source)
    rows = [check.to_json() for check in checks]
    is_well = all(check.status != "fail" for check in checks)
    if as_json:
        print_json({"well": is_well, "checks": rows})
    else:
        for line in table_lines(rows):
            say(line)
    return 0 if is_well else 4
