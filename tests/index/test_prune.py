"""Pruning leaves every file that a kept generation names, and nothing else."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from toy_vectors import EXACT, IVF, KEY, build, clustered, rows_of, skew, update

from shotlake import storage
from shotlake.errors import CorruptGeneration, IndexingError, NoIndex
from shotlake.index.prune import prune
from shotlake.index.publish import current, list_generations, publish, rollback
from shotlake.index.searcher import Searcher

DIM = 32


def test_old_generations_go_and_what_is_referenced_stays(tmp_path):
    root = str(tmp_path / "index")
    vectors = clustered(1300, DIM, seed=21)
    first = build(root, rows_of(vectors[:300]), EXACT, version=1)
    parent = build(root, rows_of(vectors[:1000]), IVF, version=2)
    for manifest in (first, parent):
        publish(root, manifest)
    child = update(root, parent, vectors[1000:], version=3)
    publish(root, child)
    assert prune(root, KEY, keep=3) == []
    gone = prune(root, KEY, keep=1)
    assert f"{first.generation}/manifest.json" in gone and f"{parent.generation}/manifest.json" in gone
    assert not set(gone) & {file.path for file in child.files}
    left = set(storage.names(storage.join(root, KEY)))
    assert left == {file.path for file in child.files} | {child.path, "CURRENT/3.json"}
    assert (
        Searcher.load(root, current(root, KEY), tmp_path / "cache").search_vectors(vectors[:1], "fused", 1)[1][0, 0]
        == 0
    )
    assert [m.generation for m in list_generations(root, KEY)] == [child.generation]
    assert prune(root, KEY, keep=1) == []
    with pytest.raises(IndexingError, match="no earlier generation"):
        rollback(root, KEY)


def test_after_a_rollback_the_current_one_is_kept(tmp_path):
    root = str(tmp_path)
    manifests = [build(root, rows_of(clustered(50, DIM, 1)), EXACT, version=v) for v in (1, 2, 3)]
    for manifest in manifests:
        publish(root, manifest)
    rollback(root, KEY, manifests[0].generation)
    prune(root, KEY, keep=1)
    assert current(root, KEY) == manifests[0]


def test_drafts_go_after_a_while_only(tmp_path):
    root = str(tmp_path)
    published, draft = (build(root, rows_of(clustered(50, DIM, 1)), EXACT, version=v) for v in (1, 2))
    publish(root, published)
    assert prune(root, KEY) == []
    old = time.time() - 90_000
    for file in draft.files[:-1]:
        os.utime(Path(root, KEY, file.path), (old, old))
    assert prune(root, KEY) == [], "the build has stored another file since then"
    gone = prune(root, KEY, grace=timedelta(0))
    assert set(gone) == {file.path for file in draft.files} | {draft.path}
    with pytest.raises(CorruptGeneration, match="is missing"):
        publish(root, draft)


@pytest.mark.parametrize("skew_s", [-3600, -90, 90, 3600])
def test_the_age_of_a_draft_is_told_by_the_clock_of_the_store(tmp_path, monkeypatch, skew_s):
    root = str(tmp_path)
    published, old, new = (build(root, rows_of(clustered(50, DIM, 1)), EXACT, version=v) for v in (1, 2, 3))
    publish(root, published)
    at = time.time() - 120
    for path in (path for path in Path(root, KEY).glob(f"*/{old.generation}/**/*") if path.is_file()):
        os.utime(path, (at, at))
    for path in (path for path in Path(root, KEY, old.generation).rglob("*") if path.is_file()):
        os.utime(path, (at, at))
    skew(monkeypatch, skew_s)
    gone = prune(root, KEY, grace=timedelta(seconds=60))
    assert set(gone) == {file.path for file in old.files} | {old.path}
    assert {file.path for file in new.files} <= set(storage.names(storage.join(root, KEY)))
    assert not [path for path in Path(root, KEY).iterdir() if path.name.startswith("clock-")]


def test_a_stored_generation_keeps_what_it_shares_with_an_old_one(tmp_path):
    root = str(tmp_path)
    vectors = clustered(1300, DIM, seed=21)
    parent = build(root, rows_of(vectors[:1000]), IVF, version=1)
    publish(root, parent)
    waiting = update(root, parent, vectors[1000:], version=2)
    publish(root, build(root, rows_of(vectors[:300]), EXACT, version=2))
    prune(root, KEY, keep=1)
    assert {file.path for file in waiting.files} <= set(storage.names(storage.join(root, KEY)))
    assert publish(root, waiting) == 3


def test_damage_elsewhere_hinders_no_pruning_and_of_the_current_one_forbids_it(tmp_path):
    root = str(tmp_path)
    manifests = [build(root, rows_of(clustered(50, DIM, 1)), EXACT, version=v) for v in (1, 2, 3)]
    for manifest in manifests:
        publish(root, manifest)
    pointers = tmp_path / KEY / "CURRENT"
    whole = (pointers / "3.json").read_bytes()
    (pointers / "3.json").write_bytes(whole[:-9])
    before = storage.names(root)
    with pytest.raises(CorruptGeneration, match=r"CURRENT/3\.json"):
        prune(root, KEY, keep=1)
    assert storage.names(root) == before, "who knows what is current"
    (pointers / "3.json").write_bytes(whole)
    (pointers / "2.json").write_bytes(b"")
    Path(root, KEY, manifests[0].path).write_bytes(b"{")
    prune(root, KEY, keep=3, grace=timedelta(0))
    assert [m.generation for m in list_generations(root, KEY)] == [manifests[2].generation]
    assert [path.name for path in pointers.iterdir()] == ["3.json"]


def test_what_cannot_be_pruned(tmp_path):
    with pytest.raises(NoIndex):
        prune(str(tmp_path), KEY)
    with pytest.raises(IndexingError, match="keep is 0"):
        prune(str(tmp_path), KEY, keep=0)
