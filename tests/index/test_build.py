"""Generations from seeded clustered vectors: layout, counts, recall against exact search, codecs, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from toy_vectors import EXACT, FINGERPRINT, IVF, KEY, build, clustered, rows_of, text_queries

from shotlake import storage
from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.depth import Depth
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current, publish
from shotlake.index.searcher import Searcher


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    return np.sort(queries @ vectors.astype(np.float16).astype(np.float32).T, axis=1)[:, ::-1][:, :k]


def recall(scores: np.ndarray, truth: np.ndarray) -> float:
    return float((scores >= truth[:, -1:] - 1e-6).mean())


@pytest.fixture(scope="module")
def vectors():
    return clustered(3000, 60, seed=1)  # 60 is not a multiple of 8


@pytest.fixture(scope="module", params=["pq", "rabitq", "pqfs"])
def sharded(request, vectors, tmp_path_factory):
    """Three shards of a thousand rows: (index root, manifest)."""
    root = tmp_path_factory.mktemp(request.param) / "index"
    manifest = build(str(root), rows_of(vectors), IVF.model_copy(update={"codec": request.param}))
    publish(str(root), manifest)
    return str(root), manifest


def test_an_exact_index_finds_what_brute_force_finds(vectors, tmp_path):
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(vectors), EXACT)
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    queries = text_queries(60).vectors["fused"][:50]
    scores, rows = searcher.search_vectors(queries, "fused", 20)
    np.testing.assert_allclose(scores, brute_force(vectors, queries, 20), atol=1e-6)
    assert manifest.plan.codec == "exact" and (rows >= 0).all()
    assert manifest.recall_at_10("fused") == {"text": 1.0, "segment": 1.0}


@pytest.mark.parametrize("config", [EXACT, IVF], ids=["exact", "pq"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.75])
def test_equal_rows_are_as_good_as_each_other(share, config, vectors, tmp_path):
    """A still picture is many equal rows: whichever ten of them are found, nothing better was missed."""
    still = np.random.default_rng(3).permutation(len(vectors))[: round(share * len(vectors))]
    rows = vectors.copy()
    rows[still] = rows[still[0]]
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(rows), config)
    for space in manifest.spaces.values():
        for tuning in space.tuning.values():
            assert tuning.chosen.lower_bound >= tuning.target
            assert tuning.chosen.recall == 1 or config is IVF
    publish(root, manifest)


def test_the_stated_recall_holds_for_other_queries(sharded, vectors, tmp_path):
    root, manifest = sharded
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    other = clustered(400, 60, seed=7)
    truth = brute_force(vectors, other, 10)
    for kind in ("text", "segment"):
        tuning = manifest.spaces["fused"].tuning[kind]
        assert tuning.target <= tuning.chosen.lower_bound < tuning.chosen.recall <= 1
        scores, _ = searcher.search_vectors(other, "fused", 10, Depth(kind))
        assert recall(scores, truth) >= tuning.target - 0.03


def test_scores_are_exact_after_re_ranking(sharded, vectors, tmp_path):
    root, manifest = sharded
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    queries = text_queries(60).vectors["fused"][:20]
    scores, rows = searcher.search_vectors(queries, "fused", 10)
    half = vectors.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", half[rows], queries), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_recall_can_be_asked_for(sharded, vectors, tmp_path):
    root, manifest = sharded
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    other = clustered(300, 60, seed=8)
    truth = brute_force(vectors, other, 10)
    low = searcher.point("fused", Depth(recall=0.5))
    high = searcher.point("fused", Depth(recall=0.99))
    assert low.nprobe * low.rerank < high.nprobe * high.rerank and high.lower_bound >= 0.99
    assert recall(searcher.search_vectors(other, "fused", 10, Depth(recall=0.99))[0], truth) >= 0.97


def test_layout_counts_and_hashes(sharded):
    root, manifest = sharded
    folder = Path(root, KEY)
    stored = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    name = manifest.generation
    shards = [
        f"{name}/{space}/shards/{shard}/{file}"
        for space in ("fused", "visual")
        for shard in ("00000", "00001", "00002")
        for file in ("ivf.faiss", "rows.f16", "columns.arrow", "stats.json")
    ]
    epochs = [
        f"epochs/{name}/{space}/{file}" for space in ("fused", "visual") for file in ("trained.faiss", "report.json")
    ]
    truths = [f"{name}/{space}/truth-{kind}.npz" for space in ("fused", "visual") for kind in ("text", "segment")]
    assert stored == {*shards, *epochs, *truths, f"{name}/manifest.json", "CURRENT/1.json"}
    assert {file.path for file in manifest.files} == {*shards, *epochs, *truths}
    assert manifest.n_rows == manifest.plan.n_rows == 3000
    assert [shard.first_row for shard in manifest.shards] == [0, 1000, 2000]
    assert (manifest.spaces["fused"].n_vectors, manifest.spaces["visual"].n_vectors) == (3000, 2400)
    assert manifest.shards[0].collections == ("even", "odd")
    assert manifest.shards[0].recorded_to < manifest.shards[1].recorded_to
    stats = json.loads((folder / shards[3]).read_text())
    assert stats["n_rows"] == 1000 and stats["quantisation_error"] > 0 and stats["imbalance"] >= 1


def test_a_plain_faiss_reads_a_shard(sharded, vectors):
    root, manifest = sharded
    path = Path(root, KEY, manifest.spaces["fused"].shards[1].path, "ivf.faiss")
    index = faiss.read_index(str(path))
    index.nprobe = index.nlist
    query = np.zeros((1, index.d), np.float32)
    query[0, :60] = vectors[1234]
    assert index.ntotal == 1000
    assert 234 in index.search(query, 10)[1][0]


def test_the_manifest_survives_its_json(sharded):
    _, manifest = sharded
    assert Manifest.model_validate_json(manifest.to_bytes()) == manifest
    assert (manifest.metric, manifest.fingerprint) == ("inner_product", FINGERPRINT)
    assert manifest.faiss.startswith("faiss") and manifest.cost.cpu_s > 0


def test_missing_vectors_are_never_found_and_have_no_score(sharded, vectors, tmp_path):
    root, manifest = sharded
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    query = np.ascontiguousarray(vectors[4][::-1])  # row 4 has no visual vector
    scores, rows = searcher.search_vectors(query[None], "visual", 2500, Depth(recall=1.0))
    found = rows[0][rows[0] >= 0]
    assert len(found) == 2400 and not (found % 5 == 4).any()
    assert (rows[0][2400:] == -1).all() and np.isneginf(scores[0][2400:]).all()
    assert searcher.score_rows(query, "visual", np.array([4, 5]))[0] is None
    assert searcher.score_rows(query, "audio", np.array([4, 5])) == [None, None]


def test_order_of_rows_does_not_change_what_is_trained(vectors, tmp_path):
    table = rows_of(vectors[:1000])
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(1000)))
    one, two = (build(str(tmp_path / name), t, IVF) for name, t in (("a", table), ("b", shuffled)))
    hashes = [
        {f.path.split("/", 2)[2]: f.sha256 for f in m.files if f.path.endswith("trained.faiss")} for m in (one, two)
    ]
    assert hashes[0] == hashes[1]


def test_a_space_without_a_single_vector_is_left_out(vectors, tmp_path):
    table = rows_of(vectors[:100])
    silent = table.set_column(table.schema.get_field_index("visual"), "visual", pa.nulls(100, pa.list_(pa.float32())))
    manifest = build(str(tmp_path / "index"), silent, EXACT)
    assert list(manifest.spaces) == ["fused"]


def test_few_rows_are_an_index_too(tmp_path):
    vectors = clustered(1, 8, seed=3)
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(vectors), EXACT)
    scores, rows = Searcher.load(root, manifest, tmp_path / "cache").search_vectors(vectors, "fused", 5)
    assert rows.tolist() == [[0, -1, -1, -1, -1]] and scores[0, 0] == pytest.approx(1, abs=1e-3)
    assert publish(root, manifest) == 1


@pytest.mark.parametrize(
    ("n", "config", "words"),
    [
        (0, EXACT, "no live rows"),
        (100, IVF, r"needs 256 rows to train, the table has 100; set index\.exact_below to 100"),
        (300, IVF, r"this space has 240"),
    ],
)
def test_too_few_rows_are_refused_with_what_to_set(tmp_path, n, config, words):
    vectors = clustered(max(n, 1), 32, seed=2)

    def rows(first):
        return iter(rows_of(vectors).slice(0, n).slice(first).to_batches())

    target = GenerationTarget(str(tmp_path / "index"), KEY, FINGERPRINT, "t", 1)
    with pytest.raises(IndexingError, match=words):
        build_generation(rows, n, target, text_queries(32), config)
    assert not (tmp_path / "index").exists()


def test_vectors_of_another_model_are_refused(tmp_path):
    with pytest.raises(IndexingError, match="has 32 values, the encoder of the queries gives 40"):
        build(str(tmp_path / "index"), rows_of(clustered(50, 32, 1)), EXACT, queries=text_queries(40))


def test_a_space_needs_text_queries(tmp_path):
    queries = TextQueries("nothing", {"fused": text_queries(32).vectors["fused"]})
    with pytest.raises(IndexingError, match=r"'visual' \(source: nothing\)"):
        build(str(tmp_path / "index"), rows_of(clustered(50, 32, 1)), EXACT, queries=queries)
    only_fused = IndexConfig(spaces=("fused",), min_queries=10)
    assert list(build(str(tmp_path / "index"), rows_of(clustered(50, 32, 1)), only_fused, queries=queries).spaces) == [
        "fused"
    ]


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_read(tmp_path):
    target = GenerationTarget(str(tmp_path / "index"), KEY, FINGERPRINT, "t", 1)

    def rows(first):
        raise AssertionError("nothing may be read")

    with pytest.raises(IndexingError, match=r"needs about [\d.]+ GB in .* set TMPDIR"):
        build_generation(rows, 10**12, target, text_queries(32), IndexConfig())


@pytest.mark.parametrize("key", ["max_ram_bytes", "max_disk_bytes"])
def test_a_generation_over_its_budget_is_refused_before_anything_is_read_or_written(tmp_path, key):
    target = GenerationTarget(str(tmp_path / "index"), KEY, FINGERPRINT, "t", 1)

    def rows(first):
        raise AssertionError("nothing may be read")

    config = IndexConfig(**{key: 1_000_000})
    with pytest.raises(
        IndexingError, match=rf"index\.{key} allows 1\.0 MB; take a space out of index\.spaces, .*or raise"
    ):
        build_generation(rows, 100_000, target, text_queries(32), config)
    assert not list(tmp_path.iterdir())


def test_missing_columns_are_named(tmp_path):
    with pytest.raises(IndexingError, match="'recorded_at'"):
        build(str(tmp_path / "index"), rows_of(clustered(50, 32, 1)).drop_columns(["recorded_at"]), EXACT)


@pytest.mark.parametrize("stop", [0, 1, 5, 11])
def test_a_build_that_dies_anywhere_leaves_the_current_generation_alone(tmp_path, monkeypatch, stop):
    root = str(tmp_path / "index")
    table = rows_of(clustered(120, 16, 1))
    first = build(root, table, EXACT)
    publish(root, first)
    real, stored = storage.upload, []

    def dying(path, uri):
        if len(stored) == stop:
            raise OSError("no space left on device")
        stored.append(uri)
        real(path, uri)

    monkeypatch.setattr(storage, "upload", dying)
    with pytest.raises(OSError, match="no space"):
        build(root, table, EXACT, version=2)
    assert len(stored) == stop and not any(uri.endswith("manifest.json") for uri in stored)
    assert current(root, KEY) == first
    assert Searcher.load(root, current(root, KEY), tmp_path / "cache").manifest == first
