"""What exact search would have found, collected block by block while rows are added, and kept beside the generation.

A returned row counts if its exact score reaches the tenth best within 1e-6, so that equal neighbours may stand for each
other, however many they are. A query that is itself a row does not find itself. More than ten are kept, so that rows
may be retired later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.index.manifest import QueryKind
from shotlake.records import Space

K = 10
KEPT = 32
TIE = 1e-6
QUANTILE = 1.75  # of the normal distribution 1.645 would do, if the deviation were known
TIED = 64  # queries whose candidates are scored at once
_ANSWERS = ("own_rows", "scores", "rows", "floor")
_ARRAYS = ("queries", "drawn", *_ANSWERS)


Score = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]


class Truth:
    """Q queries [Q, D] of one kind; `ids` are their segment ids, where they are rows of the table themselves.

    `drawn`: those [Q] that are a sample of all that may be asked; the others are there for their collection.
    """

    def __init__(
        self,
        queries: NDArray[np.float32],
        ids: Sequence[str] | pa.StringArray = (),
        drawn: NDArray[np.bool_] | None = None,
    ) -> None:
        self.queries = queries
        self.drawn = np.ones(len(queries), np.bool_) if drawn is None else drawn
        self.own_rows = np.full(len(queries), -1, dtype=np.int64)
        self.scores = np.full((len(queries), KEPT), -np.inf, dtype=np.float32)  # best first
        self.rows = np.full((len(queries), KEPT), -1, dtype=np.int64)
        self.floor = np.full(len(queries), -np.inf, dtype=np.float32)  # below it rows have been forgotten
        self._ids = pa.array(ids, pa.string())

    def add(self, first_row: int, ids: pa.StringArray, block: NDArray[np.float32]) -> None:
        """Look at the rows `first_row...` [B, D]; rows of zeros have no vector and count for nothing."""
        scores = self.queries @ block.T
        scores[:, ~block.any(axis=1)] = -np.inf
        if len(self._ids):
            self._skip_own(first_row, ids, scores)
        better = scores > np.maximum(self.scores[:, -1], self.floor)[:, None]
        for query in np.flatnonzero(better.any(axis=1)):
            columns = np.flatnonzero(better[query])
            if len(columns) > KEPT:  # of the first blocks nearly every row is better
                columns = columns[np.argpartition(-scores[query, columns], KEPT)[:KEPT]]
            self._take(query, scores[query, columns], first_row + columns)

    def merge(self, part: Truth) -> None:
        """Add what the same queries found in later rows."""
        self.own_rows = np.where(part.own_rows >= 0, part.own_rows, self.own_rows)
        better = (part.rows >= 0) & (part.scores > np.maximum(self.scores[:, -1], self.floor)[:, None])
        for query in np.flatnonzero(better.any(axis=1)):
            self._take(query, part.scores[query, better[query]], part.rows[query, better[query]])

    def blank(self) -> Truth:
        """The same queries, which have seen no row."""
        return Truth(self.queries, self._ids, self.drawn)

    def followed_by(self, later: Truth) -> Truth:
        """These queries, and others that have seen the same rows."""
        ids = pa.array(["" for _ in self.queries], pa.string()) if not len(self._ids) else self._ids
        queries, drawn = (np.concatenate([getattr(self, name), getattr(later, name)]) for name in ("queries", "drawn"))
        both = Truth(queries, pa.concat_arrays([ids, later._ids]), drawn)
        both.set_answers({n: np.concatenate([a, later.answers()[n]]) for n, a in self.answers().items()})
        return both

    def answers(self) -> dict[str, NDArray[Any]]:
        """All that was found, without the queries."""
        return {name: getattr(self, name) for name in _ANSWERS}

    def set_answers(self, found: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `answers` gave for these queries."""
        for name in _ANSWERS:
            setattr(self, name, found[name])

    def _take(self, query: np.integer, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        found, numbers = np.concatenate([self.scores[query], scores]), np.concatenate([self.rows[query], rows])
        best = np.argsort(-found, kind="stable")[:KEPT]
        self.scores[query], self.rows[query] = found[best], numbers[best]

    def _skip_own(self, first_row: int, ids: pa.StringArray, scores: NDArray[np.float32]) -> None:
        owners = pc.index_in(ids, value_set=self._ids)
        columns = np.flatnonzero(np.asarray(pc.is_valid(owners)))
        queries = np.asarray(owners.drop_null())
        self.own_rows[queries] = first_row + columns
        scores[queries, columns] = -np.inf

    def recall(self, rows: NDArray[np.int64], score: Score) -> NDArray[np.float32]:
        """Recall@10 [Q, n] of the first 1..n candidates [Q, n]: re-ranking is exact, so it keeps every good one.

        Where more rows may be as good as the tenth best than are kept, as of a still picture, the candidates' own
        scores say it: `score(queries [T, D], rows [T, n])` gives them, -inf for row -1.
        """
        reachable = np.minimum((self.rows >= 0).sum(axis=1, keepdims=True), K)
        worst = np.take_along_axis(self.scores, np.maximum(reachable - 1, 0), axis=1)
        good_rows = np.where(self.scores >= worst - TIE, self.rows, -1)
        good = np.stack([np.isin(line, wanted[wanted >= 0]) for line, wanted in zip(rows, good_rows)])
        tied = np.flatnonzero((self.scores[:, -1:] >= worst - TIE)[:, 0] & (self.rows[:, -1] >= 0))
        for start in range(0, len(tied), TIED):
            some = tied[start : start + TIED]
            scores = score(self.queries[some], rows[some])
            good[some] = (scores >= worst[some] - TIE) & (rows[some] != self.own_rows[some, None]) & (rows[some] >= 0)
        found = np.minimum(np.cumsum(good, axis=1), reachable)
        nothing_to_find = reachable == 0
        return np.asarray((found + nothing_to_find) / np.maximum(reachable, 1), dtype=np.float32)

    def without(self, hidden: NDArray[np.int64]) -> Truth:
        """The truth of the rows that are not `hidden`, for the queries of which enough best rows are left to say it."""
        gone = np.isin(self.rows, hidden)
        left = (self.rows >= 0).sum(axis=1) - gone.sum(axis=1)
        complete = (self.rows[:, -1] < 0) & np.isneginf(self.floor)  # every row that there is
        kept = np.flatnonzero(((left >= K) | complete) & ~np.isin(self.own_rows, hidden))
        order = np.argsort(gone, axis=1, kind="stable")
        scores = np.take_along_axis(np.where(gone, -np.inf, self.scores), order, 1).astype(np.float32)
        last = np.take_along_axis(scores, np.maximum(left - 1, 0)[:, None], 1)[:, 0]
        others = Truth(self.queries[kept], drawn=self.drawn[kept])
        others.own_rows, others.scores = self.own_rows[kept], scores[kept]
        others.rows = np.take_along_axis(np.where(gone, -1, self.rows), order, 1)[kept]
        others.floor = np.where(complete, -np.inf, last)[kept].astype(np.float32)
        return others

    def closed_up(self, dropped: NDArray[np.int64]) -> Truth:
        """The truth once the `dropped` rows (ascending), of which it names none, are no rows any more."""
        moved = Truth(self.queries, drawn=self.drawn)
        moved.scores, moved.floor = self.scores, self.floor
        moved.own_rows, moved.rows = (close_up(rows, dropped) for rows in (self.own_rows, self.rows))
        return moved

    def save(self, path: Path) -> None:
        """Write queries and answers to an .npz."""
        np.savez(path, allow_pickle=False, **{name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def load(cls, path: Path) -> Truth:
        """What `save` wrote; more rows may be added to it."""
        with np.load(path) as arrays:
            truth = cls(arrays["queries"])
            for name in set(_ARRAYS) & set(arrays.files):  # those of before know no `drawn`
                setattr(truth, name, arrays[name])
        return truth


Truths = dict[Space, dict[QueryKind, Truth]]


def close_up(rows: NDArray[np.int64], dropped: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of `rows` once the `dropped` ones (ascending) are no rows any more; -1 stays."""
    return rows - np.searchsorted(dropped, rows)


def lower_bound(recalls: NDArray[np.float32]) -> float:
    """The one-sided lower 95% bound of the mean of Q recalls; of one recall itself.

    Recalls are skewed: most are 1, and a sample with few of the bad ones has too high a mean and too small a deviation
    at once. Johnson's correction (1978) takes that into account, and what no query of n misses may be missed by one
    more. `tests/index/test_tuning.py` counts how often such a bound does not hold.
    """
    n = len(recalls)
    if n == 1:
        return float(recalls[0])
    values = recalls.astype(np.float64)
    error = values.std(ddof=1) / np.sqrt(n)
    skew = ((values - values.mean()) ** 3).mean() / max(values.std(ddof=1) ** 3, 1e-12)
    corrected = values.mean() - error * (QUANTILE - skew * (1 + 2 * QUANTILE**2) / (6 * np.sqrt(n)))
    return float(max(0.0, min(corrected, 1 - 1 / n)))
