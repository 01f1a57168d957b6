"""Erasure in the index: what holds rows of the videos goes, whatever a clock says, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from toy_vectors import EXACT, FINGERPRINT, KEY, build, clustered, rows_of, skew, source, text_queries

from shotlake import storage
from shotlake.index.build import GenerationTarget, build_generation
from shotlake.index.forget import forget, holds, index_traces, stored_keys
from shotlake.index.publish import current, list_generations, publish, stored_generation

VECTORS = clustered(200, 16, seed=4)
WITH, WITHOUT = rows_of(VECTORS), rows_of(VECTORS[:150])  # videos of ten rows each
GONE = WITH["video_id"][-1:].combine_chunks()
ITS_SEGMENTS = WITH["segment_id"][-10:].to_pylist()


class Killed(Exception):
    """Where a build ends that leaves its draft behind."""


def killed(root: str, table: pa.Table, version: int, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that is dead right before its manifest."""
    real = storage.create

    def dying(uri, data):
        if uri.endswith("manifest.json"):
            raise Killed
        real(uri, data)

    target = GenerationTarget(root, KEY, FINGERPRINT, "/lake/tables/segments", version, mark=mark)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(storage, "create", dying)
        build_generation(source(table), len(table), target, text_queries(16), EXACT)


def traces(root: str) -> list[str]:
    return index_traces(root, GONE.to_pylist(), ITS_SEGMENTS)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def test_what_holds_the_videos_goes_and_the_rest_stays(root, monkeypatch):
    clean, dirty, now = (build(root, t, EXACT, version=v) for t, v in ((WITHOUT, 1), (WITH, 2), (WITHOUT, 3)))
    for manifest in (clean, dirty, now):
        publish(root, manifest)
    kept, gone = (build(root, t, EXACT, version=4) for t in (WITHOUT, WITH))  # stored, never published
    killed(root, WITH, 5, "", monkeypatch)
    killed(root, WITHOUT, 6, "now", monkeypatch)
    receipts = {name for name in storage.names(f"{root}/{KEY}") if name.startswith("drafts/")}
    assert len({name.split("/")[1] for name in receipts}) == 2
    found = traces(root)
    assert {f"{KEY}/{m.generation}/fused/shards/00000/columns.arrow" for m in (dirty, gone)} < set(found)
    assert any(name.endswith("epochs.npz") for name in found)
    removed = set(forget(root, KEY, GONE, "now"))
    assert traces(root) == []
    assert [m.generation for m in list_generations(root, KEY)] == [clean.generation, now.generation]
    assert stored_generation(root, KEY, kept.generation) == kept and current(root, KEY) == now
    left = {name for name in receipts if name not in removed}
    assert left and all("+now/" in name for name in left), "what began after the erasure can be taken up"
    assert forget(root, KEY, GONE, "now") == [], "there is nothing left to do"
    assert holds(root, dirty.model_copy(update={"spaces": now.spaces, "files": now.files}), GONE) is False
    assert stored_keys(root) == {KEY}


@pytest.mark.parametrize("skew_s", [-3600, -90, 90, 3600])
def test_no_clock_is_asked(root, monkeypatch, skew_s):
    publish(root, build(root, WITHOUT, EXACT, version=1))
    killed(root, WITH, 2, "", monkeypatch)
    skew(monkeypatch, skew_s)
    assert traces(root)
    forget(root, KEY, GONE, "now")
    assert traces(root) == []


def test_a_file_that_was_being_written_and_vectors_without_names_are_traces(root):
    manifest = build(root, WITH, EXACT)
    shard = Path(root, KEY, manifest.generation, "fused", "shards", "00000")
    data = (shard / "columns.arrow").read_bytes()
    for path in Path(root).rglob("*"):
        if path.is_file() and path.name != "rows.f16":
            path.unlink()
    assert {name.rsplit("/", 1)[1] for name in traces(root)} == {"rows.f16"}, "nobody can say whose they are"
    for path in Path(root).rglob("rows.f16"):
        path.unlink()
    (shard / ".columns.arrow.part").write_bytes(data[: 3 * len(data) // 4])
    assert [name.rsplit("/", 1)[1] for name in traces(root)] == [".columns.arrow.part"]
    forget(root, KEY, GONE, "")
    assert traces(root) == [] and not [path for path in Path(root).rglob("*") if path.is_file()]


def test_names_in_a_damaged_receipt_are_found(root, tmp_path):
    path = Path(root, KEY, "drafts", "1-a", "epochs.npz")
    path.parent.mkdir(parents=True)
    np.savez(path, tree=np.array("{}"), **{"fused.ids": np.array(ITS_SEGMENTS)})
    assert len(traces(root)) == 1
    path.write_bytes(path.read_bytes()[:-60])
    assert len(traces(root)) == 1
    assert index_traces(root, ["another"], ["none"]) == []


def test_a_current_generation_that_cannot_be_read_stays_current_without_its_rows(root):
    first, second = build(root, WITHOUT, EXACT, version=1), build(root, WITH, EXACT, version=2)
    publish(root, first)
    publish(root, second)
    Path(root, KEY, second.path).write_bytes(b"{")
    forget(root, KEY, GONE, "")
    assert traces(root) == [] and list_generations(root, KEY) == [first]
    assert sorted(path.name for path in Path(root, KEY, "CURRENT").iterdir()) == ["1.json", "2.json"]
