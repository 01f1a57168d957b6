"""The backfill as a whole: what it costs above its rooms, how it fills the machine, what its driver holds; JSON lines.

`python tests/bench/bench_backfill.py [--minutes 7] [--videos 1000000] [--only NAME]`. Rates of commits and of taking up
an archive where it was left are those of bench_table.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import backfill_told
from backfill_listing import bench_listing
from backfill_overhead import bench_overhead
from lines import report


def driver(folder: Path, n: int) -> dict:
    """A backfill of `n` named videos in a process of its own, and what its driver held."""
    archive, lake = folder / f"names-{n}", folder / f"lake-{n}"
    backfill_told.name_videos(archive, n)
    command = [sys.executable, backfill_told.__file__, str(archive), str(lake)]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environ = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True).stdout)


def bench_driver(folder: Path, n: int) -> None:
    """sim.driver_rss: the peak of the driver's memory over that of a tenth of the videos."""
    tenth, whole = driver(folder, n // 10), driver(folder, n)
    note = (
        f"{tenth['videos']} videos: {tenth['peak_mb']:.0f} MiB in {tenth['wall_s']:.0f} s; "
        f"{whole['videos']}: {whole['peak_mb']:.0f} MiB in {whole['wall_s']:.0f} s, "
        f"{backfill_told.UNITS_A_BLOCK} units a block"
    )
    report("sim.driver_rss", whole["peak_mb"] / tenth["peak_mb"], 1.2, unit="MiB / MiB", note=note)


def list_keys() -> None:
    """list.1m_over_obstore and list.1m_rss_mb."""
    for name, value, bound, sense, unit, note in bench_listing():
        report(name, value, bound, sense, unit=unit, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=7, help="how long the backfill keeps all cores busy")
    parser.add_argument("--videos", type=int, default=1_000_000, help="names of the archive without contents")
    parser.add_argument("--only", default="", help="overhead | driver | listing")
    options = parser.parse_args()
    parts = {
        "overhead": lambda folder: bench_overhead(folder, options.minutes),
        "driver": lambda folder: bench_driver(folder, options.videos),
        "listing": lambda folder: list_keys(),
    }
    for part, run in parts.items():
        if options.only in ("", part):
            with tempfile.TemporaryDirectory(prefix="bench-backfill-") as folder:
                run(Path(folder))


if __name__ == "__main__":
    main()
