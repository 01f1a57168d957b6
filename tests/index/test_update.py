"""Fresh shards of the same epoch: old files stay, retired rows vanish, recall measured again, drift noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_vectors import EXACT, FINGERPRINT, IVF, KEY, build, clustered, rows_of, source, update

from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index import scan
from shotlake.index.advice import advise
from shotlake.index.build import GenerationTarget, TableChange, update_generation
from shotlake.index.effort import Effort
from shotlake.index.publish import current, publish
from shotlake.index.searcher import Searcher
from shotlake.records import stable_id

DIM = 32


@pytest.fixture(scope="module")
def updated(tmp_path_factory):
    """(root, vectors of all rows, parent, child): 2000 rows in two shards, then 500 more and two videos retired."""
    root = str(tmp_path_factory.mktemp("lake") / "index")
    vectors = clustered(2500, DIM, seed=21)
    parent = build(root, rows_of(vectors[:2000]), IVF)
    publish(root, parent)
    child = update(root, parent, vectors[2000:], [stable_id("video", 3), stable_id("video", 77)])
    publish(root, child)
    return root, vectors, parent, child


def test_old_shards_are_referenced_and_new_ones_added(updated):
    root, _, parent, child = updated
    assert current(root, KEY) == child and child.parent == parent.generation
    assert child.shards[:2] == parent.shards and child.shards[2].first_row == 2000
    assert child.spaces["fused"].shards[:2] == parent.spaces["fused"].shards
    assert child.spaces["fused"].trained == parent.spaces["fused"].trained
    assert (child.n_rows, child.retired_rows, child.table_rows) == (2500, 20, 2480)
    names = [file.path for file in child.files]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith(parent.generation) and "truth" in name]


def test_old_and_new_rows_are_found_and_retired_ones_hidden(updated, tmp_path):
    root, vectors, _, child = updated
    live = Searcher.load(root, child, tmp_path / "cache")
    hidden = live.find("video_id", [stable_id("video", 3), stable_id("video", 77)])
    assert live.tombstones.tolist() == hidden.tolist() and len(hidden) == 20
    queries = clustered(200, DIM, seed=5)
    half = vectors.astype(np.float16).astype(np.float32)
    half[hidden] = 0
    truth = np.sort(queries @ half.T, axis=1)[:, ::-1][:, :10]
    scores, rows = live.search_vectors(queries, "fused", 10)
    assert (scores >= truth[:, -1:] - 1e-6).mean() >= 0.87
    assert (rows >= 2000).any() and not np.isin(rows, hidden).any()
    assert live.columns(np.array([2400]), ["segment_id"])["segment_id"].to_pylist() == [stable_id(2400)]


def test_a_scan_of_many_allowed_rows_is_full_without_tombstones(updated, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "BRUTE_FORCE_ROWS", 0)
    root, _, _, child = updated
    live = Searcher.load(root, child, tmp_path / "cache")
    allowed = np.arange(0, 2500, 3)
    wanted = np.setdiff1d(allowed, live.tombstones)
    assert 0 < len(wanted) < len(allowed)
    rows = live.search_vectors(clustered(20, DIM, seed=5), "fused", len(allowed), allowed=allowed)[1]
    assert [np.sort(line[line >= 0]).tolist() for line in rows] == [wanted.tolist()] * 20


def test_recall_is_measured_again_with_the_parent_s_queries(updated):
    _, _, parent, child = updated
    before, after = parent.spaces["fused"].tuning["text"], child.spaces["fused"].tuning["text"]
    assert after.source == before.source and 0.9 * before.n_queries <= after.n_queries <= before.n_queries
    assert after.chosen.lower_bound >= after.target


def test_a_generation_of_generations(updated):
    root, _, _, child = updated
    third = update(root, child, clustered(300, DIM, seed=8), version=3)
    assert third.n_rows == 2800 and len(third.shards) == 4
    assert publish(root, third) == 3


def test_nothing_new_but_retired_rows(updated):
    root, _, parent, _ = updated
    retired = update(root, parent, clustered(1, DIM, 1)[:0], [stable_id("video", 5)], version=4)
    assert (retired.n_rows, retired.table_rows, len(retired.shards)) == (2000, 1990, 2)


def test_rows_of_another_dimension_are_refused(updated):
    root, _, _, child = updated
    before = current(root, KEY)
    with pytest.raises(IndexingError, match=r"a fused vector has 40 values, .* gives 32"):
        update(root, child, clustered(50, 40, seed=9), version=6)
    assert current(root, KEY) == before


def test_a_segment_that_comes_again_replaces_the_earlier_one(updated, tmp_path):
    root, vectors, parent, _ = updated
    table = rows_of(vectors[:10])  # video 0 once more, with the same ids
    target = GenerationTarget(root, KEY, FINGERPRINT, "/lake/tables/segments", 5)
    again = update_generation(source(table), TableChange(2000), parent, target, IVF)
    publish(root, again)
    searcher = Searcher.load(root, again, tmp_path / "cache")
    assert searcher.tombstones.tolist() == list(range(10)) and again.retired_rows == 10
    assert searcher.search_vectors(vectors[:1], "fused", 1, Effort(recall=1.0))[1][0, 0] == 2000
    found = searcher.without(np.array([2000])).search_vectors(vectors[:1], "fused", 20, Effort(recall=1.0))[1]
    assert not np.isin(found, [*range(10), 2000]).any()


def test_rows_that_do_not_add_up_are_not_published(updated):
    root, vectors, parent, _ = updated
    table = rows_of(vectors[2000:2100], first=2000)
    target = GenerationTarget(root, KEY, FINGERPRINT, "/lake/tables/segments", 9)
    short = update_generation(source(table), TableChange(2101), parent, target, IVF)
    with pytest.raises(IndexingError, match="holds 2100 live rows, table version 9 has 2101"):
        publish(root, short)


def test_an_exact_generation_takes_fresh_shards(tmp_path):
    root = str(tmp_path)
    vectors = clustered(400, DIM, seed=21)
    child = update(root, build(root, rows_of(vectors[:300]), EXACT), vectors[300:], config=EXACT)
    searcher = Searcher.load(root, child, tmp_path / "cache")
    scores, _ = searcher.search_vectors(vectors[:20], "fused", 5)
    half = vectors.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(scores, np.sort(vectors[:20] @ half.T, axis=1)[:, ::-1][:, :5], atol=1e-6)


def test_advice(updated):
    child = updated[-1]
    assert advise(child, 2480, 2, IVF).reasons == ()
    assert advise(child, 2900, 3, IVF).action == "update"
    grown = advise(child, 50_000, 3, IVF)
    assert grown.action == "build" and "50000 rows want" in grown.reasons[0]
    assert "as exact" in advise(child, 2900, 3, IndexConfig(exact_below=3000)).reasons[0]
    more = IVF.model_copy(update={"spaces": ("fused", "visual", "audio")})
    assert "was built with ['fused', 'visual']" in advise(child, 2480, 2, more).reasons[0]
    entry = child.spaces["fused"]
    worse = entry.shards[-1].model_copy(update={"quantisation_error": 2 * entry.shards[0].quantisation_error})
    spaces = {"fused": entry.model_copy(update={"shards": (*entry.shards[:-1], worse)})}
    plan = replace(child.plan, train_rows=10_000)
    drifted = child.model_copy(update={"spaces": spaces, "plan": plan})
    assert any("times the quantisation error" in reason for reason in advise(drifted, 2480, 2, IVF).reasons)
    assert advise(child, 2100, 2, IVF).action == "keep", "retired rows are hidden by every reader"
    assert "600 of 2500 rows are retired" in advise(child, 1900, 2, IVF).reasons
    assert advise(child, 2480, 3, IVF).action == "update", "as many rows, but others"
