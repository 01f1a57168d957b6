"""Merging is arithmetic: every candidate in one moment, grown from the best over touching neighbours."""

from __future__ import annotations

import random

from shotlake.query.moments import Candidate, merge_moments


def segment(row: int, score: float, start: int, end: int, video: str = "a") -> Candidate:
    return Candidate(row, score, f"s{row}", video, f"/{video}.mp4", start, end)


def ranges(moments):
    return [(m.best.uri, m.start_us, m.end_us, m.best.score) for m in moments]


def test_touching_neighbours_within_the_drop_become_one_moment():
    found = [segment(0, 0.9, 10, 20), segment(1, 0.85, 20, 30), segment(2, 0.5, 30, 40), segment(3, 0.82, 0, 10)]
    moments = merge_moments(found, drop=0.1)
    assert ranges(moments) == [("/a.mp4", 0, 30, 0.9), ("/a.mp4", 30, 40, 0.5)]
    assert [c.row for c in moments[0].segments] == [3, 0, 1]


def test_the_drop_is_counted_from_the_best_not_from_the_neighbour():
    found = [segment(k, 0.9 - 0.06 * k, 10 * k, 10 * k + 10) for k in range(4)]
    assert [len(m.segments) for m in merge_moments(found, drop=0.1)] == [2, 2]


def test_a_gap_or_another_video_separates():
    found = [segment(0, 0.9, 0, 10), segment(1, 0.9, 11, 20), segment(2, 0.9, 10, 20, "b")]
    assert len(merge_moments(found, drop=2)) == 3


def test_overlapping_windows_merge_and_end_with_the_last():
    found = [segment(0, 0.8, 0, 100), segment(1, 0.9, 50, 90)]
    assert ranges(merge_moments(found, drop=0.2)) == [("/a.mp4", 0, 100, 0.9)]


def test_a_zero_drop_still_joins_equal_scores():
    found = [segment(0, 0.5, 0, 10), segment(1, 0.5, 10, 20), segment(2, 0.4, 20, 30)]
    assert [len(m.segments) for m in merge_moments(found, drop=0)] == [2, 1]


def test_order_of_candidates_does_not_matter_and_none_is_lost():
    rng = random.Random(3)
    found = [segment(k, rng.random(), 10 * (k // 3), 10 * (k // 3) + 15, "abc"[k % 3]) for k in range(60)]
    first = merge_moments(found, drop=0.3)
    rng.shuffle(found)
    assert merge_moments(found, drop=0.3) == first
    assert sorted(c.row for m in first for c in m.segments) == list(range(60))
    assert [m.best.score for m in first] == sorted((m.best.score for m in first), reverse=True)


def test_no_candidates_no_moments():
    assert merge_moments([], drop=0.1) == []
