"""The stored rows of a space, scored one by one: what codes find is ranked by it, and few rows are found by it alone.

Scores are inner products of unit vectors. Answers are padded with row -1 and score -inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.index.stored import widened

BLOCK_ROWS = 16_384
CACHED_ROWS = 256  # of them, those that are scored together: as float32 they stay in a core's own cache

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShardVectors:
    """One shard of a space: codes, exact rows, and its place among the row numbers."""

    index: faiss.IndexIVF
    rows: NDArray[np.float16]
    first_row: int


class ExactRows:
    """The float16 rows of neighbouring shards, in row order."""

    def __init__(self, shards: Sequence[ShardVectors]) -> None:
        self.shards = tuple(shards)
        self.dim = int(self.shards[0].rows.shape[1])
        self.n_rows = sum(len(shard.rows) for shard in shards)
        self._first_rows = np.array([shard.first_row for shard in self.shards])

    def gather(self, rows: Rows) -> Scores:
        """The stored vectors [K, D] of rows [K]."""
        if len(self.shards) == 1:
            return widened(self.shards[0].rows[rows - self.shards[0].first_row])
        owners = np.searchsorted(self._first_rows, rows, side="right") - 1
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for owner in np.unique(owners):
            shard, mine = self.shards[owner], owners == owner
            vectors[mine] = widened(shard.rows[rows[mine] - shard.first_row])
        return vectors

    def scores(self, queries: Scores, rows: Rows) -> Scores:
        """Exact scores [Q, R] of the rows [Q, R]; -inf where the row is -1 or has no vector in this space."""
        out = np.full(rows.shape, -np.inf, dtype=np.float32)
        for query, wanted, scores in zip(queries, rows, out):
            valid = wanted >= 0
            vectors = self.gather(wanted[valid])
            found = vectors @ query
            unsure = np.flatnonzero(found == 0)  # at a right angle, or no vector at all
            found[unsure[~vectors[unsure].any(axis=1)]] = -np.inf
            scores[valid] = found
        return out

    def exactly(self, queries: Scores, k: int, rows: Rows) -> tuple[Scores, Rows]:
        """The `k` best [Q, k] of the rows (ascending), every one of which is scored."""
        best = nothing(len(queries), k)
        for start in range(0, len(rows), BLOCK_ROWS):
            some = rows[start : start + BLOCK_ROWS]
            scores = self._score_all(queries, some)
            best = joined(best, (scores, np.broadcast_to(some, scores.shape)), k)
        return best

    def _score_all(self, queries: Scores, rows: Rows) -> Scores:
        """Exact scores [Q, R] of the same rows [R] for every query; -inf where a row has no vector in this space."""
        scores = np.empty((len(queries), len(rows)), np.float32)
        for start in range(0, len(rows), CACHED_ROWS):
            vectors = self.gather(rows[start : start + CACHED_ROWS])
            found = scores[:, start : start + CACHED_ROWS]
            np.matmul(queries, vectors.T, out=found)
            unsure = np.flatnonzero((found == 0).all(axis=0))
            found[:, unsure[~vectors[unsure].any(axis=1)]] = -np.inf
        return scores


def nothing(n_queries: int, k: int) -> tuple[Scores, Rows]:
    """An answer [Q, k] without a row."""
    return np.full((n_queries, k), -np.inf, np.float32), np.full((n_queries, k), -1, np.int64)


def joined(first: tuple[Scores, Rows], second: tuple[Scores, Rows], k: int) -> tuple[Scores, Rows]:
    """The k best of two answers to the same queries, which have no row in common."""
    return best_of(np.concatenate([first[0], second[0]], axis=1), np.concatenate([first[1], second[1]], axis=1), k)


def best_of(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best of each line, best first, equal scores by row number; padded if there are fewer."""
    if scores.shape[1] > max(4 * k, 512):  # below it sorting all of them is quicker
        kept = np.argpartition(-scores, k, axis=1)[:, : 2 * k]
        scores, rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    rows = np.where(np.isfinite(scores), rows, -1)
    short = k - scores.shape[1]
    if short > 0:
        scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
    return scores, rows
