"""Commits against bare Parquet, and planning after ten million units: `python tests/bench/bench_table.py`, JSON lines.

Ratios are of CPU seconds of one process with one thread of its own; `resume` is measured in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shotlake.catalog.changes import Again, progress
from shotlake.config import TableConfig
from shotlake.records import ClipSpec, UnitOutcome, Video, WorkUnit
from shotlake.table.committer import Committer
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.outcomes import recover
from shotlake.table.readers import finished_units
from shotlake.table.schemas import SEGMENTS, UNITS

KEY = "5" * 32
SPEC = ClipSpec(2_000_000, 2_000_000, 16, 48, 48, 16_000)
UNIT_CELLS = 300
UNITS_A_VIDEO = 10
UNITS_AN_APPEND = 500_000


def report(name: str, value: float, bound: float, sense: str, unit: str, note: str) -> None:
    line = {"name": name, "file": "tests/bench/bench_table.py", "value": round(value, 3), "bound": bound}
    print(json.dumps({**line, "sense": sense, "unit": unit, "note": note}), flush=True)


def hex_ids(rng: np.random.Generator, n: int) -> pa.StringArray:
    offsets = np.arange(n + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(rng.bytes(16 * n).hex().encode()))


def segments(n_units: int, dim: int) -> tuple[pa.Table, list[UnitOutcome]]:
    """Rows of whole units with two vectors each, and their outcomes."""
    rng, now = np.random.default_rng(0), datetime.now(UTC)
    units = [WorkUnit(Video(f"/v/{i}", "e", 1, now, "c"), KEY, 0, UNIT_CELLS) for i in range(n_units)]
    n = n_units * UNIT_CELLS
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * dim)

    def vectors() -> pa.ListArray:
        values = rng.standard_normal(n * dim, dtype=np.float32).astype(np.float16).astype(np.float32)
        return pa.ListArray.from_arrays(offsets, pa.array(values))

    columns: dict[str, object] = {
        "segment_id": hex_ids(rng, n),
        "video_id": np.repeat([unit.video.video_id for unit in units], UNIT_CELLS),
        "unit_id": np.repeat([unit.unit_id for unit in units], UNIT_CELLS),
        "uri": np.repeat([unit.video.uri for unit in units], UNIT_CELLS),
        "cell": np.tile(np.arange(UNIT_CELLS), n_units),
        "start_us": np.tile(np.arange(UNIT_CELLS) * 2_000_000, n_units),
        "fused": vectors(),
        "visual": vectors(),
        "embed_key": [KEY] * n,
        "collection": ["c"] * n,
    }
    table = {f.name: pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in SEGMENTS}
    outcomes = [UnitOutcome(unit, "ok", UNIT_CELLS, UNIT_CELLS) for unit in units]
    return pa.table(table, schema=SEGMENTS), outcomes


def bench_commit(scratch: Path, n_units: int, dim: int) -> None:
    rows, outcomes = segments(n_units, dim)
    bare, ours = [], []
    for turn in range(3):
        begun = time.process_time()
        pq.write_table(rows, scratch / f"{turn}.parquet", compression="zstd", compression_level=1)
        bare.append(time.process_time() - begun)
        lake = Lake.create_or_open(str(scratch / f"lake{turn}"))
        with Lease.acquire(lake.root, KEY, "/v", "r") as lease:
            begun = time.process_time()
            recover(lake, lease)
            committer = Committer(lake, lease, "r", TableConfig())
            committer.add(write_segments(lake.root, "r", rows), outcomes)
            committer.close()
            ours.append(time.process_time() - begun)
    note = f"{len(rows)} rows, two vectors of {dim}; best of 3"
    report("commit.rows_over_parquet", min(bare) / min(ours), 0.80, "min", "ratio", note)


def make_units(lake: Lake, n_units: int) -> pa.Table:
    """`n_units` finished units, one in a thousand failed; the videos they belong to."""
    rng = np.random.default_rng(0)
    ids = hex_ids(rng, n_units // UNITS_A_VIDEO)
    empty = pa.array([], UNITS.field("lost_ranges").type.value_type)
    for start in range(0, n_units, UNITS_AN_APPEND):
        at = np.arange(start, min(start + UNITS_AN_APPEND, n_units))
        n, failed = len(at), at % 1000 == 0
        columns: dict[str, object] = {
            "unit_id": hex_ids(rng, n),
            "video_id": ids.take(pa.array(at // UNITS_A_VIDEO)),
            "first_cell": at % UNITS_A_VIDEO * UNIT_CELLS,
            "n_cells": np.full(n, UNIT_CELLS),
            "status": np.where(failed, "failed", "ok"),
            "code": np.where(failed, "crashed", ""),
            "written": np.where(failed, 0, UNIT_CELLS),
            "lost_ranges": pa.ListArray.from_arrays(pa.array(np.zeros(n + 1, np.int32)), empty),
            "retryable": failed,
            "attempts": np.ones(n),
            "embed_key": [KEY] * n,
        }
        table = {f.name: pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in UNITS}
        lake.append("units", pa.table(table, schema=UNITS))
    duration_us = np.full(len(ids), UNITS_A_VIDEO * UNIT_CELLS * SPEC.stride_us)
    return pa.table({"video_id": ids, "duration_us": duration_us})


def resume(lake_root: str, videos: str, n_units: int) -> None:
    """In a process of its own: which videos of an archive are complete."""
    listed = pq.read_table(videos)
    begun = time.monotonic()
    found = progress(listed, finished_units(Lake.open(lake_root), KEY), SPEC, Again(3))
    wall_s = time.monotonic() - begun
    note = f"{n_units} units of {len(listed)} videos, {len(found.todo)} to do"
    report("resume.seconds", wall_s, 60, "max", "s", note)
    report("resume.rss_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 2000, "max", "MiB", note)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000_000)
    parser.add_argument("--commit-units", type=int, default=333, help="300 rows each: a file of table.rows_per_file")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--resume", nargs=2, metavar=("LAKE", "VIDEOS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resume:
        resume(*arguments.resume, arguments.units)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-table-") as scratch:
        bench_commit(Path(scratch), arguments.commit_units, arguments.dim)
        lake, videos = Lake.create_or_open(f"{scratch}/lake"), f"{scratch}/videos.parquet"
        pq.write_table(make_units(lake, arguments.units), videos)
        child = [sys.executable, __file__, "--units", str(arguments.units), "--resume", lake.root, videos]
        return subprocess.run(child, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
