"""Seeded clustered unit vectors and the rows around them, as a table would give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from shotlake.config import IndexConfig
from shotlake.index.build import GenerationTarget, TableChange, TextQueries, build_generation, update_generation
from shotlake.index.manifest import Manifest
from shotlake.index.rows import RowSource, skip_rows
from shotlake.records import Fingerprint, stable_id
from shotlake.storage import local

FINGERPRINT = Fingerprint("toy", "1", "w" * 8, "p" * 8)
KEY = "k" * 8
SEGMENTS_PER_VIDEO = 10


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def clustered(n: int, dim: int, seed: int, n_clusters: int = 40, spread: float = 0.6) -> np.ndarray:
    """[n, dim] unit vectors around centres that depend on `dim` only."""
    centres = unit(np.random.default_rng(dim).standard_normal((n_clusters, dim)))
    rng = np.random.default_rng(seed)
    noise = unit(rng.standard_normal((n, dim)))
    return unit(centres[rng.integers(n_clusters, size=n)] + spread * noise)


def rows_of(fused: np.ndarray, first: int = 0) -> pa.Table:
    """Rows of consecutive 2 s segments; every fifth has no picture, visual is the fused vector reversed."""
    n = len(fused)
    number = np.arange(first, first + n)
    video = number // SEGMENTS_PER_VIDEO
    start_us = (number % SEGMENTS_PER_VIDEO) * 2_000_000
    half = fused.astype(np.float16).astype(np.float32)
    visual = [None if k % 5 == 4 else row for k, row in zip(number, half[:, ::-1])]
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "segment_id": [stable_id(int(k)) for k in number],
            "video_id": [stable_id("video", int(v)) for v in video],
            "uri": [f"/archive/{v:05d}.mp4" for v in video],
            "start_us": start_us,
            "end_us": start_us + 2_000_000,
            "recorded_at": pa.array([epoch + timedelta(hours=int(v)) for v in video], pa.timestamp("us", "UTC")),
            "collection": ["even" if v % 2 == 0 else "odd" for v in video],
            "codec": ["h264"] * n,
            "has_audio": [bool(k % 3) for k in number],
            "duration_us": [20_000_000] * n,
            "fused": pa.array(list(half), pa.list_(pa.float32())),
            "visual": pa.array(visual, pa.list_(pa.float32())),
        }
    )


def text_queries(dim: int, n: int = 300) -> TextQueries:
    """Queries beside the segments: another seed and a shared offset, as a modality gap has."""
    gap = unit(np.random.default_rng(dim + 1).standard_normal(dim))
    fused = unit(clustered(n, dim, seed=99) + 0.3 * gap)
    return TextQueries("toy captions", {"fused": fused, "visual": fused[:, ::-1].copy()})


def source(table: pa.Table, size: int = 700) -> RowSource:
    """The rows of a table as a build takes them, in the same batches wherever it begins."""
    return lambda first: skip_rows(table.to_batches(max_chunksize=size), first)


def build(
    root: str, table: pa.Table, config: IndexConfig, version: int = 1, queries: TextQueries | None = None
) -> Manifest:
    dim = len(table["fused"][0].as_py())

    target = GenerationTarget(root, KEY, FINGERPRINT, "/lake/tables/segments", version)
    return build_generation(source(table), len(table), target, queries or text_queries(dim), config)


def update(root, parent, vectors, retired=(), version=2, config=None):
    """The generation with fresh shards of `vectors` behind the rows of `parent`, without the `retired` videos."""
    table = rows_of(vectors, first=parent.n_rows)
    target = GenerationTarget(root, KEY, FINGERPRINT, "/lake/tables/segments", version)
    change = TableChange(parent.table_rows + len(table) - SEGMENTS_PER_VIDEO * len(retired), retired)
    return update_generation(source(table, 100), change, parent, target, config or IVF)


def skew(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on the local store dates its objects by a clock that is so far ahead of ours."""
    real = local._info

    def dated(path, key):
        info = real(path, key)
        return info._replace(modified_at=info.modified_at + timedelta(seconds=seconds))

    monkeypatch.setattr(local, "_info", dated)


IVF = IndexConfig(exact_below=0, min_queries=200, target_recall=0.9, target_recall_segment=0.9, rows_per_shard=1000)
EXACT = IndexConfig(min_queries=200)
