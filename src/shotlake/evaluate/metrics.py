"""Ranks to the numbers that are published, each with a bootstrap interval; and a paired test between two runs.

A rank counts every better score, and half of the equal ones: a scorer that knows nothing gets the middle. Of several
right answers the best placed one counts, as in the papers; nDCG counts them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Truths = NDArray[np.bool_]
Ints = NDArray[np.intp]
Direction = Literal["text_to_video", "video_to_text"]

CUTS = (1, 5, 10)
RESAMPLES = 1_000
_CONFIDENCE = (2.5, 97.5)
_FLIPS = 10_000


@dataclass(frozen=True, slots=True)
class Ranking:
    """What became of Q queries: `ranks` of the best right answer (inf: not found), `ndcg`, and the item they are of."""

    direction: Direction
    ranks: Floats  # [Q]
    ndcg: Floats  # [Q]
    groups: Ints  # [Q]


def rank_videos(scores_QV: Floats, owners_Q: Ints) -> Ranking:
    """Text to video: each caption has one right item."""
    own = scores_QV[np.arange(len(owners_Q)), owners_Q][:, None]
    ranks = 1 + (scores_QV > own).sum(axis=1) + ((scores_QV == own).sum(axis=1) - 1) / 2
    return Ranking("text_to_video", ranks, _gain(ranks), owners_Q)


def rank_texts(scores_QV: Floats, owners_Q: Ints) -> Ranking:
    """Video to text: every caption of an item is right."""
    n_items = scores_QV.shape[1]
    best, ndcg = np.empty(n_items), np.empty(n_items)
    for item in range(n_items):
        column, right = scores_QV[:, item], np.flatnonzero(owners_Q == item)
        own = column[right][:, None]
        ranks = np.sort(1 + (column > own).sum(axis=1) + ((column == own).sum(axis=1) - 1) / 2)
        best[item], ndcg[item] = ranks[0], _gain(ranks).sum() / _gain(np.arange(1.0, len(right) + 1)).sum()
    return Ranking("video_to_text", best, ndcg, np.arange(n_items))


def summarise(ranking: Ranking, seed: int = 0) -> dict[str, Any]:
    """{"queries", and for each metric {"value", "low", "high"}}: 95% intervals over resampled items.

    MdR and MnR are left out where an answer was not found at all.
    """
    values = {f"r_at_{cut}": (ranking.ranks <= cut).astype(float) for cut in CUTS}
    values["ndcg_at_10"] = ranking.ndcg
    found = bool(np.isfinite(ranking.ranks).all())
    if found:
        values["mean_rank"] = ranking.ranks
    items, group = np.unique(ranking.groups, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(items), np.full(len(items), 1 / len(items)), RESAMPLES)
    counts = np.bincount(group)
    summary: dict[str, Any] = {"queries": len(ranking.ranks)}
    for name, value in values.items():
        sums = np.bincount(group, weights=value)
        summary[name] = _interval(float(value.mean()), (draws @ sums) / (draws @ counts))
    if found:
        medians = np.array([np.median(np.repeat(ranking.ranks, draw[group])) for draw in draws])
        summary["median_rank"] = _interval(float(np.median(ranking.ranks)), medians)
    return summary


def compare(ours: Floats | Truths, theirs: Floats | Truths, seed: int = 0) -> dict[str, Any]:
    """Paired values [Q] of two runs on the same queries: the difference, its 95% interval, and p by flipping signs."""
    difference, rng = np.asarray(ours, float) - np.asarray(theirs, float), np.random.default_rng(seed)
    n_queries = len(difference)
    draws = rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), RESAMPLES) @ difference / n_queries
    flipped = np.concatenate(
        [rng.choice((-1.0, 1.0), (100, n_queries)) @ difference / n_queries for _ in range(_FLIPS // 100)]
    )
    as_far = int((np.abs(flipped) >= abs(difference.mean()) - 1e-12).sum())
    interval = _interval(float(difference.mean()), draws)
    return {"difference": interval, "p": (1 + as_far) / (1 + _FLIPS), "queries": n_queries}


def recall_curve(ranks: Floats, n_items: int) -> list[tuple[int, float]]:
    """(k, share of queries answered within k) at k = 1, 2, 5, 10, ... up to the gallery."""
    cuts = sorted({cut for power in range(7) for cut in (10**power, 2 * 10**power, 5 * 10**power)} | {n_items})
    return [(cut, float((ranks <= cut).mean())) for cut in cuts if cut <= n_items]


def gain_at_10(ranks: Floats) -> Floats:
    """nDCG@10 of queries that have one right answer, from their ranks."""
    return _gain(np.asarray(ranks, float))


def _gain(ranks: Floats) -> Floats:
    return np.where(ranks <= 10, 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)


def _interval(value: float, draws: Floats) -> dict[str, float]:
    low, high = np.percentile(draws, _CONFIDENCE)
    return {"value": round(value, 6), "low": round(float(low), 6), "high": round(float(high), 6)}
