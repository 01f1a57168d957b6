"""The score of a match is told from best scores alone, where there are two kinds of queries; else nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from shotlake.index.calibration import calibrate


def draw(seed: int, *parts: tuple[int, float, float]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(mean, deviation, n) for n, mean, deviation in parts])
    return rng.permutation(scores).astype(np.float32)


@pytest.mark.parametrize("n_matched", [60, 300, 540])
def test_the_threshold_is_the_score_that_95_percent_of_the_matches_reach(n_matched):
    found = calibrate(draw(1, (n_matched, 0.53, 0.03), (600 - n_matched, 0.35, 0.05)))
    assert found is not None
    fresh = draw(2, (20_000, 0.53, 0.03))
    assert np.mean(fresh >= found.threshold) == pytest.approx(0.95, abs=0.05)
    assert found.matched == pytest.approx(0.53, abs=0.01)
    assert found.matched_share == pytest.approx(n_matched / 600, abs=0.05)
    absent = draw(3, (20_000, 0.35, 0.05))
    assert np.mean(absent >= found.threshold) == pytest.approx(found.false_share, abs=0.01)


@pytest.mark.parametrize(
    "scores",
    [
        draw(4, (600, 0.4, 0.05)),  # all of one kind
        draw(5, (300, 0.40, 0.05), (300, 0.45, 0.05)),  # two that overlap
        draw(9, (300, 0.30, 0.03), (300, 0.50, 0.08)),  # matches that are not alike: of several kinds
        draw(6, (597, 0.35, 0.05), (3, 0.9, 0.01)),  # too few of one to know it
        draw(7, (40, 0.35, 0.05), (40, 0.6, 0.02)),  # too few at all
        np.full(600, 0.7, np.float32),
        np.full(600, -np.inf, np.float32),
    ],
    ids=["one kind", "overlapping", "unlike", "three", "eighty", "equal", "nothing to find"],
)
def test_where_scores_do_not_tell_nothing_is_said(scores):
    assert calibrate(scores) is None


def test_queries_that_can_find_nothing_do_not_count():
    scores = draw(8, (300, 0.53, 0.03), (300, 0.35, 0.05))
    assert calibrate(np.concatenate([scores, np.full(200, -np.inf, np.float32)])) == calibrate(scores)
