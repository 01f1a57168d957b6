"""Two programs at one lake, and sources that change under the run: nothing is doubled, nothing is blamed wrongly."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.sabotage import commits, data_files, start, wait_until
from tests.flow.lakes import assert_same_lake, local_config, run, segments

from shotlake.config import Config
from shotlake.flow.backfill import backfill
from shotlake.flow.upkeep import maintain_lake
from shotlake.flow.verify import lake_balance
from shotlake.table.lake import Lake

BRIEF = "table.lease_s=3"
SLOW = """
import time
import shotlake.flow.steps as steps
honest = steps.write_segments
steps.write_segments = lambda *arguments: (time.sleep(1), honest(*arguments))[1]
"""


def test_the_same_job_twice_at_once_runs_once(archive: Path, lake: Config, converges: Callable) -> None:
    with start(archive, lake, sabotage=SLOW) as first:
        wait_until(lambda: data_files(lake), first)
        with start(archive, lake) as second:
            _, said = second.communicate()
        _, err = first.communicate()
    assert first.returncode == 0, err
    assert second.returncode == 1
    assert "is working on" in said and said.count("\n") == 1
    converges(lake)


def test_two_roots_are_backfilled_beside_each_other(archive: Path, tmp_path: Path, undisturbed: Config) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for number, path in enumerate(sorted(archive.iterdir())):
        folder = (left, right)[number % 2]
        folder.mkdir(exist_ok=True)
        shutil.copy2(path, folder / path.name)
    config = local_config(tmp_path / "lake")
    with start(left, config) as one, start(right, config) as other:
        reports = [json.loads(process.communicate()[0]) for process in (one, other)]
    assert [(report["videos"]["indexed"], report["balanced"]) for report in reports] == [(2, True), (2, True)]
    assert len(segments(config)) == len(segments(undisturbed))
    assert lake_balance(config.lake)["balanced"]


def test_a_run_that_slept_past_its_lease_writes_nothing_more(archive: Path, lake: Config, converges: Callable) -> None:
    with start(archive, lake, BRIEF) as sleeper:
        wait_until(lambda: commits(lake) > 2, sleeper)
        sleeper.send_signal(signal.SIGSTOP)
        with start(archive, lake, BRIEF) as second:
            _, err = second.communicate()
        assert second.returncode == 0, err
        sleeper.send_signal(signal.SIGCONT)
        _, said = sleeper.communicate()
    assert sleeper.returncode == 1
    assert "lease" in said
    converges(lake)


def test_a_compaction_during_the_run(archive: Path, lake: Config, converges: Callable) -> None:
    compacted = []

    def compact(stage: str, done: int, total: int) -> None:
        if stage == "videos":
            compacted.append(maintain_lake(lake))

    backfill([str(archive)], lake, compact, build=False)
    assert len(compacted) > 4
    converges(lake)


@pytest.fixture
def shaky(archive: Path, tmp_path: Path) -> Path:
    """A copy of the archive that may change."""
    return Path(shutil.copytree(archive, tmp_path / "shaky"))


def test_objects_are_deleted_and_overwritten_while_the_run_reads(shaky: Path, lake: Config, tmp_path: Path) -> None:
    _, _, gone, changed = sorted(shaky.iterdir())
    kept = tmp_path / "kept.mp4"
    donor = sorted(shaky.iterdir())[0]

    def meddle(stage: str, done: int, total: int) -> None:
        if stage == "probe" and done and not kept.exists():  # the first wave is planned, these two are listed
            shutil.move(gone, kept)
            changed.write_bytes(donor.read_bytes())

    report = backfill([str(shaky)], lake, meddle, build=False)
    assert report.ledger.balanced
    assert {name: report.ledger.videos[name] for name in ("indexed", "failed")} == {"indexed": 2, "failed": 2}
    assert dict(report.ledger.codes) == {"not_found": 1, "source_changed": 1}
    shutil.move(kept, gone)
    again = run(shaky, lake)
    assert again.ledger.videos["indexed"] == 2 and again.ledger.balanced
    fresh = local_config(tmp_path / "fresh", "catalog.block_s=1", "catalog.unit_s=8")
    run(shaky, fresh)
    assert_same_lake(lake, fresh)


# Every clock of the process goes an hour wrong.
SKEW = """
import sys, time
from datetime import datetime, timedelta
class AnyDatetime(type):
    def __instancecheck__(cls, value):
        return isinstance(value, datetime)
class Skewed(datetime, metaclass=AnyDatetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours={hours})
import shotlake.cli.job, shotlake.flow.backfill, shotlake.flow.plan, shotlake.flow.run, shotlake.flow.steps
import shotlake.table.committer, shotlake.table.lease, shotlake.catalog.listing
for name, module in list(sys.modules.items()):
    if name.startswith("shotlake.") and getattr(module, "datetime", None) is datetime:
        module.datetime = Skewed
"""


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_that_differ_by_an_hour(hours: int, shaky: Path, archive: Path, lake: Config, tmp_path: Path) -> None:
    """A file changes between two runs whose clocks disagree; a third sees the new content, and nothing left to do."""
    first, *_, last = sorted(shaky.iterdir())
    with start(shaky, lake) as process:
        wait_until(lambda: commits(lake) > 3, process)
        process.kill()
    first.write_bytes(last.read_bytes())
    with start(shaky, lake, sabotage=SKEW.format(hours=hours)) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["balanced"]
    third = run(shaky, lake)
    assert third.ledger.videos["unchanged"] == 4 and third.ledger.balanced
    fresh = local_config(tmp_path / "fresh", "catalog.block_s=1", "catalog.unit_s=8")
    run(shaky, fresh)
    from shotlake.flow.space import open_space
    from shotlake.table.readers import live_segments

    key = open_space(fresh).key
    ids = [
        sorted(row for batch in live_segments(Lake.open(config.lake), key, ["segment_id"])
               for row in batch["segment_id"].to_pylist())
        for config in (lake, fresh)
    ]  # fmt: skip
    assert ids[0] == ids[1]
