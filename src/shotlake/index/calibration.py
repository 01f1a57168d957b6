"""From the best scores of many queries to the score that a match has; without being told which of them have an answer.

Queries that the rows answer have better best scores than those that they do not: a mixture of two normal distributions,
of which the upper one is the narrower, for matches are alike. Where it is not so, or the two overlap, nothing is said.
Matches begin at the valley between the two, where the scores are rarest: a place that hardly moves with the queries
that were drawn, unlike a quantile of the fitted upper part, whose lower end is neither normal nor well separated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.index.manifest import MatchScore

MIN_QUERIES = 100
MIN_PART = 15  # queries in each of the two
MIN_APART = 2.0  # standard deviations between the two means
MIN_BETTER = 20.0  # what two distributions have to gain over one, by Bayes' information criterion
_PLACES = 512  # between the two means, where the valley is looked for
_LEAST_DEVIATION = 1e-3
_ROUNDS = 200

Floats = NDArray[np.float64]


def strong_score(best: NDArray[np.float32]) -> float:
    """The score that one in twenty of the best scores [Q] exceeds: the scale of a space. 0 if there are none."""
    scores = best[np.isfinite(best)]
    return round(float(np.quantile(scores, 0.95)), 4) if len(scores) else 0.0


def calibrate(best: NDArray[np.float32]) -> MatchScore | None:
    """What best scores [Q] say of a match, or None. Queries without a row to find (-inf) do not count."""
    scores = best[np.isfinite(best)].astype(np.float64)
    if len(scores) < MIN_QUERIES:
        return None
    (lower, upper), likelihood = _two_normals(scores)
    one = _log_normal(scores, scores.mean(), max(scores.std(), _LEAST_DEVIATION)).sum()
    better = 2 * (likelihood - one) - 3 * math.log(len(scores))  # two have three parameters more
    apart = (upper.mean - lower.mean) / math.sqrt((upper.deviation**2 + lower.deviation**2) / 2)
    fewest = min(lower.share, upper.share) * len(scores)
    if better < MIN_BETTER or apart < MIN_APART or fewest < MIN_PART or upper.deviation > lower.deviation:
        return None
    threshold = _valley(scores, lower.mean, upper.mean)
    if threshold is None:
        return None
    false_share = 0.5 * math.erfc((threshold - lower.mean) / (lower.deviation * math.sqrt(2)))
    return MatchScore(
        threshold=round(threshold, 4),
        matched=round(upper.mean, 4),
        matched_share=round(upper.share, 4),
        false_share=round(false_share, 4),
    )


def _valley(scores: Floats, low: float, high: float) -> float | None:
    """Where scores are rarest between two of them, or None if they only become rarer towards one of the two."""
    quartiles = np.quantile(scores, [0.25, 0.75])
    spread = min(scores.std(), (quartiles[1] - quartiles[0]) / 1.34)
    width = max(0.9 * float(spread) * len(scores) ** -0.2, _LEAST_DEVIATION)  # Silverman's rule of thumb
    places = np.linspace(low, high, _PLACES)
    density = np.exp(_log_normal(places[:, None], scores, width)).sum(axis=1)
    rarest = int(density.argmin())
    return float(places[rarest]) if 0 < rarest < _PLACES - 1 else None


@dataclass(frozen=True, slots=True)
class _Normal:
    """One part of a mixture."""

    share: float
    mean: float
    deviation: float


def _two_normals(scores: Floats) -> tuple[tuple[_Normal, _Normal], float]:
    """The lower and the upper one, and the log likelihood of the scores: expectation, maximisation, and again."""
    halves = np.array_split(np.sort(scores), 2)
    means, deviations = np.array([half.mean() for half in halves]), np.array([half.std() for half in halves])
    shares = np.full(2, 0.5)
    for _ in range(_ROUNDS):
        deviations = np.maximum(deviations, _LEAST_DEVIATION)
        joint = np.log(shares) + _log_normal(scores[:, None], means, deviations)
        whole = np.logaddexp(joint[:, 0], joint[:, 1])
        belongs = np.exp(joint - whole[:, None])
        count = np.maximum(belongs.sum(axis=0), 1e-9)
        shares, means = count / len(scores), (belongs * scores[:, None]).sum(axis=0) / count
        deviations = np.sqrt((belongs * (scores[:, None] - means) ** 2).sum(axis=0) / count)
    found = zip(shares.tolist(), means.tolist(), np.maximum(deviations, _LEAST_DEVIATION).tolist())
    lower, upper = sorted((_Normal(*values) for values in found), key=lambda normal: normal.mean)
    return (lower, upper), float(whole.sum())


def _log_normal(scores: Floats, mean: Floats | float, deviation: Floats | float) -> Floats:
    return -0.5 * ((scores - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * math.log(2 * math.pi)
