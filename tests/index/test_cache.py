"""Copies of what the lake has no more go from every machine that looks at the pointers, and no others."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from toy_vectors import EXACT, KEY, build, clustered, rows_of

from shotlake import storage
from shotlake.index.cache import cached_files
from shotlake.index.forget import forget, index_traces
from shotlake.index.prune import prune
from shotlake.index.publish import current, publish
from shotlake.index.searcher import Searcher

VECTORS = clustered(200, 16, seed=4)
WITH, WITHOUT = rows_of(VECTORS), rows_of(VECTORS[:150])
GONE = WITH["video_id"][-1:].combine_chunks()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an index whose files are copied by whoever loads it."""
    return storage.join(
        request.getfixturevalue("s3_root") if request.param == "s3" else str(tmp_path / "lake"), "index"
    )


def held_of(root: str, cache: Path) -> set[str]:
    """The generations of which a machine has files."""
    return {uri.removeprefix(f"{root}/{KEY}/").split("/")[0] for uri, _ in cached_files(root, cache)} - {"epochs"}


def test_a_machine_drops_erased_shards_at_its_next_look(root, tmp_path):
    node = tmp_path / "another machine"
    erased = build(root, WITH, EXACT, version=1)
    publish(root, erased)
    before = Searcher.load(root, current(root, KEY), node, in_place=False)
    before.sweep()
    assert held_of(root, node) == {erased.generation}
    rewritten = build(root, WITHOUT, EXACT, version=1)
    publish(root, rewritten)
    after = Searcher.load(root, current(root, KEY), node, in_place=False)
    after.sweep()
    assert held_of(root, node) == {erased.generation, rewritten.generation}, "one can still roll back"
    forget(root, KEY, GONE, "")
    assert index_traces(root, GONE.to_pylist(), []) == [], "neither in the lake nor on the machine that erased"
    after.sweep()
    assert held_of(root, node) == {erased.generation, rewritten.generation}, "a snapshot still answers from them"
    assert before.search_vectors(VECTORS[:1], "fused", 1)[1].tolist() == [[0]]
    del before
    assert held_of(root, node) == {rewritten.generation}
    after.sweep()
    assert after.search_vectors(VECTORS[:1], "fused", 1)[1].tolist() == [[0]]
    assert held_of(root, node) == {rewritten.generation}


def test_copies_of_a_build_stay_until_the_lake_has_it_no_more(root, tmp_path):
    node = tmp_path / "cache"
    now, draft = build(root, WITHOUT, EXACT, version=1), build(root, WITH, EXACT, version=2)
    publish(root, now)
    searcher = Searcher.load(root, now, node, in_place=False)
    del_later = Searcher.load(root, draft, node, in_place=False)
    del del_later
    for _ in range(2):
        searcher.sweep()
        assert held_of(root, node) == {now.generation, draft.generation}
    for file in draft.files:
        storage.delete(storage.join(root, KEY, file.path))
    searcher.sweep()
    assert held_of(root, node) == {now.generation}, "although no pointer has changed"


@pytest.mark.s3
def test_a_copy_that_was_made_before_copies_had_an_origin_is_searched_and_dropped(s3_root, tmp_path, monkeypatch):
    root = storage.join(s3_root, "index")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    manifest = build(root, WITH, EXACT, version=1)
    publish(root, manifest)
    for origin in (tmp_path / "shotlake").rglob(".uri"):
        origin.unlink()
    publish(root, build(root, WITHOUT, EXACT, version=1))
    assert len(index_traces(root, GONE.to_pylist(), [])) > 1
    prune(root, KEY, keep=1)
    assert [name for name in index_traces(root, GONE.to_pylist(), []) if name.startswith("cache of this machine")] == []
    assert forget(root, KEY, pa.array(["other"]), "") == []
