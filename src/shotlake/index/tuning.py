"""Choosing (nprobe, R) for one kind of query in one space: the cheapest measured point whose lower bound is enough."""

from __future__ import annotations

import time

import numpy as np

from shotlake.errors import NoQueries
from shotlake.index.calibration import calibrate, strong_score
from shotlake.index.dense import AskedLists
from shotlake.index.depth import cheapest
from shotlake.index.manifest import TunedPoint, Tuning
from shotlake.index.scan import SpaceVectors
from shotlake.index.truth import K, Truth, lower_bound

RERANKS = (25, 50, 100, 200, 400, 800)
ENOUGH = 0.999  # the curve ends where the lower bound passes this,
LEAST_GAIN = 0.002  # or, behind the target, where twice as many lists give less than this: the codes say no more
TIMED_QUERIES = 32


def tune(space: SpaceVectors, truth: Truth, source: str, target: float) -> Tuning:
    """Measure the curve against the collected truth; without a good enough point, the best one is chosen."""
    if not len(truth.queries):
        raise NoQueries(f"no query is left to measure the recall with ({source}); build the index again")
    reranks = (K + 1,) if space.exact else RERANKS
    asked = space.asked_lists(truth.queries, K + 1)
    curve: list[TunedPoint] = []
    nprobe = 1
    while True:
        before = curve[-1].lower_bound if curve else 0.0
        curve += _measure(space, truth, nprobe, reranks, asked)
        best = curve[-1].lower_bound
        if nprobe >= space.nlist or best >= max(ENOUGH, target) or (best >= target and best - before < LEAST_GAIN):
            break
        nprobe = min(nprobe * 2, space.nlist)
    return Tuning(
        source=source,
        n_queries=len(truth.queries),
        target=target,
        chosen=cheapest(curve, target, space.n_rows / space.nlist),
        curve=tuple(curve),
        strong=strong_score(truth.scores[:, 0]),
        match=calibrate(truth.scores[:, 0]),
    )


def _measure(
    space: SpaceVectors, truth: Truth, nprobe: int, reranks: tuple[int, ...], asked: AskedLists
) -> list[TunedPoint]:
    widest = min(max(reranks), space.n_rows)
    started = time.perf_counter()
    found = space.candidates(truth.queries, nprobe, widest)
    sure, rows = space.dense_best(truth.queries, found, K + 1, asked), found.rows  # those of dense lists whatever R
    scan_ms = (time.perf_counter() - started) * 1000 / len(rows)
    started = time.perf_counter()
    space.scores(truth.queries[:TIMED_QUERIES], rows[:TIMED_QUERIES])
    row_ms = (time.perf_counter() - started) * 1000 / rows[:TIMED_QUERIES].size
    recalls = truth.recall(np.concatenate([sure, rows], axis=1), space.scores)[:, sure.shape[1] :]
    return [
        TunedPoint(
            nprobe=nprobe,
            rerank=rerank,
            recall=round(float(np.mean(recalls[:, rerank - 1])), 5),
            lower_bound=round(lower_bound(recalls[:, rerank - 1]), 5),
            ms=round(scan_ms + rerank * row_ms, 4),
        )
        for rerank in sorted({min(rerank, widest) for rerank in reranks})
    ]
