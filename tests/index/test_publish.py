"""Only good generations become current, in order, once, whoever races; readers see the old one or the new one."""

from __future__ import annotations

import json
import threading

import pytest
from toy_vectors import EXACT, FINGERPRINT, KEY, build, clustered, rows_of

from shotlake import storage
from shotlake.errors import CorruptGeneration, IndexingError, LakeFormat, NoIndex, RecallTooLow
from shotlake.index.manifest import parse_manifest, sha256
from shotlake.index.publish import (
    current,
    list_embed_keys,
    list_generations,
    list_pointers,
    publish,
    rollback,
    stored_generation,
)
from shotlake.index.searcher import Searcher


@pytest.fixture(scope="module")
def table():
    return rows_of(clustered(300, 16, seed=4))


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request, tmp_path):
    """The index folder of a lake, on disk and on S3."""
    if request.param == "local":
        return str(tmp_path / "lake" / "index")
    return storage.join(request.getfixturevalue("s3_root"), "index")


def test_build_publish_search_swap_and_roll_back(root, table, tmp_path):
    with pytest.raises(NoIndex, match="shotlake index build"):
        current(root, KEY)
    first = build(root, table, EXACT, version=1)
    with pytest.raises(NoIndex):
        current(root, KEY)
    assert publish(root, first) == 1
    assert publish(root, first) == 1, "publishing the same again changes nothing"
    held = Searcher.load(root, current(root, KEY), tmp_path / "cache")
    second = build(root, rows_of(clustered(400, 16, seed=4)), EXACT, version=2)
    assert publish(root, second) == 2
    assert current(root, KEY) == second
    query = clustered(1, 16, seed=4)
    assert held.search_vectors(query, "fused", 1)[1].shape == (1, 1), "a reader keeps the generation that it began with"
    assert held.manifest.generation == first.generation
    assert rollback(root, KEY) == 3
    assert current(root, KEY) == first
    assert [m.generation for m in list_generations(root, KEY)] == [first.generation, second.generation]
    assert list_embed_keys(root) == [KEY]
    assert publish(root, second) == 4


def test_rollback_needs_an_earlier_generation(tmp_path, table):
    root = str(tmp_path)
    publish(root, build(root, table, EXACT))
    with pytest.raises(IndexingError, match="no earlier generation"):
        rollback(root, KEY)
    with pytest.raises(IndexingError, match="g-17"):
        rollback(root, KEY, "g-17")


def test_an_older_table_version_does_not_replace_a_newer(tmp_path, table):
    root = str(tmp_path)
    old, new = build(root, table, EXACT, version=3), build(root, table, EXACT, version=4)
    publish(root, new)
    with pytest.raises(IndexingError, match="of table version 3, the current one"):
        publish(root, old)
    assert current(root, KEY) == new


def test_the_gate(tmp_path, table):
    root = str(tmp_path)
    manifest = build(root, table, EXACT)
    few = manifest.model_copy(update={"min_queries": 500})
    with pytest.raises(RecallTooLow, match=r"300 text queries from toy captions; index\.min_queries asks for 500"):
        publish(root, few)
    entry = manifest.spaces["fused"]
    tuning = entry.tuning["text"]
    low = tuning.model_copy(update={"chosen": tuning.chosen.model_copy(update={"lower_bound": 0.93})})
    spaces = {"fused": entry.model_copy(update={"tuning": {**entry.tuning, "text": low}})}
    with pytest.raises(RecallTooLow, match=r"lower 95% bound 0\.9300, under 0\.95"):
        publish(root, manifest.model_copy(update={"spaces": spaces}))
    lost = manifest.model_copy(update={"shards": ()})
    with pytest.raises(IndexingError, match="holds 0 live rows, table version 1 has 300"):
        publish(root, lost)
    with pytest.raises(NoIndex):
        current(root, KEY)


def test_a_missing_file_stops_publishing(tmp_path, table):
    root = str(tmp_path)
    manifest = build(root, table, EXACT)
    storage.delete(storage.join(root, KEY, manifest.files[-1].path))
    with pytest.raises(CorruptGeneration, match="is missing"):
        publish(root, manifest)


def test_racing_builders_publish_one_after_the_other(tmp_path, table):
    root = str(tmp_path)
    manifests = [build(root, table, EXACT, version=7) for _ in range(4)]
    barrier = threading.Barrier(4)
    numbers = []

    def race(manifest):
        barrier.wait()
        numbers.append(publish(root, manifest))

    threads = [threading.Thread(target=race, args=(m,)) for m in manifests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4]
    assert {p.generation for p in list_pointers(root, KEY)} == {m.generation for m in manifests}


def test_a_flipped_byte_anywhere_in_a_pointer_is_refused_by_name(tmp_path, table):
    root = str(tmp_path)
    publish(root, build(root, table, EXACT, version=10))
    path = tmp_path / KEY / "CURRENT" / "1.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 4, 32):  # of a digit another one, of a letter its capital
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(CorruptGeneration, match=r"CURRENT/1\.json is not the pointer that was published"):
                current(root, KEY)
    path.write_bytes(whole)
    assert current(root, KEY).table_version == 10
    (path.parent / "2.json").write_bytes(whole)
    with pytest.raises(CorruptGeneration, match=r"CURRENT/2\.json is not the pointer"):
        current(root, KEY)


