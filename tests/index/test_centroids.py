"""Two levels of k-means find nearly as good centroids as one; lists are dealt to groups without remainder."""

from __future__ import annotations

from itertools import pairwise

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_vectors import clustered

from shotlake.errors import IndexingError
from shotlake.index import centroids
from shotlake.index.centroids import find_centroids, in_one_level, in_two_levels, shares

NLIST = 256


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(NLIST * 39, 32, seed=1, n_clusters=600, spread=0.5)


@pytest.fixture(scope="module")
def in_two(vectors) -> np.ndarray:
    return in_two_levels(vectors, NLIST)


def mean_product(found: np.ndarray, rows: np.ndarray) -> float:
    return float((rows @ found.T).max(axis=1).mean())


def test_exactly_so_many_unit_vectors_are_found(in_two) -> None:
    assert in_two.shape == (NLIST, 32)
    np.testing.assert_allclose(np.linalg.norm(in_two, axis=1), 1, atol=1e-5)
    assert len(np.unique(in_two, axis=0)) == NLIST


def test_two_runs_find_the_same(vectors, in_two) -> None:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        assert in_two_levels(vectors, NLIST).tobytes() == in_two_levels(vectors, NLIST).tobytes()
    finally:
        faiss.omp_set_num_threads(threads)


def test_rows_are_nearly_as_near_to_them_as_to_those_of_one_level(vectors, in_two) -> None:
    others = clustered(4_000, 32, seed=2, n_clusters=600, spread=0.5)
    one, two = mean_product(in_one_level(vectors, NLIST), others), mean_product(in_two, others)
    assert two > one - 0.01
    rows_themselves = vectors[:: len(vectors) // NLIST][:NLIST]  # what no clustering at all would give
    assert one - mean_product(rows_themselves, others) > 0.04


def test_two_levels_begin_where_there_are_many_lists(vectors, in_two, monkeypatch) -> None:
    assert find_centroids(vectors, NLIST).tobytes() == in_one_level(vectors, NLIST).tobytes()
    monkeypatch.setattr(centroids, "TWO_LEVELS_FROM_LISTS", NLIST)
    monkeypatch.setattr(centroids, "n_gpus", lambda: 0)
    assert find_centroids(vectors, NLIST).tobytes() == in_two.tobytes()


def test_a_gpu_clusters_in_one_level_and_without_pruning(vectors, monkeypatch) -> None:
    plain = in_one_level(vectors, NLIST)
    monkeypatch.setattr(centroids, "n_gpus", lambda: 1)  # faiss itself sees none, so its Kmeans stays on the CPU
    monkeypatch.setattr(centroids, "TWO_LEVELS_FROM_LISTS", NLIST)
    monkeypatch.setattr(centroids, "PRUNED_FROM_LISTS", NLIST)
    assert find_centroids(vectors, NLIST).tobytes() == plain.tobytes()


def test_fewer_vectors_than_lists_are_refused(vectors) -> None:
    with pytest.raises(IndexingError, match="256 lists need as many vectors to train, this space has 255"):
        find_centroids(vectors[:255], NLIST)


def test_as_many_lists_as_vectors(vectors) -> None:
    assert in_two_levels(vectors[:NLIST], NLIST).shape == (NLIST, 32)


def test_equal_rows_do_not_cost_a_list() -> None:
    few = clustered(300, 32, seed=3)
    found = in_two_levels(np.concatenate([np.repeat(few[:1], 6_000, axis=0), few]), 400)
    assert found.shape == (400, 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=40).filter(any), st.floats(0, 1))
def test_lists_are_dealt_to_groups_by_their_rows(sizes, part) -> None:
    rows, filled = sum(sizes), sum(size > 0 for size in sizes)
    total = filled + round(part * (rows - filled))
    dealt = shares(np.array(sizes), total)
    assert sum(dealt) == total
    assert all((size > 0) <= n <= size for size, n in zip(sizes, dealt))
    by_size = [n for _, n in sorted(zip(sizes, dealt))]
    assert all(larger >= smaller - 1 for smaller, larger in pairwise(by_size))
