"""The best rows of a query, as many as are asked for, without what it excludes."""

from __future__ import annotations

import time

import numpy as np

from shotlake.query.live import LiveRows, Rows, Vector
from shotlake.query.ranks import join_ranks
from shotlake.query.terms import JoinedQuery

Found = tuple[Vector, Rows, bool]  # scores and rows, best first, and whether no further row can be one


class RowFinder:
    """Finds the best rows of all, or of the `allowed` ones (ascending). `search_s`: seconds spent on vectors so far."""

    def __init__(self, rows: LiveRows, query: JoinedQuery, allowed: Rows | None) -> None:
        self._rows, self._query, self._allowed = rows, query, allowed
        self._own: Rows | None = None
        self.search_s = 0.0

    def __call__(self, k: int) -> Found:
        """What is left of the k best rows."""
        started = time.perf_counter()
        scores, rows = self._nearest(k)
        self.search_s += time.perf_counter() - started
        threshold = self._query.request.score_threshold
        is_last = len(rows) < k or (threshold is not None and bool(scores[-1] < threshold))
        for vectors, ceiling in self._query.excluded:
            own = np.array(self._rows.scores(vectors[self._query.space], self._query.space, rows), dtype=np.float32)
            scores, rows = scores[own <= ceiling], rows[own <= ceiling]
        kept = self._without_own(rows)
        return scores[kept], rows[kept], is_last

    def _nearest(self, k: int) -> tuple[Vector, Rows]:
        """The k best rows by their scores, or by their ranks in several spaces."""
        query = self._query
        found = [
            self._rows.nearest(query.vectors[space], space, k, query.depth, self._allowed) for space in query.ranked_by
        ]
        return found[0] if len(found) == 1 else join_ranks([rows for _, rows in found], k)

    def _without_own(self, rows: Rows) -> np.ndarray:
        """Which rows are not segments of the query itself."""
        own = self._query.own_segments
        if not own:
            return np.ones(len(rows), np.bool_)
        ids = self._rows.columns(rows, ["segment_id"])["segment_id"].to_pylist()
        return np.array([segment_id not in own for segment_id in ids], np.bool_)
