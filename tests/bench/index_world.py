"""Synthetic rows of the index benchmarks: clusters of uneven size, each with its own few directions of variation.

Segment queries are drawn like the rows; text queries lie beside them by a shared gap and a way of their own, as texts
do: at a cosine of about 0.35 from the row that they would describe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from shotlake.records import stable_id

BLOCK = 20_000
N_QUERIES = 1_000


@dataclass(frozen=True)
class Synthetic:
    """[n, dim] unit vectors that are never in memory together; block b depends on the seed and b only."""

    n: int
    dim: int
    rank: int = 24
    within: float = 1.0
    noise: float = 0.55
    gap: float = 1.0  # of a text from what it describes: the same for all, and
    spread: float = 2.5  # its own; both in lengths of a row

    @property
    def n_clusters(self) -> int:
        return max(16, self.n // 500)

    def draw(self, count: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([7, seed])
        centres = np.random.default_rng([7, 0, 0]).standard_normal((self.n_clusters, self.dim), dtype=np.float32)
        basis = np.random.default_rng([7, 0, 1]).standard_normal((64, self.rank, self.dim), dtype=np.float32)
        shares = np.random.default_rng([7, 0, 2]).pareto(1.5, self.n_clusters) + 0.2
        cluster = rng.choice(self.n_clusters, count, p=shares / shares.sum())
        along = rng.standard_normal((count, self.rank), dtype=np.float32) / np.sqrt(self.rank)
        rows = centres[cluster]
        for kind in range(64):
            mine = cluster % 64 == kind
            rows[mine] += self.within * (along[mine] @ basis[kind])
        rows += self.noise * rng.standard_normal((count, self.dim), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def blocks(self) -> Iterator[np.ndarray]:
        for number, start in enumerate(range(0, self.n, BLOCK)):
            yield self.draw(min(BLOCK, self.n - start), 1 + number)

    def save(self, path: Path) -> None:
        """Draw all rows once, as float32."""
        with path.open("wb") as file:
            for block in self.blocks():
                block.tofile(file)

    def texts(self) -> np.ndarray:
        rows = self.draw(N_QUERIES, 999_983)
        gap = np.random.default_rng([7, 0, 3]).standard_normal(self.dim).astype(np.float32)
        rows = rows + self.gap * gap / np.linalg.norm(gap)
        own = np.random.default_rng([7, 0, 4]).standard_normal(rows.shape, dtype=np.float32)
        rows += self.spread * own / np.sqrt(self.dim)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def saved_blocks(path: Path, dim: int, first: int = 0) -> Iterator[np.ndarray]:
    """The rows of a saved world from row `first` on, [at most BLOCK, dim] at a time, read anew on every call."""
    with path.open("rb") as file:
        file.seek(first * dim * 4)
        while len(block := np.fromfile(file, np.float32, BLOCK * dim)):
            yield block.reshape(-1, dim)


def batches(blocks: Iterator[np.ndarray], n: int, first: int = 0) -> Iterator[pa.RecordBatch]:
    """Rows as the table gives them, ten segments a video, a hundred collections."""
    for rows in blocks:
        number = np.arange(first, first + len(rows))
        offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
        yield pa.record_batch(
            {
                "segment_id": [stable_id(int(k)) for k in number],
                "video_id": [f"video-{k // 10:08d}" for k in number],
                "uri": [f"s3://archive/collection/2026/{k // 10:08d}.mp4" for k in number],
                "start_us": number % 10 * 2_000_000,
                "end_us": number % 10 * 2_000_000 + 2_000_000,
                "recorded_at": pa.nulls(len(rows), pa.timestamp("us", "UTC")),
                "collection": [f"c{k * 100 // n}" for k in number],
                "codec": ["h264"] * len(rows),
                "has_audio": [True] * len(rows),
                "duration_us": [20_000_000] * len(rows),
                "fused": pa.ListArray.from_arrays(offsets, pa.array(rows.ravel())),
            }
        )
        first += len(rows)
