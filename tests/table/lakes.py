"""Rows, outcomes and lakes as the tests of this room need them; everything follows from a seed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from shotlake.records import LostRange, UnitOutcome, Usage, Video, WorkUnit, segment_id
from shotlake.table.schemas import SEGMENTS

KEY = "5" * 32
OTHER_KEY = "6" * 32
DIM = 12
AT = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


def make_video(n: int, collection: str = "news", etag: str = "e1") -> Video:
    return Video(f"/archive/{n}.mp4", etag, 1000 + n, AT, collection)


def make_unit(n: int, first_cell: int = 0, n_cells: int = 10, key: str = KEY, attempt: int = 1) -> WorkUnit:
    return WorkUnit(make_video(n), key, first_cell, n_cells, attempt)


def make_outcome(unit: WorkUnit, lost: int = 0, code: str = "truncated", retryable: bool = False) -> UnitOutcome:
    ranges = (LostRange(unit.first_cell + unit.n_cells - lost, lost, code),) if lost else ()
    status = "ok" if not lost else "failed" if lost == unit.n_cells else "partial"
    return UnitOutcome(
        unit=unit,
        status=status,
        planned=unit.n_cells,
        written=unit.n_cells - lost,
        lost=ranges,
        code=code if lost else "",
        message=f"lost {lost}" if lost else "",
        retryable=retryable,
        usage=Usage(cpu_s=1.5, bytes_read=100, requests=2),
    )


def vectors(n: int, seed: int, dim: int = DIM) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float16).astype(np.float32)


def make_rows(unit: WorkUnit, first: int | None = None, n: int | None = None, run_id: str = "r1") -> pa.Table:
    """Rows of the cells [first, first + n) of a unit, all of it if left out."""
    first = unit.first_cell if first is None else first
    n = unit.n_cells if n is None else n
    cells = range(first, first + n)
    fused = vectors(1000, int(unit.video.video_id[:6], 16))[list(cells)]
    columns = {
        "segment_id": [segment_id(unit.video.video_id, cell, unit.embed_key) for cell in cells],
        "video_id": [unit.video.video_id] * n,
        "unit_id": [unit.unit_id] * n,
        "cell": list(cells),
        "uri": [unit.video.uri] * n,
        "start_us": [cell * 2_000_000 for cell in cells],
        "end_us": [cell * 2_000_000 + 2_000_000 for cell in cells],
        "duration_us": [60_000_000] * n,
        "recorded_at": [AT] * n,
        "embedded_at": [AT] * n,
        "fused": list(fused),
        "fused_norm": [1.0] * n,
        "audio": [None if cell % 2 else fused[i] for i, cell in enumerate(cells)],
        "run_id": [run_id] * n,
        "embed_key": [unit.embed_key] * n,
        "collection": [unit.video.collection] * n,
    }
    return pa.table({f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in SEGMENTS}, schema=SEGMENTS)
