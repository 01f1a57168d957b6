"""The driver dies where it hurts; the next run converges to the undisturbed lake."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults.conftest import PIECES
from tests.faults.sabotage import command, commits, start
from tests.flow.lakes import local_config, run, segments

from shotlake.config import Config
from shotlake.flow.erasure import erase_videos
from shotlake.flow.upkeep import maintain_lake
from shotlake.flow.verify import lake_balance
from shotlake.world.archive import Truth

# Where the process kills itself: (module, what, "before" or "after", at which call).
POINTS = {
    "while listing": ("shotlake.flow.portions", "videos_in", "before", 1),
    "before a data file": ("shotlake.flow.steps", "write_segments", "before", 2),
    "after a data file": ("shotlake.flow.steps", "write_segments", "after", 2),
    "before the commit of segments": ("shotlake.table.lake", "Lake.add_files", "before", 2),
    "after the commit of segments, before units": ("shotlake.table.lake", "Lake.add_files", "after", 2),
    "before units": ("shotlake.table.committer", "append_outcomes", "before", 3),
    "after units": ("shotlake.table.committer", "append_outcomes", "after", 2),
    "between executions": ("shotlake.flow.backfill", "plan_wave", "before", 2),
    "while the lease is released": ("shotlake.table.lease", "Lease.release", "before", 1),
}

SABOTAGE = """
import importlib, os, signal
module, name, when, at = {point!r}
owner = importlib.import_module(module)
if "." in name:
    owner, name = getattr(owner, name.split(".")[0]), name.split(".")[1]
honest, calls = getattr(owner, name), [0]

def deadly(*arguments, **named):
    calls[0] += 1
    if when == "before" and calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    result = honest(*arguments, **named)
    if when == "after" and calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, deadly)
"""


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_marked_point(point: str, archive: Path, lake: Config, converges: Callable) -> None:
    with start(archive, lake, sabotage=SABOTAGE.format(point=POINTS[point])) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    converges(lake)


@pytest.mark.ray
@pytest.mark.parametrize("kills", [pytest.param(2, marks=pytest.mark.long), pytest.param(10, marks=pytest.mark.slow)])
def test_the_whole_group_killed_at_random_moments(kills: int, archive: Path, lake: Config, converges: Callable) -> None:
    """`kill -9` of the job, once it has new files, and of all that it started; two seconds later it runs again."""
    chance, progress, killed = random.Random(3), [], 0
    for _ in range(kills):
        before = data_files(lake)
        with start(archive, lake, engine="ray") as process:
            while not data_files(lake) - before and process.poll() is None:
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 3))
            with suppress(ProcessLookupError):  # it has ended by itself, when little was left
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        progress.append(commits(lake))
        time.sleep(2)
    print(f"kills: {killed}; commits then: {progress}")
    assert killed >= kills / 2
    converges(lake)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_with_an_erasure_and_maintenance_beside(
    demo_archive: tuple[Path, Truth], lake: Config, tmp_path: Path
) -> None:
    """Each time both are at work when the job, which has new files, and everything that it started is killed."""
    folder, quiet = tmp_path / "archive", local_config(tmp_path / "quiet", *PIECES)
    folder.mkdir()
    for video in [demo_archive[0] / video.path for video in demo_archive[1].videos if not video.fault]:
        shutil.copy2(video, folder / video.name)
        if video.suffix == ".mp4":  # another content, so that there is work for ten runs and more
            (folder / f"again {video.name}").write_bytes(video.read_bytes() + b"\0\0\0\x08free")
    run(folder, quiet)
    chance, victim = random.Random(5), str(sorted(folder.iterdir())[0])
    words = (["maintain"], ["erase", "--uri", victim, "--reason", "request 9"])
    progress, ended, kills = [], [], 0
    for _ in range(10):
        before = data_files(lake)
        with start(folder, lake, engine="ray") as process:
            while not data_files(lake) - before and process.poll() is None:
                time.sleep(0.05)
            beside = [command(*each, "--lake", lake.lake) for each in words]
            time.sleep(chance.uniform(0, 1.5))
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
        progress.append(commits(lake))
        for other in beside:
            _, said = other.communicate(timeout=300)
            refused = "is working on" in said or "at this moment" in said
            assert other.returncode == 0 or refused, said
            ended.append(other.returncode)
    print(f"kills: {kills}; commits then: {progress}; maintain and erase ended with {ended}")
    assert kills == 10 and 0 in ended[1::2]
    report = run(folder, lake)
    assert maintain_lake(lake)["erasures"] == "done"
    erased = erase_videos(victim, None, "request 9", lake)
    assert erased["status"] == "done" and not erased["traces"]
    assert report.ledger.balanced and lake_balance(lake.lake)["balanced"]
    left = run(folder, lake).ledger.videos
    n = len(list(folder.iterdir()))
    assert (left["unchanged"], left["skipped"], left["listed"]) == (n - 1, 1, n)
    columns = ["segment_id", "uri", "start_us", "end_us"]
    kept = [row for row in segments(quiet, "uri").select(columns).to_pylist() if row["uri"] != victim]
    assert segments(lake, "uri").select(columns).to_pylist() == kept


def data_files(config: Config) -> set[Path]:
    """Of `segments`, committed or not."""
    return set((Path(config.lake) / "tables" / "segments").glob("embed_key=*/**/*.parquet"))
