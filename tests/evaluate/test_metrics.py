"""Ranks worked out by hand; intervals that hold what they say; a test that finds differences and no others."""

from __future__ import annotations

import numpy as np

from shotlake.evaluate.metrics import Ranking, compare, rank_texts, rank_videos, recall_curve, summarise

SCORES = np.array([[0.9, 0.1, 0.5], [0.8, 0.7, 0.1], [0.3, 0.3, 0.3], [0.2, 0.6, 0.4]])
OWNERS = np.array([0, 0, 1, 2])  # the first video has two captions


def test_text_to_video_ranks() -> None:
    ranking = rank_videos(SCORES, OWNERS)
    np.testing.assert_array_equal(ranking.ranks, [1, 1, 2, 2])  # the third scores all alike: the middle
    np.testing.assert_allclose(ranking.ndcg, [1, 1, 1 / np.log2(3), 1 / np.log2(3)])


def test_video_to_text_counts_the_best_caption_and_gains_of_all() -> None:
    ranking = rank_texts(SCORES, OWNERS)
    np.testing.assert_array_equal(ranking.ranks, [1, 3, 2])
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(ranking.ndcg, [ideal / ideal, 1 / np.log2(4), 1 / np.log2(3)])


def test_what_has_no_vector_is_last() -> None:
    scores = np.array([[-np.inf, 0.1, 0.2], [0.3, 0.2, -np.inf]])
    assert list(rank_videos(scores, np.array([0, 0])).ranks) == [3, 1]


def test_a_scorer_that_knows_nothing_is_in_the_middle() -> None:
    assert (rank_videos(np.zeros((5, 101)), np.arange(5)).ranks == 51).all()


def test_summary_of_known_ranks() -> None:
    ranks = np.array([1.0, 3, 6, 20])
    summary = summarise(Ranking("text_to_video", ranks, np.array([1, 0.5, 0.4, 0]), np.arange(4)))
    found = {name: entry["value"] for name, entry in summary.items() if isinstance(entry, dict)}
    assert found == {"r_at_1": 0.25, "r_at_5": 0.5, "r_at_10": 0.75, "ndcg_at_10": 0.475, "mean_rank": 7.5,
                     "median_rank": 4.5}  # fmt: skip
    assert summary["queries"] == 4
    lost = summarise(Ranking("text_to_video", np.array([1.0, np.inf]), np.array([1.0, 0]), np.arange(2)))
    assert lost["r_at_1"]["value"] == 0.5
    assert "mean_rank" not in lost


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        ranks = np.where(rng.random(200) < 0.4, 1.0, 50.0)
        interval = summarise(Ranking("text_to_video", ranks, ranks * 0, np.arange(200)))["r_at_1"]
        covered += interval["low"] <= 0.4 <= interval["high"]
    assert covered >= 88


def test_captions_of_one_video_are_not_independent() -> None:
    """Twenty captions of each of ten videos, all right or all wrong: as wide as ten queries."""
    groups = np.repeat(np.arange(10), 20)
    ranks = np.where(groups < 5, 1.0, 9.0)
    wide = summarise(Ranking("text_to_video", ranks, ranks, groups))["r_at_1"]
    narrow = summarise(Ranking("text_to_video", ranks, ranks, np.arange(200)))["r_at_1"]
    assert wide["high"] - wide["low"] > 3 * (narrow["high"] - narrow["low"])


def test_a_paired_test_sees_a_small_difference_on_the_same_queries() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(500) < 0.5
    ours = theirs | (rng.random(500) < 0.06)
    found = compare(ours, theirs)
    assert found["p"] < 0.01
    assert 0 < found["difference"]["low"] < found["difference"]["value"] < found["difference"]["high"]
    assert compare(theirs, theirs)["p"] == 1


def test_no_difference_is_seldom_significant() -> None:
    rng = np.random.default_rng(2)
    p = [compare(rng.random(100) < 0.5, rng.random(100) < 0.5)["p"] for _ in range(40)]
    assert sum(value < 0.05 for value in p) <= 6


def test_recall_curve_ends_at_the_gallery() -> None:
    curve = recall_curve(np.array([1.0, 4, 30]), 40)
    assert curve[0] == (1, 1 / 3)
    assert curve[-1] == (40, 1.0)
    assert [cut for cut, _ in curve] == [1, 2, 5, 10, 20, 40]
