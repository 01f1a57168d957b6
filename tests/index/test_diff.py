"""Two generations of known rows differ by what is known to differ."""

from __future__ import annotations

import pytest
from toy_vectors import EXACT, IVF, build, clustered, rows_of

from shotlake.index.diff import compare, tuned_queries
from shotlake.index.searcher import Searcher

DIM = 32


@pytest.fixture(scope="module")
def searchers(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("diff"))
    vectors = clustered(1200, DIM, seed=4)
    tables = {"half": (rows_of(vectors[:600]), EXACT), "all": (rows_of(vectors), EXACT), "pq": (rows_of(vectors), IVF)}
    return {name: Searcher.load(root, build(root, table, config)) for name, (table, config) in tables.items()}


def test_a_generation_equals_itself(searchers):
    same = compare(searchers["all"], searchers["all"], "fused", tuned_queries(searchers["all"], "fused"))
    assert (same.n_queries, same.overlap_at_10, same.same_best, same.lost) == (300, 1, 1, 0)


def test_more_rows_push_answers_out_and_lose_none(searchers):
    more = compare(searchers["half"], searchers["all"], "fused", tuned_queries(searchers["all"], "fused"))
    assert 0.3 < more.overlap_at_10 < 0.7 and more.lost == 0
    fewer = compare(searchers["all"], searchers["half"], "fused", tuned_queries(searchers["half"], "fused"))
    assert fewer.lost == pytest.approx(1 - fewer.overlap_at_10)


def test_an_approximate_one_loses_what_its_recall_says(searchers):
    approximate = searchers["pq"]
    recall = approximate.manifest.recall_at_10("fused")["text"]
    stating = tuned_queries(approximate, "fused")[1::2]
    found = compare(searchers["all"], approximate, "fused", stating)
    assert found.overlap_at_10 == pytest.approx(recall, abs=1e-3)
