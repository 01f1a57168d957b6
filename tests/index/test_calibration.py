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
def test_nearly_all_matches_reach_the_threshold_and_few_others(n_matched):
    found = calibrate(draw(1, (n_matched, 0.53, 0.03), (600 - n_matched, 0.35, 0.05)))
    assert found is not None
    fresh = draw(2, (20_000, 0.53, 0.03))
    assert np.mean(fresh >= found.threshold) == pytest.approx(0.95, abs=0.05)
    assert found.matched == pytest.approx(0.53, abs=0.01)
    assert found.matched_share == pytest.approx(n_matched / 600, abs=0.05)
    absent = draw(3, (20_000, 0.35, 0.05))
    assert np.mean(absent >= found.threshold) == pytest.approx(found.false_share, abs=0.03)
    assert np.mean(absent >= found.threshold) <= 0.07


def test_the_threshold_hardly_depends_on_the_queries_that_were_drawn():
    """Some matches are weak and some other queries come close, as with a real encoder; neither part is normal."""

    def scores(seed: int, n_matched: int, n_others: int) -> tuple[np.ndarray, np.ndarray]:
        matched = draw(seed, (n_matched - n_matched // 8, 0.64, 0.022), (n_matched // 8, 0.59, 0.03))
        others = draw(seed + 1, (n_others - n_others // 8, 0.45, 0.05), (n_others // 8, 0.54, 0.03))
        return matched, others

    matched, others = scores(1000, 20_000, 20_000)
    recalls, falses = [], []
    for seed in range(20, 60, 2):
        found = calibrate(np.concatenate(scores(seed, 140, 460)))
        assert found is not None
        recalls.append(np.mean(matched >= found.threshold))
        falses.append(np.mean(others >= found.threshold))
    assert np.mean(recalls) >= 0.94 and min(recalls) >= 0.92  # the fitted upper part's lower 5% gave 0.89 and 0.84
    assert max(falses) <= 0.03


def test_scores_without_a_valley_between_the_two_say_nothing():
    no_valley = draw(10, (400, 0.35, 0.05), (200, 0.47, 0.045))  # two, well apart by their means, that make one slope
    assert calibrate(no_valley) is None


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
