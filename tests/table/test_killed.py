"""Signals at moments that nobody chose: whatever a run was doing, the next ones converge to the undisturbed lake."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from lakes import make_unit

from shotlake.table.lake import Lake
from shotlake.table.readers import balance

UNITS = 24
CHILD = textwrap.dedent(
    """
    import sys, time
    sys.path.insert(0, sys.argv[3])
    from lakes import KEY, make_outcome, make_rows, make_unit
    from shotlake.config import TableConfig
    from shotlake.table.committer import Committer
    from shotlake.table.outcomes import recover
    from shotlake.table.files import write_segments
    from shotlake.table.lake import Lake
    from shotlake.table.lease import Lease
    from shotlake.table.readers import finished_units

    lake, run_id = Lake.create_or_open(sys.argv[1]), sys.argv[2]
    with Lease.acquire(lake.root, KEY, "/archive", run_id, 5) as lease:
        recover(lake, lease)
        done = set(finished_units(lake, KEY, ["unit_id"])["unit_id"].to_pylist())
        print("begun", len(done), flush=True)
        committer = Committer(lake, lease, run_id, TableConfig(commit_units=2))
        for unit in (make_unit(n) for n in range(int(sys.argv[4]))):
            if unit.unit_id not in done:
                time.sleep(float(sys.argv[5]))
                lost = 3 if unit.video.uri.endswith("3.mp4") else 0
                rows = make_rows(unit, n=10 - lost, run_id=run_id)
                committer.add(write_segments(lake.root, run_id, rows.slice(0, 4)), [])
                committer.add(write_segments(lake.root, run_id, rows.slice(4)), [make_outcome(unit, lost)])
        committer.close()
    print("done", flush=True)
    """
)


def start(root: Path, run_id: str, pause_s: float = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(root), run_id, str(Path(__file__).parent), str(UNITS), str(pause_s)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(root: Path, run_ids: set[str]) -> None:
    """The lake is the one of an undisturbed run, and every run balances."""
    lake = Lake.open(str(root))
    rows = lake.read("segments", ["unit_id", "cell"]).to_pylist()
    expected = [(make_unit(n).unit_id, cell) for n in range(UNITS) for cell in range(7 if n % 10 == 3 else 10)]
    assert sorted((row["unit_id"], row["cell"]) for row in rows) == sorted(expected)
    assert sorted(lake.read("units")["unit_id"].to_pylist()) == sorted(make_unit(n).unit_id for n in range(UNITS))
    assert sorted(lake.read("failures")["n_cells"].to_pylist()) == [3, 3, 3]
    assert all(balance(lake, run_id).balanced for run_id in run_ids)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_converge(tmp_path: Path, kills: int) -> None:
    chance, progress = random.Random(7), []
    for kill in range(kills):
        with start(tmp_path, f"r{kill}") as process:
            assert process.stdout
            progress.append(process.stdout.readline().split()[-1])
            time.sleep(chance.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
    with start(tmp_path, "last") as process:
        assert process.wait() == 0
    print(f"units done when each run began: {progress}")
    check(tmp_path, {f"r{kill}" for kill in range(kills)} | {"last"})


def test_a_stopped_run_that_wakes_up_after_its_lease_writes_nothing_more(tmp_path: Path) -> None:
    with start(tmp_path, "sleeper", pause_s=0.1) as sleeper:
        assert sleeper.stdout and sleeper.stderr
        assert sleeper.stdout.readline().startswith("begun")
        time.sleep(0.5)
        sleeper.send_signal(signal.SIGSTOP)
        with start(tmp_path, "second") as second:
            assert second.wait() == 0
        sleeper.send_signal(signal.SIGCONT)
        assert sleeper.wait() == 1
        assert "LeaseLost" in sleeper.stderr.read()
    check(tmp_path, {"sleeper", "second"})
