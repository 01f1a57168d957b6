"""Choosing (nprobe, R) for one kind of query in one space: the cheapest measured point whose lower bound is enough.

It is chosen by one half of the queries, and the recall that is stated is that of the other half: of the queries that
chose it, it is the point that suits them best. Where collections are measured, none of them may stay far behind.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.errors import NoQueries
from shotlake.index.calibration import calibrate, strong_score
from shotlake.index.dense import AskedLists
from shotlake.index.depth import cheapest
from shotlake.index.exact import Scores
from shotlake.index.gate import least_of_collections
from shotlake.index.manifest import CollectionRecall, TunedPoint, Tuning
from shotlake.index.scan import Candidates, SpaceVectors
from shotlake.index.strata import COLLECTIONS, QUERIES
from shotlake.index.truth import K, Truth, lower_bound

RERANKS = (25, 50, 100, 200, 400, 800)
ENOUGH = 0.999  # the curve ends where the lower bound passes this,
LEAST_GAIN = 0.002  # or, behind the target, where twice as many lists give less than this: the codes say no more
TIMED_QUERIES = 32


class Asked:
    """Queries of one kind, where they are from, the recall that is wanted, and the collection of each, or None."""

    def __init__(self, truth: Truth, source: str, target: float, collections: NDArray[np.object_]) -> None:
        self.truth, self.source, self.target = truth, source, target
        counts = Counter(name for name in collections.tolist() if name is not None)
        large = sorted(name for name, n in counts.most_common(COLLECTIONS) if n >= QUERIES)
        self._groups: list[tuple[str | None, NDArray[np.bool_]]] = [(name, collections == name) for name in large]
        rest = np.array([name is not None and name not in large for name in collections.tolist()], dtype=np.bool_)
        rest &= truth.drawn
        if large and rest.any():
            self._groups.append((None, rest))

    def halves(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of the queries that were drawn, those that choose and those that state; all of them, of a single one."""
        drawn = np.flatnonzero(self.truth.drawn)
        return (drawn[::2], drawn[1::2]) if len(drawn) > 1 else (drawn, drawn)

    def by_collection(self, recalls: NDArray[np.float32]) -> Iterator[CollectionRecall]:
        """What the recalls [Q] say of each large collection, and of the others together."""
        for name, mine in self._groups:
            yield CollectionRecall(
                collection=name,
                n_queries=int(mine.sum()),
                recall=round(float(recalls[mine].mean()), 5),
                lower_bound=round(lower_bound(recalls[mine]), 5),
            )


def tune(space: SpaceVectors, asked: Asked) -> Tuning:
    """Measure the curve against the collected truth; without a good enough point, the best one is chosen."""
    truth, target = asked.truth, asked.target
    if not truth.drawn.any():
        raise NoQueries(f"no query is left to measure the recall with ({asked.source}); build the index again")
    curve = _curve(space, asked)
    points = [measured.point for measured in curve]
    fair = [measured.point for measured in curve if measured.is_fair(asked)]
    rows_per_list = space.n_rows / space.nlist
    chosen = cheapest(fair or points, target, rows_per_list)
    if not chosen.reaches(target):
        chosen = cheapest(points, target, rows_per_list)
    of_chosen = next(measured for measured in curve if measured.point is chosen)
    return Tuning(
        source=asked.source,
        n_queries=int(truth.drawn.sum()),
        target=target,
        chosen=chosen,
        curve=tuple(points),
        by_collection=tuple(asked.by_collection(of_chosen.recalls)),
        strong=strong_score(truth.scores[truth.drawn, 0]),
        match=calibrate(truth.scores[truth.drawn, 0]),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """A point, and the recall of each query there [Q]."""

    point: TunedPoint
    recalls: NDArray[np.float32]

    def is_fair(self, asked: Asked) -> bool:
        """Whether no collection stays far behind."""
        return all(each.recall >= least_of_collections(asked.target) for each in asked.by_collection(self.recalls))


def _curve(space: SpaceVectors, asked: Asked) -> list[_Measured]:
    """Every R at twice as many lists each time."""
    target, dense = asked.target, space.asked_lists(asked.truth.queries, K + 1)
    curve: list[_Measured] = []
    nprobe = 1
    while True:
        before = curve[-1].point.lower_bound if curve else 0.0
        curve += _measure(space, asked, nprobe, dense)
        last = curve[-1]
        enough = last.point.reaches(target) and last.is_fair(asked)
        is_flat = last.point.lower_bound - before < LEAST_GAIN
        if nprobe >= space.nlist or (enough and (is_flat or last.point.reaches(ENOUGH))):
            return curve
        nprobe = min(nprobe * 2, space.nlist)


def _measure(space: SpaceVectors, asked: Asked, nprobe: int, dense: AskedLists) -> list[_Measured]:
    truth = asked.truth
    reranks = (K + 1,) if space.exact else RERANKS
    widest = min(max(reranks), space.n_rows)
    started = time.perf_counter()
    found = space.candidates(truth.queries, nprobe, widest)
    scan_ms = (time.perf_counter() - started) * 1000 / len(truth.queries)
    sure, rows = space.dense_best(truth.queries, found, K + 1, dense), found.rows  # those of dense lists whatever R
    dense_ms, row_ms = _ranking_ms(space, truth.queries[:TIMED_QUERIES], found)
    recalls = truth.recall(np.concatenate([sure, rows], axis=1), space.scores)[:, sure.shape[1] :]
    choose, state = asked.halves()
    bound = lower_bound if not space.exact else np.mean  # which an exact index has of every query
    measured = []
    for rerank in sorted({min(rerank, widest) for rerank in reranks}):
        mine = recalls[:, rerank - 1]
        point = TunedPoint(
            nprobe=nprobe,
            rerank=rerank,
            recall=round(float(np.mean(mine[state])), 5),
            lower_bound=round(float(bound(mine[state])), 5),
            ms=round(scan_ms + dense_ms + rerank * row_ms, 4),
            chosen_by=round(float(bound(mine[choose])), 5),
        )
        measured.append(_Measured(point, mine))
    return measured


def _ranking_ms(space: SpaceVectors, queries: Scores, found: Candidates) -> tuple[float, float]:
    """What the dense lists of a query take, and a row that is scored."""
    n = len(queries)
    some = Candidates(found.lists[:n], found.scores[:n], found.rows[:n])
    started = time.perf_counter()
    space.scores(queries, some.rows)
    row_ms = (time.perf_counter() - started) * 1000 / some.rows.size
    if not space.dense:
        return 0.0, row_ms
    started = time.perf_counter()
    space.dense_best(queries, some, K + 1, space.asked_lists(queries, K + 1))
    all_ms = (time.perf_counter() - started) * 1000 / n
    return max(0.0, all_ms - row_ms * some.rows.shape[1]), row_ms
