"""Loading verifies every byte; searching honours hidden and allowed rows, and answers are never short."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from toy_vectors import EXACT, IVF, KEY, build, clustered, rows_of, update

from shotlake import storage
from shotlake.errors import CorruptGeneration, QueryError
from shotlake.index import scan
from shotlake.index.depth import Depth
from shotlake.index.manifest import Shard
from shotlake.index.searcher import Searcher
from shotlake.records import stable_id


@dataclass(frozen=True)
class Where:
    """A condition on one column."""

    name: str
    value: object
    compare: Callable[..., pa.BooleanArray] = pc.equal

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return self.compare(batch.column(self.name), self.value)

    def may_hold(self, shard: Shard) -> bool:
        return True


FILES = ("trained.faiss", "report.json", "ivf.faiss", "rows.f16", "columns.arrow", "stats.json")
FILES += ("truth-text.npz", "truth-segment.npz", "tombstones.i64")


@pytest.fixture(scope="module")
def vectors():
    return clustered(2500, 32, seed=11)


@pytest.fixture(scope="module")
def lake(vectors, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("lake") / "index")
    return root, build(root, rows_of(vectors), IVF)


@pytest.fixture(scope="module")
def searcher(lake, tmp_path_factory):
    return Searcher.load(*lake, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_flipped_byte_anywhere_is_refused_by_name(where, name, tmp_path, request):
    root = str(tmp_path / "index") if where == "local" else storage.join(request.getfixturevalue("s3_root"), "index")
    parent = build(root, rows_of(clustered(300, 16, seed=2)), EXACT)
    manifest = update(root, parent, clustered(20, 16, seed=3), [stable_id("video", 3)], config=EXACT)
    path = next(file.path for file in manifest.files if file.path.endswith(name))
    uri = storage.join(root, KEY, path)
    whole = storage.read_bytes(uri)
    for place in (0, len(whole) // 2, len(whole) - 1):
        storage.write_bytes(uri, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptGeneration, match=f"{name} does not have the sha256"):
            Searcher.load(root, manifest, tmp_path / "cache")
    storage.write_bytes(uri, whole)
    assert Searcher.load(root, manifest, tmp_path / "cache").manifest == manifest


def test_truncated_and_missing_files_are_refused(tmp_path):
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(clustered(300, 16, seed=2)), EXACT)
    path = Path(root, KEY, manifest.spaces["fused"].shards[0].path, "rows.f16")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptGeneration, match=r"rows\.f16 has 9598 bytes instead of 9600"):
        Searcher.load(root, manifest, tmp_path / "cache")
    path.unlink()
    with pytest.raises(CorruptGeneration, match=r"rows\.f16 is missing"):
        Searcher.load(root, manifest, tmp_path / "cache")


def test_a_file_is_hashed_once_and_again_when_it_was_touched(tmp_path, monkeypatch):
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(clustered(300, 16, seed=2)), EXACT)
    hashed = []
    real = __import__("shotlake.index.files", fromlist=["file_entry"]).file_entry
    monkeypatch.setattr("shotlake.index.files.file_entry", lambda path, name: hashed.append(name) or real(path, name))
    for _ in range(3):
        Searcher.load(root, manifest, tmp_path / "cache")
    assert sorted(hashed) == sorted(file.path for file in manifest.files)
    touched = manifest.files[0].path
    Path(root, KEY, touched).touch()
    Searcher.load(root, manifest, tmp_path / "cache")
    assert hashed[-1] == touched and len(hashed) == len(manifest.files) + 1


def test_columns_come_in_the_order_of_the_rows(searcher):
    rows = np.array([2400, 3, 999, 1000, 3, 0])
    table = searcher.columns(rows, ["segment_id", "start_us", "codec"])
    assert table["segment_id"].to_pylist() == [stable_id(int(row)) for row in rows]
    assert table["start_us"].to_pylist() == [int(row % 10) * 2_000_000 for row in rows]
    assert searcher.columns(np.empty(0, np.int64), ["uri"]).num_rows == 0


def test_rows_are_found_by_value_and_by_predicate(searcher):
    videos = [stable_id("video", 7), stable_id("video", 201), "unknown"]
    assert searcher.find("video_id", videos).tolist() == [*range(70, 80), *range(2010, 2020)]
    late = searcher.where(Where("start_us", 18_000_000, pc.greater_equal))[0]
    assert late.tolist() == list(range(9, 2500, 10))


def test_hidden_rows_are_never_found(searcher, vectors):
    hidden = np.arange(0, 2500, 2)
    some = searcher.without(hidden)
    rows = some.search_vectors(vectors[:40], "fused", 30)[1]
    assert (rows >= 0).all() and (rows % 2 == 1).all()
    assert searcher.search_vectors(vectors[:1], "fused", 1)[1][0, 0] == 0
    allowed = np.arange(100)
    assert set(some.search_vectors(vectors[:1], "fused", 100, allowed=allowed)[1][0]) == {-1, *range(1, 100, 2)}
    nothing = searcher.without(np.arange(2500)).search_vectors(vectors[:2], "fused", 3)
    assert (nothing[1] == -1).all() and np.isneginf(nothing[0]).all()


@pytest.mark.parametrize("brute_force_rows", [0, 200_000])
def test_allowed_rows_on_both_paths_give_the_exact_best(searcher, vectors, monkeypatch, brute_force_rows):
    monkeypatch.setattr(scan, "BRUTE_FORCE_ROWS", brute_force_rows)
    allowed = np.sort(np.random.default_rng(1).choice(2500, 250, replace=False))
    scores, rows = searcher.search_vectors(vectors[:30], "fused", 10, Depth(recall=1.0), allowed=allowed)
    half = vectors.astype(np.float16).astype(np.float32)
    truth = np.sort(vectors[:30] @ half[allowed].T, axis=1)[:, ::-1][:, :10]
    assert np.isin(rows, allowed).all()
    assert (scores >= truth[:, -1:] - 1e-6).mean() >= 0.97


def test_an_answer_is_full_as_long_as_there_are_rows(searcher, vectors):
    scores, rows = searcher.search_vectors(vectors[:3], "fused", 2500)
    assert all(sorted(line) == list(range(2500)) for line in rows.tolist())
    half = vectors.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(scores, np.sort(vectors[:3] @ half.T, axis=1)[:, ::-1], atol=1e-6)
    assert (searcher.search_vectors(vectors[:1], "fused", 2600)[1][0, 2500:] == -1).all()


def test_one_query_and_many_give_the_same(searcher, vectors):
    together = searcher.search_vectors(vectors[:20], "fused", 10)
    for number in range(20):
        alone = searcher.search_vectors(vectors[number : number + 1], "fused", 10)
        assert alone[1][0].tolist() == together[1][number].tolist()


def test_an_unknown_space_is_named(searcher, vectors):
    with pytest.raises(QueryError, match="no space 'audio'; it has fused, visual"):
        searcher.search_vectors(vectors[:1], "audio", 3)


def test_threads_share_a_searcher(searcher, vectors):
    alone = [searcher.search_vectors(vectors[k : k + 1], "fused", 10)[1][0].tolist() for k in range(100)]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda k: searcher.search_vectors(vectors[k : k + 1], "fused", 10)[1][0].tolist(), range(100))
        )
    assert together == alone


@pytest.mark.parametrize("codec", ["pq", "rabitq", "pqfs"])
def test_joined_lists_answer_like_lists_apart(codec, vectors, tmp_path, monkeypatch):
    """Several small shards are scanned as one: the same rows and scores, hidden and allowed ones as well."""
    config = IVF.model_copy(update={"rows_per_shard": 400, "codec": codec})
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(vectors), config)
    joined = Searcher.load(root, manifest, tmp_path / "cache")
    monkeypatch.setattr(scan, "JOINED_ROWS", 0)
    apart = Searcher.load(root, manifest, tmp_path / "cache")
    assert len(manifest.shards) == 7
    hidden = np.arange(0, 2500, 3)
    monkeypatch.setattr(scan, "BRUTE_FORCE_ROWS", 0)
    for space in ("fused", "visual"):
        for allowed in (None, np.arange(5, 1300, 2)):
            for one, other in ((joined, apart), (joined.without(hidden), apart.without(hidden))):
                left = one.search_vectors(vectors[:20], space, 10, allowed=allowed)
                right = other.search_vectors(vectors[:20], space, 10, allowed=allowed)
                np.testing.assert_array_equal(left[1], right[1])
                np.testing.assert_array_equal(left[0], right[0])


@pytest.mark.parametrize("run", [slice(1, 2), slice(1, 3), slice(0, 1)], ids=["one", "two", "first"])
def test_a_part_of_a_generation_answers_for_its_rows_in_the_numbers_of_the_whole(
    run, lake, searcher, vectors, tmp_path
):
    """Of three shards with 1,000, 1,000 and 500 rows; it fetches their files alone."""
    whole = lake[1]
    manifest = whole.part(run)
    part = Searcher.load(lake[0], manifest, tmp_path / "cache")
    assert len(whole.shards) == 3 and len(part.files) < len(searcher.files)
    first = manifest.shards[0].first_row
    rows = np.arange(first, first + manifest.n_rows)
    some, hidden = rows[::7], np.arange(0, whole.n_rows, 5)
    for one, other in ((part, searcher), (part.without(hidden), searcher.without(hidden))):
        for allowed in (some, rows):
            found = one.search_vectors(vectors[:20], "fused", 10, allowed=allowed)
            wanted = other.search_vectors(vectors[:20], "fused", 10, allowed=allowed)
            np.testing.assert_array_equal(found[1], wanted[1])
    own = part.without(hidden).search_vectors(vectors[some], "fused", 2000, Depth("segment"))[1]
    visible = np.setdiff1d(rows, hidden)
    assert [np.sort(line[line >= 0]).tolist() for line in own] == [visible.tolist()] * len(some)
    np.testing.assert_array_equal(part.vectors("visual", some), searcher.vectors("visual", some))
    assert part.score_rows(vectors[0], "fused", some) == searcher.score_rows(vectors[0], "fused", some)
    assert part.columns(some, ["uri"]) == searcher.columns(some, ["uri"])
    found = searcher.where(Where("collection", "odd"))[0]
    own_odd = part.where(Where("collection", "odd"))[0]
    np.testing.assert_array_equal(own_odd, np.intersect1d(found, rows))
