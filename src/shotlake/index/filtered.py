"""What filters leave of the recall: measured at the chosen point against the exact answer under each filter.

Filters let through a share of the rows, drawn at random or as a run of neighbours. The table is partitioned by
collection, so a run is what a filter by collection, by folder or by the time of recording lets through: rows of a kind,
which may be another one than the query's. Then the lists next to the query hold few rows that are allowed.
Under small filters every allowed row is scored, which is exact and not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shotlake.index import scan
from shotlake.index.exact import Rows, Scores
from shotlake.index.manifest import FilteredRecall, TunedPoint, Tuning
from shotlake.index.scan import SpaceVectors
from shotlake.index.truth import TIE, K, Truth, lower_bound

SHARES = (0.5, 0.25, 0.1, 0.01)
RUNS = 3  # of each share, from the first rows to the last
QUERIES = 128  # of those that the recall is measured with
REACHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SLACK = 0.005  # a filter may lose so much before its queries look further


@dataclass(frozen=True, slots=True)
class _Filter:
    """A share of the rows: a run of them from `start` on, or drawn at random."""

    by: Literal["random", "run"]
    share: float
    start: int = 0

    def rows(self, space: SpaceVectors) -> Rows:
        """Ascending numbers of the rows that it lets through; made when they are needed, since they are many."""
        first = space.shards[0].first_row
        if self.by == "run":
            return space.live(first + np.arange(self.start, self.start + round(self.share * space.n_rows)))
        drawn = np.random.default_rng(7).random(space.n_rows, np.float32) < self.share
        return space.live(first + np.flatnonzero(drawn))


def with_filters(space: SpaceVectors, truth: Truth, tuning: Tuning) -> Tuning:
    """The tuning with the recall under filters, and how much further than without one their queries have to look."""
    tested = [_Tested(space, truth, each) for each in _filters(space)]
    if not tested:
        return tuning
    for reach in REACHES:
        found = [each.measured(tuning.chosen, reach) for each in tested]
        if min(each.recall for each in found) >= tuning.chosen.recall - SLACK:
            break
    return tuning.model_copy(update={"reach": reach, "filtered": tuple(found)})


def stated_recall(tuning: Tuning, point: TunedPoint, n_rows: int, n_allowed: int) -> float:
    """The recall of an answer that was chosen from `n_allowed` of the rows: the worst that was measured of filters that
    let through the next larger and the next smaller share; 1 where every allowed row is scored.
    """
    if n_allowed <= scan.BRUTE_FORCE_ROWS:
        return 1.0
    shares = sorted({each.share for each in tuning.filtered})
    share = n_allowed / max(1, n_rows)
    near = {max((s for s in shares if s <= share), default=0.0), min((s for s in shares if s >= share), default=1.0)}
    return min([point.recall, *(each.recall for each in tuning.filtered if each.share in near)])


class _Tested:
    """One filter, and what the best ten rows under it score for each query."""

    def __init__(self, space: SpaceVectors, truth: Truth, tested: _Filter) -> None:
        self._space, self._tested = space, tested
        self._queries, self._own = truth.queries[:QUERIES], truth.own_rows[:QUERIES]
        scores = self._foreign(*space.exactly(self._queries, K + 1, tested.rows(space)))
        self._n = np.isfinite(scores).sum(axis=1)
        last = np.take_along_axis(scores, np.maximum(self._n - 1, 0)[:, None], 1)
        self._worst = np.where(self._n[:, None], last, np.inf)

    def measured(self, point: TunedPoint, reach: float) -> FilteredRecall:
        """Recall@10 of the scan at a point."""
        allowed = self._tested.rows(self._space)
        found = self._space.search(self._queries, K + 1, point.nprobe, point.rerank, allowed, reach)
        good = (self._foreign(*found) >= self._worst - TIE).sum(axis=1)
        recalls = np.where(self._n, good / np.maximum(self._n, 1), 1.0).astype(np.float32)
        return FilteredRecall(
            by=self._tested.by,
            share=self._tested.share,
            recall=round(float(recalls.mean()), 5),
            lower_bound=round(lower_bound(recalls), 5),
        )

    def _foreign(self, scores: Scores, rows: Rows) -> Scores:
        """The ten best scores [Q, 10] of other rows than the query's own, best first."""
        others = np.where(rows == self._own[:, None], -np.inf, scores)
        return np.asarray(-np.sort(-others, axis=1)[:, :K], dtype=np.float32)


def _filters(space: SpaceVectors) -> Iterator[_Filter]:
    """Those under which not every row is scored."""
    for share in () if space.exact else SHARES:
        n = round(share * space.n_rows)
        if n > scan.BRUTE_FORCE_ROWS:
            yield _Filter("random", share)
            starts = np.linspace(0, space.n_rows - n, min(RUNS, round(1 / share)))
            yield from (_Filter("run", share, int(start)) for start in starts)
