"""The main job. `backfill()` is the architecture: read it top to bottom, as the data flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shotlake.catalog.sources import span
from shotlake.config import Config
from shotlake.flow.build_index import is_behind, update_unless_held
from shotlake.flow.erasure import finish_erasures
from shotlake.flow.interrupt import Interruptible
from shotlake.flow.plan import plan_wave
from shotlake.flow.pools import run_blocks
from shotlake.flow.run import Run, check_prices
from shotlake.flow.run_report import RunReport
from shotlake.flow.space import check_lake, open_space
from shotlake.flow.survey import check_source, supersede, survey
from shotlake.flow.tables import delta_rows
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease

Progress = Callable[[str, int, int], None]


def backfill(
    sources: Sequence[str],
    config: Config,
    progress: Progress,
    build: bool = True,
    retried: frozenset[str] = frozenset(),
) -> RunReport:
    """Bring the lake up to date with the sources: what is new is decoded, embedded and committed exactly once.

    `sources`: folders or s3:// prefixes. `progress(stage, done, total)` is called as the run goes on. `build`: update
    the index at the end. `retried`: work only at what was lost with these codes, however often it was tried.
    Errors: PreflightError before anything is written; CommitError; bad media never raises.
    """
    roots = [check_source(source, config.catalog) for source in sources]
    space = open_space(config)
    prices = check_prices(config, roots)
    lake = Lake.create_or_open(config.lake)
    check_lake(lake, space, config)
    run = Run(lake, space, config, roots, prices, retried)
    with run, Interruptible() as stop:
        for root in roots:
            within = span(root, delta_rows(root))
            with Lease.acquire(lake.root, space.key, within, run.run_id, config.table.lease_s) as lease:
                with run.committing(lease):
                    found = survey(root, run)  # every object of the root: skipped, unchanged, known to fail, or to do
                    if len(found.todo):
                        run.start_engine()
                        stop.arm()
                        run.tell()
                    # a bounded number of videos, which is what the driver holds
                    for wave in found.todo.waves(config.flow.wave_videos, config.catalog, within):
                        if run.is_full:
                            break
                        progress("probe", 0, len(wave))
                        plan = plan_wave(wave, root, run)  # a probe a video, 1..n units of about 10 minutes each
                        progress("probe", len(wave), len(wave))
                        for report in run_blocks(plan.blocks, run.job, config, plan.rows_per_file):
                            # decoded, embedded and written by now: a report a data file, with the units in it
                            with stop.shield():
                                run.take(report)
                            progress("videos", run.ledger.n_done, run.ledger.videos["listed"])
                        run.end_wave()
                supersede(found, run)  # a changed object's old rows, once the new ones are in
        if run.watch.has_copies:
            finish_erasures(lake, config)
        run.pool()  # a row a video and scene, of its segments
        if build and (run.has_news or is_behind(config, space)):
            with run.measured("index"):
                run.generation = update_unless_held(config, space)
    return run.report()
