"""The job in a process of its own, which the tests may stop, kill and sabotage."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shotlake.config import Config

SETS = ("embed.model=mini", "decode.isolate=false")


def start(
    source: Path | str, config: Config, *sets: str, sabotage: str = "", engine: str = "local"
) -> subprocess.Popen:
    """`shotlake backfill` in a session of its own, so that its whole group can be killed; `sabotage` is run before."""
    pieces = (f"catalog.block_s={config.catalog.block_s}", f"catalog.unit_s={config.catalog.unit_s}",
              f"table.rows_per_file={config.table.rows_per_file}", f"table.commit_units={config.table.commit_units}",
              f"flow.wave_videos={config.flow.wave_videos}", f"flow.engine={engine}", "flow.num_cpus=2")  # fmt: skip
    words = ["backfill", str(source), "--lake", config.lake, "--index", "never", "-q", "--json"]
    words += [word for item in (*SETS, *pieces, *sets) for word in ("--set", item)]
    program = f"{sabotage}\nimport sys\nfrom shotlake.cli import main\nsys.exit(main({words!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def command(*words: str) -> subprocess.Popen:
    """`shotlake` with these words, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "shotlake.cli", *words, *(word for item in SETS for word in ("--set", item))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_until(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 300) -> None:
    """Return once the condition holds. Errors: AssertionError if the process ends before, or time is up."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the run ended too early: {process.communicate()[1][-2000:]}"
        assert time.monotonic() < end, "time is up"
        time.sleep(0.01)


def data_files(config: Config) -> list[Path]:
    """Data files of `segments`, committed or not."""
    return list((Path(config.lake) / "tables" / "segments").rglob("*.parquet"))


def commits(config: Config) -> int:
    """Versions of `segments`."""
    return len(list((Path(config.lake) / "tables" / "segments" / "_delta_log").glob("*.json")))
