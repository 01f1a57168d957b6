"""Scores of items from those of their segments, with what is missing."""

from __future__ import annotations

import numpy as np

from shotlake.evaluate.scores import MAX_OF_SPACES, Gallery, score_best_segment, score_mean, spread, with_joined

NAN = [np.nan, np.nan]
GALLERY = Gallery(
    np.array([0, 0, 2, 2]),
    4,
    {
        "fused": np.array([[1, 0], [0, 1], [0.6, 0.8], [0.6, 0.8]], np.float32),
        "audio": np.array([NAN, [0, 1], NAN, NAN], np.float32),
    },
)
QUERIES = np.array([[1, 0], [0, 1]], np.float32)


def test_the_best_segment_counts() -> None:
    np.testing.assert_allclose(
        score_best_segment(QUERIES, GALLERY, "fused"), [[1, -np.inf, 0.6, -np.inf], [1, -np.inf, 0.8, -np.inf]]
    )


def test_segments_without_a_vector_do_not() -> None:
    found = score_best_segment(QUERIES, GALLERY, "audio")
    np.testing.assert_allclose(found, [[0, -np.inf, -np.inf, -np.inf], [1, -np.inf, -np.inf, -np.inf]])


def test_the_mean_is_a_unit_vector() -> None:
    found = score_mean(QUERIES, GALLERY, "fused")
    np.testing.assert_allclose(found[:, 0], [2**-0.5, 2**-0.5], rtol=1e-6)
    np.testing.assert_allclose(found[:, 2], [0.6, 0.8], rtol=1e-6)


def test_the_best_space() -> None:
    scores = {"fused": np.array([[0.1, 0.9]]), "audio": np.array([[0.3, -np.inf]])}
    np.testing.assert_allclose(with_joined(scores)[MAX_OF_SPACES], [[0.3, 0.9]])
    assert list(with_joined({"fused": scores["fused"]})) == ["fused"]


def test_picture_and_sound_joined() -> None:
    scores = {"visual": np.array([[0.9, 0.5, 0.1]]), "audio": np.array([[0.2, 0.4, -np.inf]])}
    joined = with_joined(scores)
    np.testing.assert_allclose(
        joined["visual + audio by rank"], [[1 / 61 + 1 / 62, 1 / 62 + 1 / 61, 1 / 63]], rtol=1e-6
    )
    z = 0.4 / np.std([0.9, 0.5, 0.1])
    np.testing.assert_allclose(joined["visual + audio by z-score"], [[z - 1, 1, -z]], atol=1e-5)


def test_spread_is_of_what_is_there() -> None:
    assert spread(np.array([[1.0, 3.0, -np.inf]])) == {"mean": 2.0, "std": 1.0}
    assert spread(np.array([[-np.inf]])) == {"mean": 0.0, "std": 0.0}


def test_an_empty_gallery_scores_nothing() -> None:
    nothing = Gallery(np.zeros(0, np.intp), 2, {"fused": np.zeros((0, 2), np.float32)})
    assert (score_mean(QUERIES, nothing, "fused") == -np.inf).all()
