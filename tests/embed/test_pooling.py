"""Means by duration and cuts between scenes, worked out by hand."""

from __future__ import annotations

import numpy as np

from shotlake.embed.pooling import cut_scenes, pool

A, B, C = np.eye(3, dtype=np.float32)
NAN = np.full(3, np.nan, np.float32)


def times(n: int, gap_behind: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    start = np.arange(n) * 2_000_000
    if gap_behind is not None:
        start[gap_behind + 1 :] += 5_000_000
    return start, start + 2_000_000


def test_longer_segments_weigh_more_and_the_mean_has_length_one() -> None:
    found = pool(np.array([A, B]), np.array([3, 4]))
    np.testing.assert_allclose(found, [0.6, 0.8, 0], rtol=1e-6)


def test_segments_without_a_vector_are_left_out() -> None:
    np.testing.assert_allclose(pool(np.array([NAN, B]), np.array([100, 1])), B)
    assert pool(np.array([NAN, NAN]), np.array([1, 1])) is None
    assert pool(np.array([A, -A]), np.array([1, 1])) is None


def test_a_scene_ends_where_neighbours_are_less_alike() -> None:
    vectors = np.array([A, A, A, B, B, B, C, C])
    assert cut_scenes(vectors, *times(8)) == [slice(0, 3), slice(3, 6), slice(6, 8)]


def test_a_video_that_is_all_alike_is_one_scene() -> None:
    rng = np.random.default_rng(0)
    vectors = A + 0.01 * rng.standard_normal((20, 3), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert cut_scenes(vectors, *times(20)) == [slice(0, 20)]


def test_a_gap_in_time_ends_a_scene() -> None:
    assert cut_scenes(np.array([A, A, A, A]), *times(4, gap_behind=1)) == [slice(0, 2), slice(2, 4)]


def test_one_segment_and_none() -> None:
    assert cut_scenes(np.array([A]), *times(1)) == [slice(0, 1)]
    assert cut_scenes(np.zeros((0, 3), np.float32), *times(0)) == []


def test_a_segment_without_a_vector_ends_no_scene() -> None:
    assert cut_scenes(np.array([A, NAN, A, B, B, B]), *times(6)) == [slice(0, 3), slice(3, 6)]
