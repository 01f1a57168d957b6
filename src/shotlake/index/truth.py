"""What exact search would have found, collected block by block while rows are added.

Only the tenth best score of every query is kept: a returned row counts if its exact score reaches it within 1e-6, so
that equal neighbours may stand for each other. A query that is itself a row does not find itself.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

K = 10
TIE = 1e-6


class Truth:
    """Q queries [Q, D] of one kind; `ids` are their segment ids, where they are rows of the table themselves."""

    def __init__(self, queries: NDArray[np.float32], ids: list[str] | None = None) -> None:
        self.queries = queries
        self.own_rows = np.full(len(queries), -1, dtype=np.int64)
        self._ids = pa.array(ids or [], pa.string())
        self._best = np.full((len(queries), K), -np.inf, dtype=np.float32)  # ascending

    def add(self, first_row: int, ids: pa.StringArray, block: NDArray[np.float32]) -> None:
        """Look at the rows `first_row...` [B, D]; rows of zeros have no vector and count for nothing."""
        scores = self.queries @ block.T
        scores[:, ~block.any(axis=1)] = -np.inf
        if len(self._ids):
            self._skip_own(first_row, ids, scores)
        better = scores > self._best[:, :1]
        for query in np.flatnonzero(better.any(axis=1)):
            found = np.concatenate([self._best[query], scores[query, better[query]]])
            self._best[query] = np.sort(found)[-K:]

    def _skip_own(self, first_row: int, ids: pa.StringArray, scores: NDArray[np.float32]) -> None:
        owners = pc.index_in(ids, value_set=self._ids)
        columns = np.flatnonzero(np.asarray(pc.is_valid(owners)))
        queries = np.asarray(owners.drop_null())
        self.own_rows[queries] = first_row + columns
        scores[queries, columns] = -np.inf

    def recall(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Recall@10 [Q, n] of the first 1..n candidates: exact scores and row numbers, both [Q, n]."""
        reachable = np.isfinite(self._best).sum(axis=1, keepdims=True)
        worst = np.where(np.isfinite(self._best), self._best, np.inf).min(axis=1, keepdims=True)
        good = (scores >= worst - TIE) & (rows >= 0) & (rows != self.own_rows[:, None])
        found = np.minimum(np.cumsum(good, axis=1), reachable)
        nothing_to_find = reachable == 0
        return np.asarray((found + nothing_to_find) / np.maximum(reachable, 1), dtype=np.float32)


def lower_bound(recalls: NDArray[np.float32]) -> float:
    """The one-sided lower 95% bound of the mean of Q recalls, normal approximation; of one recall itself."""
    if len(recalls) == 1:
        return float(recalls[0])
    return float(recalls.mean() - 1.645 * recalls.std(ddof=1) / np.sqrt(len(recalls)))
