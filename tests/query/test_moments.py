"""Moments grow from their best segment over touching neighbours, each segment in one at the most."""

from __future__ import annotations

import random

import numpy as np

from shotlake.query.moments import BLOCK, Stretch, Timeline


def timeline(*segments: tuple[float, int, int]) -> Timeline:
    """Of (score, start, end); row k is the k-th that is given."""
    scores = np.array([score for score, _, _ in segments], np.float32)
    starts, ends = (np.array([segment[k] for segment in segments], np.int64) for k in (1, 2))
    return Timeline(np.arange(len(segments)), starts, ends, lambda rows: scores[rows])


def grown(line: Timeline, order: list[int], drop: float) -> list[list[int]]:
    """The rows of the moments of rows in this order."""
    return [line.rows[each.first : each.last + 1].tolist() for row in order for each in line.grow(row, drop)]


def test_touching_neighbours_within_the_drop_become_one_moment():
    line = timeline((0.9, 10, 20), (0.85, 20, 30), (0.5, 30, 40), (0.82, 0, 10))
    assert grown(line, [0, 1, 3, 2], 0.1) == [[3, 0, 1], [2]]


def test_the_drop_is_counted_from_the_best_not_from_the_neighbour():
    line = timeline(*((0.9 - 0.06 * k, 10 * k, 10 * k + 10) for k in range(4)))
    assert grown(line, [0, 1, 2, 3], 0.1) == [[0, 1], [2, 3]]


def test_a_gap_separates():
    assert grown(timeline((0.9, 0, 10), (0.9, 11, 20)), [0, 1], 2) == [[0], [1]]


def test_overlapping_windows_join():
    assert grown(timeline((0.8, 0, 100), (0.9, 50, 90)), [1, 0], 0.2) == [[0, 1]]


def test_a_zero_drop_still_joins_equal_scores():
    assert grown(timeline((0.5, 0, 10), (0.5, 10, 20), (0.4, 20, 30)), [0, 1, 2], 0) == [[0, 1], [2]]


def test_no_segment_is_in_two_moments_and_none_is_lost():
    rng = random.Random(3)
    line = timeline(*((rng.random(), 10 * k, 10 * k + 15) for k in range(3 * BLOCK)))
    order = sorted(range(3 * BLOCK), key=lambda row: -line.score_of(row))
    found = grown(line, order, 0.3)
    assert sorted(row for rows in found for row in rows) == list(range(3 * BLOCK))


def test_a_better_neighbour_that_was_not_found_is_the_best_one():
    scores = ((0.7, 0, 10), (0.8, 10, 20), (0.9, 20, 30), (0.86, 30, 40), (0.81, 40, 50))
    assert timeline(*scores).grow(1, 0.1) == [Stretch(1, 4, 2)] == timeline(*scores).grow(2, 0.1)
    assert timeline(*scores).grow(1, 0.15, climbs=False) == [Stretch(0, 4, 1)]


def test_a_row_that_is_too_far_below_its_better_neighbour_has_a_moment_of_its_own():
    assert timeline((0.5, 0, 10), (0.7, 10, 20), (0.5, 20, 30)).grow(2, 0.1) == [Stretch(1, 1, 1), Stretch(2, 2, 2)]


def test_what_no_moment_may_hold_ends_it():
    line = timeline((0.9, 0, 10), (-np.inf, 10, 20), (0.9, 20, 30))
    assert grown(line, [0, 2], 2) == [[0], [2]]


def test_what_was_found_and_is_excluded_here_by_a_rounding_is_alone():
    assert grown(timeline((-np.inf, 0, 10), (-np.inf, 10, 20), (-2.0, 20, 30)), [1], 9) == [[1]]


def test_of_a_long_run_only_what_is_looked_at_is_scored():
    asked: list[int] = []

    def score(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return np.where(rows < 5_000, 0.9, 0.1).astype(np.float32)

    starts = np.arange(100_000) * 10
    line = Timeline(np.arange(100_000), starts, starts + 10, score)
    assert line.grow(4_000, 0.1) == [Stretch(0, 4_999, 4_000)]
    assert len(asked) == len(set(asked)) <= 5_000 + BLOCK
