"""The recall of each large collection is measured, stated and held, also of one that an update brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from toy_vectors import FINGERPRINT, IVF, KEY, build, clustered, rows_of, source, unit

from shotlake.errors import RecallTooLow
from shotlake.index import measure, tuning
from shotlake.index.advice import advise
from shotlake.index.build import GenerationTarget, TableChange, update_generation
from shotlake.index.depth import Depth
from shotlake.index.gate import COLLECTION_SLACK, shortfalls
from shotlake.index.manifest import CollectionRecall, Manifest
from shotlake.index.publish import publish
from shotlake.index.searcher import Searcher
from shotlake.index.strata import COLLECTIONS, QUERIES, LargestByCollection
from shotlake.index.truth import TIE, K
from shotlake.records import stable_id

DIM, ROWS, CAMERA = 48, 20_000, 2_000
CONFIG = IVF.model_copy(update={"target_recall_segment": 0.95, "rows_per_shard": 8_000, "spaces": ("fused",)})
GONE = [stable_id("video", k) for k in range(50)]
PICTURE = unit(np.random.default_rng(44).standard_normal(DIM))


def camera(n: int, seed: int) -> np.ndarray:
    """Rows of one camera: its picture, and what little changes in it."""
    return unit(PICTURE + 0.03 * np.random.default_rng(seed).standard_normal((n, DIM)))


def named(vectors: np.ndarray, names: list[str], first: int = 0) -> pa.Table:
    """Rows with the collections that are given."""
    rows = rows_of(vectors, first)
    return rows.set_column(rows.schema.get_field_index("collection"), "collection", pa.array(names, pa.string()))


def had(searcher: Searcher, queries: np.ndarray, vectors: np.ndarray) -> float:
    """Recall@10 of segments that are no rows."""
    truth = np.sort(queries @ vectors.astype(np.float16).astype(np.float32).T, axis=1)[:, -K][:, None]
    return float((searcher.search_vectors(queries, "fused", K, Depth("segment"))[0] >= truth - TIE).mean())


def recalls(manifest: Manifest) -> dict[str | None, CollectionRecall]:
    return {each.collection: each for each in manifest.spaces["fused"].tuning["segment"].by_collection}


@pytest.fixture(scope="module")
def archive() -> tuple[np.ndarray, list[str]]:
    """Twenty thousand rows of other collections, and a camera's."""
    vectors = np.concatenate([clustered(ROWS, DIM, seed=1), camera(CAMERA, 1)])
    return vectors, [f"c{k * 50 // ROWS:02d}" for k in range(ROWS)] + ["camera"] * CAMERA


@pytest.fixture(scope="module")
def made(archive: tuple[np.ndarray, list[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Manifest]:
    """Where an index of all of it is, and the index."""
    root = str(tmp_path_factory.mktemp("collections") / "index")
    return root, build(root, named(*archive), CONFIG)


def test_what_a_small_camera_has_is_stated_and_had(
    archive: tuple[np.ndarray, list[str]], made: tuple[str, Manifest], tmp_path: Path
) -> None:
    vectors, (root, manifest) = archive[0], made
    found = recalls(manifest)
    assert len(found) == COLLECTIONS + 1 and {"camera", None} <= set(found)
    assert found["camera"].n_queries >= QUERIES and found[None].n_queries > 0
    assert all(each.recall >= 0.95 - COLLECTION_SLACK for each in found.values())
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    assert had(searcher, camera(100, 2), vectors) >= found["camera"].recall - 0.02
    publish(root, manifest)
    assert manifest.spaces["fused"].tuning["segment"].n_queries == 500, "those of collections do not weigh on the whole"


def test_a_collection_that_is_behind_is_scored_row_by_row(
    archive: tuple[np.ndarray, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here because nothing else looked for lists that codes cannot rank, and few candidates are scored."""
    monkeypatch.setattr(measure, "dense_lists", lambda space: ())
    monkeypatch.setattr(tuning, "RERANKS", (25, 50))
    vectors, names = archive
    manifest = build(str(tmp_path / "index"), named(vectors, names), CONFIG)
    assert manifest.spaces["fused"].dense and recalls(manifest)["camera"].recall > 0.95
    monkeypatch.setattr(measure, "_lists_of_weak", lambda *_: ())
    without = build(str(tmp_path / "other"), named(vectors, names), CONFIG)
    assert recalls(without)["camera"].recall < 0.95 - COLLECTION_SLACK


def test_one_collection_that_is_behind_keeps_a_generation_from_being_published(made: tuple[str, Manifest]) -> None:
    """And what is published, advised and seen is one and the same."""
    root, manifest = made
    assert not shortfalls(manifest) and advise(manifest, manifest.table_rows, 1, CONFIG).action == "keep"
    entry = manifest.spaces["fused"]
    behind = CollectionRecall(collection="camera", n_queries=24, recall=0.59, lower_bound=0.5)
    segment = entry.tuning["segment"].model_copy(update={"by_collection": (behind,)})
    spaces = {"fused": entry.model_copy(update={"tuning": entry.tuning | {"segment": segment}})}
    worse = manifest.model_copy(update={"spaces": spaces})
    told = r"recall@10 of 24 segment queries of collection 'camera' in fused is 0\.5900, more than 0\.03 under 0\.95"
    with pytest.raises(RecallTooLow, match=told):
        publish(root, worse)
    advice = advise(worse, worse.table_rows, 1, CONFIG)
    assert advice.action == "build" and advice.reasons == shortfalls(worse)


def test_an_update_measures_the_camera_that_it_brings(archive: tuple[np.ndarray, list[str]], tmp_path: Path) -> None:
    vectors, names = archive
    root = str(tmp_path / "index")
    parent = build(root, named(vectors[:ROWS], names[:ROWS]), CONFIG)
    assert "camera" not in recalls(parent)
    table = named(vectors[ROWS:], names[ROWS:], first=ROWS)
    target = GenerationTarget(root, KEY, FINGERPRINT, "/lake/tables/segments", 2)
    child = update_generation(source(table), TableChange(ROWS + CAMERA), parent, target, CONFIG)
    assert recalls(child)["camera"].n_queries >= QUERIES
    searcher = Searcher.load(root, child, tmp_path / "cache")
    assert had(searcher, camera(100, 2), vectors) >= recalls(child)["camera"].recall - 0.02
    drawn = child.spaces["fused"].tuning["segment"].n_queries
    assert 500 < drawn < 600, "of a tenth more rows about as many"
    publish(root, child)
    fewer = update_generation(source(table), TableChange(ROWS + CAMERA - 500, GONE), parent, target, CONFIG)
    assert fewer.spaces["fused"].tuning["segment"].n_queries < drawn, "where rows were retired no more are drawn"


def test_the_largest_ids_of_the_largest_collections_are_asked() -> None:
    found, ids = LargestByCollection(4), [stable_id(k) for k in range(40_000)]
    names = [f"c{k % 100:02d}" if k % 4 else "large" for k in range(40_000)]
    vectors = (np.arange(160_000) % 2_000).reshape(-1, 4).astype(np.float16)
    for start in range(0, 40_000, 5_000):
        part = slice(start, start + 5_000)
        found.add(pa.array(names[part]), pa.array(ids[part]), vectors[part])
    asked, rows = found.result()
    of_large = {name for name, held in found.names().items() if held == "large"}
    assert of_large == set(sorted(name for name, kind in zip(ids, names) if kind == "large")[-QUERIES:])
    assert len(asked) == COLLECTIONS * QUERIES == len(found.names())
    np.testing.assert_array_equal(rows, vectors[[ids.index(name) for name in asked.to_pylist()]])