def test_a_pointer_of_an_earlier_version_has_no_check(tmp_path, table):
    root = str(tmp_path)
    manifest = build(root, table, EXACT)
    publish(root, manifest)
    path = tmp_path / KEY / "CURRENT" / "1.json"
    tree = json.loads(path.read_bytes())
    del tree["check"]
    path.write_text(json.dumps(tree))
    assert current(root, KEY) == manifest
    path.write_text(json.dumps({**tree, "chuck": ""}))
    with pytest.raises(CorruptGeneration):
        current(root, KEY)


def test_a_changed_or_newer_manifest_is_refused(tmp_path, table):
    manifest = build(str(tmp_path), table, EXACT)
    data = manifest.to_bytes()
    with pytest.raises(CorruptGeneration, match="not the file that was published"):
        parse_manifest(data.replace(b"300", b"301"), sha256(data), "m.json")
    newer = data.replace(b'"format": 1', b'"format": 2')
    with pytest.raises(LakeFormat, match="has format 2, this version knows 1; update shotlake"):
        parse_manifest(newer, sha256(newer), "m.json")
    assert parse_manifest(data, sha256(data), "m.json").fingerprint == FINGERPRINT


def test_files_that_go_before_the_pointer_are_missed_in_every_attempt(tmp_path, table, monkeypatch):
    """Another one publishes at this moment, and a prune removes our files before we try again."""
    root = str(tmp_path)
    ours, other = build(root, table, EXACT, version=2), build(root, table, EXACT, version=2)
    real = storage.create

    def outrun(uri, data):
        if "CURRENT" in uri:
            monkeypatch.setattr(storage, "create", real)
            publish(root, other)
            storage.delete(storage.join(root, KEY, ours.files[-1].path))
        real(uri, data)

    monkeypatch.setattr(storage, "create", outrun)
    with pytest.raises(CorruptGeneration, match="is missing"):
        publish(root, ours)
    assert current(root, KEY) == other and len(list_pointers(root, KEY)) == 1


@pytest.mark.parametrize("way", ["publish", "rollback"])
def test_a_pointer_is_taken_back_if_its_files_went_as_it_was_written(tmp_path, table, monkeypatch, way):
    root = str(tmp_path)
    before, doomed = build(root, table, EXACT, version=1), build(root, table, EXACT, version=1)
    publish(root, before)
    if way == "rollback":
        publish(root, doomed)
        publish(root, before)
    real = storage.create

    def slow(uri, data):
        real(uri, data)
        if "CURRENT" in uri:
            storage.delete(storage.join(root, KEY, doomed.files[0].path))

    monkeypatch.setattr(storage, "create", slow)
    with pytest.raises(CorruptGeneration, match="is missing"):
        publish(root, doomed) if way == "publish" else rollback(root, KEY)
    assert current(root, KEY) == before


def test_what_forbids_a_generation_is_asked_before_the_pointer_and_after_it(tmp_path, table):
    root = str(tmp_path)
    before, doomed = build(root, table, EXACT, version=1), build(root, table, EXACT, version=1)
    publish(root, before)

    def forbid(from_call: int, others: int = 0):
        calls = []

        def check(manifest):
            assert manifest == doomed
            calls.append(current(root, KEY).generation)
            if len(calls) == from_call and others:
                publish(root, build(root, table, EXACT, version=1))
            if len(calls) >= from_call:
                raise CorruptGeneration("rows were erased")

        return check, calls

    for from_call, seen in ((1, [before]), (2, [before, doomed])):
        check, calls = forbid(from_call)
        with pytest.raises(CorruptGeneration, match="were erased"):
            publish(root, doomed, check)
        assert calls == [manifest.generation for manifest in seen]
        assert current(root, KEY) == before and [p.number for p in list_pointers(root, KEY)] == [1]
    check, _ = forbid(2, others=1)
    with pytest.raises(CorruptGeneration, match="were erased"):
        publish(root, doomed, check)
    assert [p.number for p in list_pointers(root, KEY)] == [1, 3], "of a pointer that is not the newest nothing is left"


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_a_damaged_newest_pointer_hinders_no_build(tmp_path, table, damage):
    root = str(tmp_path)
    first, second = build(root, table, EXACT, version=1), build(root, table, EXACT, version=2)
    publish(root, first)
    publish(root, second)
    (tmp_path / KEY / "CURRENT" / "2.json").write_bytes(damage)
    with pytest.raises(CorruptGeneration, match=r"CURRENT/2\.json"):
        current(root, KEY)
    third = build(root, table, EXACT, version=3)
    assert publish(root, third) == 3
    assert current(root, KEY) == third
    assert [m.generation for m in list_generations(root, KEY)] == [first.generation, third.generation]
    assert rollback(root, KEY) == 4 and current(root, KEY) == first


def test_a_rollback_from_a_damaged_pointer(tmp_path, table):
    root = str(tmp_path)
    first = build(root, table, EXACT, version=1)
    publish(root, first)
    publish(root, build(root, table, EXACT, version=2))
    (tmp_path / KEY / "CURRENT" / "2.json").write_bytes(b"")
    assert rollback(root, KEY) == 3 and current(root, KEY) == first


def test_a_damaged_manifest_is_named_and_hinders_no_build(tmp_path, table):
    root = str(tmp_path)
    first = build(root, table, EXACT, version=1)
    publish(root, first)
    (tmp_path / KEY / first.path).write_bytes(b"{")
    with pytest.raises(CorruptGeneration, match="is no manifest"):
        stored_generation(root, KEY, first.generation)
    second = build(root, table, EXACT, version=2)
    assert publish(root, second) == 2 and current(root, KEY) == second
    assert list_generations(root, KEY) == [second]
