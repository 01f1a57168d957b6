"""The truth is that of brute force, in blocks of any size, with its own row, zero rows and retired rows left out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from toy_vectors import clustered

from shotlake.index.truth import KEPT, K, Truth, lower_bound


def names(first: int, n: int) -> pa.Array:
    return pa.array([f"s{k}" for k in range(first, first + n)], pa.string())


def collected(queries, vectors, ids=(), block=100):
    truth = Truth(queries, ids)
    for start in range(0, len(vectors), block):
        part = vectors[start : start + block]
        truth.add(start, names(start, len(part)), part)
    return truth


def nobody_asks(queries, rows):
    raise AssertionError("the rows that are kept say it")


@pytest.mark.parametrize("block", [7, 100, 1000])
def test_best_rows_are_those_of_brute_force(block):
    vectors, queries = clustered(500, 16, 1), clustered(30, 16, 2)
    truth = collected(queries, vectors, block=block)
    np.testing.assert_allclose(truth.scores, np.sort(queries @ vectors.T, axis=1)[:, ::-1][:, :KEPT], atol=1e-6)
    np.testing.assert_allclose(truth.scores, np.einsum("qkd,qd->qk", vectors[truth.rows], queries), atol=1e-6)


def test_a_row_does_not_find_itself_and_zero_rows_count_for_nothing():
    vectors = clustered(200, 16, 1)
    vectors[50] = 0
    truth = collected(vectors[:20], vectors, ids=[f"s{k}" for k in range(20)])
    assert truth.own_rows.tolist() == list(range(20))
    assert not any(row in line for row, line in enumerate(truth.rows.tolist()))
    assert 50 not in truth.rows


def test_recall_counts_equal_neighbours_and_grows_with_the_candidates():
    vectors = np.repeat(clustered(5, 8, 1), 4, axis=0)  # every vector four times
    truth = collected(vectors[:1], vectors)
    rows = np.argsort(-(vectors[:1] @ vectors.T), axis=1, kind="stable")
    recall = truth.recall(rows, nobody_asks)[0]
    assert recall[9] == 1 and recall[4] == pytest.approx(0.5) and (np.diff(recall) >= 0).all()
    twins = np.flip(rows[:, :12], axis=1).copy()  # others of the same score may stand in
    assert truth.recall(twins, nobody_asks)[0, -1] == 1
    assert truth.recall(np.array([[-1, -1]]), nobody_asks).tolist() == [[0, 0]]


def test_more_equal_rows_than_are_kept_count_by_their_scores():
    vectors = clustered(300, 16, 1)
    vectors[100:250] = vectors[100]
    truth = collected(vectors[[100, 20]], vectors, ids=["s100", "s20"])
    asked = []

    def score(queries, rows):
        asked.append(len(queries))
        scores = np.einsum("qkd,qd->qk", vectors[rows], queries)
        return np.where(rows < 0, -np.inf, scores).astype(np.float32)

    others = np.stack([np.arange(200, 212), np.argsort(-(vectors @ vectors[20]), kind="stable")[:12]])
    others[0, 3] = -1
    recall = truth.recall(others, score)
    assert recall[:, 10].tolist() == [1, 1] and recall[0, 3] == recall[0, 2] and asked == [1]
    others[0] = np.arange(12)  # none of them is the still
    assert truth.recall(others, score)[0, -1] == 0
    others[0, 0] = 100  # the query's own row is not counted
    assert truth.recall(others, score)[0, -1] == 0


def test_fewer_rows_than_ten_can_all_be_found():
    vectors = clustered(3, 8, 1)
    truth = collected(vectors[:1], vectors, ids=["s0"])
    assert truth.recall(np.array([[0, 1, 2]]), nobody_asks)[0].tolist() == [0, 0.5, 1]
    alone = collected(vectors[:1], vectors[:1], ids=["s0"])
    assert alone.recall(np.zeros((1, 1), np.int64), nobody_asks)[0, 0] == 1


def test_retired_rows_leave_the_truth_of_the_others():
    vectors, queries = clustered(400, 16, 1), clustered(40, 16, 2)
    hidden = np.arange(0, 400, 3)
    left = collected(queries, vectors).without(hidden)
    others = vectors.copy()
    others[hidden] = 0
    expected = collected(queries, others)
    assert len(left.queries) == 40
    np.testing.assert_allclose(left.scores[:, :K], expected.scores[:, :K], atol=1e-6)
    assert not np.isin(left.rows, hidden).any()


def test_a_query_whose_best_rows_are_mostly_retired_is_dropped():
    vectors, queries = clustered(400, 16, 1), clustered(2, 16, 2)
    truth = collected(queries, vectors)
    left = truth.without(np.sort(truth.rows[0][:30]))
    assert len(left.queries) <= 1 and (left.queries != queries[0]).any()


def test_rows_added_after_a_retirement_are_ranked_exactly():
    vectors, queries = clustered(600, 16, 1), clustered(30, 16, 2)
    hidden = np.arange(0, 400, 3)
    truth = collected(queries, vectors[:400]).without(hidden)
    truth.add(400, names(400, 200), vectors[400:])
    later = np.arange(400, 600, 5)
    again = truth.without(later)
    others = vectors.copy()
    others[np.concatenate([hidden, later])] = 0
    expected = collected(queries, others)
    kept = [int(np.flatnonzero((queries == q).all(axis=1))[0]) for q in again.queries]
    assert len(kept) >= 20
    np.testing.assert_allclose(again.scores[:, :K], expected.scores[kept, :K], atol=1e-6)


def test_it_can_be_saved_and_continued(tmp_path):
    vectors, queries = clustered(300, 16, 1), clustered(10, 16, 2)
    half = collected(queries, vectors[:200])
    half.save(tmp_path / "truth.npz")
    more = Truth.load(tmp_path / "truth.npz")
    more.add(200, names(200, 100), vectors[200:])
    np.testing.assert_array_equal(more.rows, collected(queries, vectors).rows)


def test_the_bound_is_below_the_mean_and_closes_with_more_queries():
    rng = np.random.default_rng(0)
    few, many = (rng.binomial(10, 0.95, n).astype(np.float32) / 10 for n in (100, 10_000))
    assert lower_bound(few) < lower_bound(many) < 0.95 < lower_bound(many) + 0.005
    assert lower_bound(np.ones(500, np.float32)) == 1 - 1 / 500, "one more could have missed"
    below = sum(lower_bound(rng.binomial(10, 0.95, 500).astype(np.float32) / 10) <= 0.95 for _ in range(400))
    assert 0.92 <= below / 400 <= 0.98, "it holds for 95 of 100 samples"
