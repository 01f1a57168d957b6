"""The candidates of a query, as many as are asked for: nearest rows, without what it excludes, with their columns."""

from __future__ import annotations

import time

import numpy as np

from shotlake.query.live import LiveRows, Rows, Vector
from shotlake.query.moments import Candidate
from shotlake.query.ranks import join_ranks
from shotlake.query.terms import JoinedQuery

HIT_COLUMNS = ["segment_id", "video_id", "uri", "start_us", "end_us"]


class CandidateFinder:
    """Finds the best rows of all, or of the `allowed` ones (ascending). `search_s`: seconds spent on vectors so far."""

    def __init__(self, rows: LiveRows, query: JoinedQuery, allowed: Rows | None) -> None:
        self._rows, self._query, self._allowed = rows, query, allowed
        self._found: tuple[int, tuple[list[Candidate], bool]] | None = None
        self.search_s = 0.0

    def __call__(self, k: int) -> tuple[list[Candidate], bool]:
        """Candidates among the k best rows, and whether no further row can be one; the last answer is kept."""
        if self._found is None or self._found[0] != k:
            self._found = k, self._find(k)
        return self._found[1]

    def _find(self, k: int) -> tuple[list[Candidate], bool]:
        started = time.perf_counter()
        scores, rows = self._nearest(k)
        self.search_s += time.perf_counter() - started
        threshold = self._query.request.score_threshold
        is_last = len(rows) < k or (threshold is not None and bool(scores[-1] < threshold))
        for vectors, ceiling in self._query.excluded:
            own = np.array(self._rows.scores(vectors[self._query.space], self._query.space, rows), dtype=np.float32)
            scores, rows = scores[own <= ceiling], rows[own <= ceiling]
        found = self._described(scores, rows)
        return [candidate for candidate in found if candidate.segment_id not in self._query.own_segments], is_last

    def _nearest(self, k: int) -> tuple[Vector, Rows]:
        """The k best rows by their scores, or by their ranks in several spaces."""
        query = self._query
        found = [
            self._rows.nearest(query.vectors[space], space, k, query.depth, self._allowed) for space in query.ranked_by
        ]
        return found[0] if len(found) == 1 else join_ranks([rows for _, rows in found], k)

    def _described(self, scores: Vector, rows: Rows) -> list[Candidate]:
        columns = self._rows.columns(rows, HIT_COLUMNS)
        values = zip(rows.tolist(), scores.tolist(), *(columns[name].to_pylist() for name in HIT_COLUMNS))
        return [Candidate(*value) for value in values]
