"""A snapshot that stays open says what a table that is opened anew says, whatever others did to its log meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field
from lakes import KEY, make_rows, make_unit

from shotlake import storage
from shotlake.errors import NotFound, StoreError
from shotlake.table import snapshots
from shotlake.table.delta import add_to, properties
from shotlake.table.formats import create_table
from shotlake.table.lake import Lake
from shotlake.table.maintenance import checkpoint
from shotlake.table.rewrite import data_files
from shotlake.table.snapshots import look, opened

APPS = [f"run-{n}/units" for n in range(8)]


def seen(snapshot: DeltaTable) -> dict[str, Any]:
    """All that the room asks of a snapshot."""
    return {
        "version": int(snapshot.version()),
        "files": sorted(pa.table(snapshot.get_add_actions(flatten=True))["path"].to_pylist()),
        "sequences": [snapshot.transaction_version(app) for app in APPS],
        "configuration": snapshot.metadata().configuration,
        "columns": [field.name for field in snapshot.schema().fields],
    }


def elsewhere(work: Callable[[], object]) -> None:
    """Do it in a thread, which has snapshots of its own."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed, failed


def add(lake: Lake, first: int, n: int = 1) -> None:
    for number in range(first, first + n):
        lake.append("segments", make_rows(make_unit(number)), (APPS[number % len(APPS)], number))


def delete_some(lake: Lake) -> None:
    opened(lake.uri("segments")).delete("cell > 4")


def checkpoint_and_clean(lake: Lake) -> None:
    """The log as it is when its retention is over: one checkpoint, and entries from there on."""
    checkpoint(lake, "segments")
    folder = storage.join(lake.uri("segments"), "_delta_log")
    newest = max(name for name in storage.names(folder) if name.endswith(".json") and name[0].isdigit())
    for name in storage.names(folder):
        if name[0].isdigit() and name[:20] < newest[:20]:
            storage.delete(storage.join(folder, name))


def make_anew(lake: Lake, n: int) -> None:
    for name in storage.names(lake.root):
        storage.delete(storage.join(lake.root, name))
    create_table(lake.uri("segments"), "segments")
    add(lake, 4, n)


def scrub(lake: Lake) -> None:
    """An entry is put again in its place, as an erasure does."""
    name = storage.join(lake.uri("segments"), "_delta_log", f"{2:020d}.json")
    storage.write_bytes(name, storage.read_bytes(name).replace(b"shotlake", b"SHOTLAKE"))


CHANGES: dict[str, Callable[[Lake], object]] = {
    "nothing": lambda lake: None,
    "appended": lambda lake: add(lake, 3, 3),
    "deleted": delete_some,
    "a_property": lambda lake: opened(lake.uri("segments")).alter.set_table_properties({"delta.appendOnly": "false"}),
    "a_column": lambda lake: opened(lake.uri("segments")).alter.add_columns([Field("later", "string")]),
    "checkpoint": lambda lake: checkpoint(lake, "segments"),
    "cleaned_up": checkpoint_and_clean,
    "appended_and_cleaned_up": lambda lake: (add(lake, 3, 2), checkpoint_and_clean(lake), add(lake, 5)),
    "made_anew_shorter": lambda lake: make_anew(lake, 1),
    "made_anew_equal": lambda lake: make_anew(lake, 3),
    "made_anew_longer": lambda lake: make_anew(lake, 4),
    "scrubbed": scrub,
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return new_lake(str(tmp_path / "lake"))


def new_lake(root: str) -> Lake:
    made = Lake(root)
    create_table(made.uri("segments"), "segments")  # one table is enough
    add(made, 0, 3)
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_a_kept_snapshot_sees_what_others_did(lake: Lake, change: str) -> None:
    before = look(lake.uri("segments"), seen)
    elsewhere(lambda: CHANGES[change](lake))
    after = look(lake.uri("segments"), seen)
    assert after == seen(opened(lake.uri("segments")))
    assert (after == before) == (change in ("nothing", "checkpoint", "cleaned_up", "scrubbed"))
    add(lake, 7)
    assert look(lake.uri("segments"), seen) == seen(opened(lake.uri("segments")))
    assert lake.transaction_version("segments", APPS[7]) == 7


@pytest.mark.s3
def test_a_kept_snapshot_of_a_store_sees_what_others_did(s3_root: str) -> None:
    lake = new_lake(s3_root)
    for change in ("nothing", "appended_and_cleaned_up", "made_anew_equal", "deleted"):
        look(lake.uri("segments"), seen)
        elsewhere(lambda change=change: CHANGES[change](lake))  # type: ignore[misc]
        assert look(lake.uri("segments"), seen) == seen(opened(lake.uri("segments")))


def test_a_table_is_opened_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.version("segments")

    def refuse(*_: object) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr(snapshots, "_open", refuse)
    add(lake, 3, 2)
    elsewhere(lambda: None)
    assert lake.read("segments", ["unit_id"]).num_rows == 50
    assert len(data_files(lake, "segments")) == 5


def test_an_entry_that_goes_while_it_is_needed(lake: Lake) -> None:
    """A clean-up between the look at the log and the late reading of it: the table is opened anew, or it is said."""
    given: list[DeltaTable] = []

    def late(snapshot: DeltaTable) -> int | None:
        given.append(snapshot)
        if len(given) % 2:
            raise FileNotFoundError("an entry of the log")  # as delta-rs says it
        return snapshot.transaction_version(APPS[2])

    lake.version("segments")
    assert look(lake.uri("segments"), late) == 2 and given[0] is not given[1]
    with pytest.raises(NotFound):
        look(lake.uri("segments"), late, is_repeatable=False)
    lake.version("segments")


def test_a_checkpoint_that_goes_while_the_table_is_opened(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def table(*words: Any, **named: Any) -> DeltaTable:
        tries.append(1)
        if len(tries) == 1:
            raise FileNotFoundError("the checkpoint that the hint named")
        return DeltaTable(*words, **named)

    monkeypatch.setattr(snapshots, "DeltaTable", table)
    assert opened(lake.uri("segments")).version() == 3 and len(tries) == 2


def test_a_store_that_stumbles_leaves_no_old_snapshot(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kept snapshot cannot be brought up to date, the table is opened, and what others did is seen."""
    version = lake.version("segments")
    elsewhere(lambda: add(lake, 3))

    def stumble(*_: object) -> None:
        raise StoreError("the store stumbled")

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "_up_to_date", stumble)
        assert lake.version("segments") == version + 1


def test_a_commit_between_is_a_conflict_of_a_kept_snapshot(lake: Lake) -> None:
    versions: list[int] = []

    def write(snapshot: DeltaTable) -> bool:
        versions.append(int(snapshot.version()))
        if len(versions) == 1:
            elsewhere(lambda: add(lake, 3))
            assert lake.version("segments") == versions[0] + 1  # a look within does not move the snapshot of the commit
        add_to(snapshot, "segments", [], properties([(APPS[6], 6)]))
        return True

    lake.version("segments")
    assert lake.commit("segments", write) == versions[0] + 2 == versions[1] + 1
    assert [lake.transaction_version("segments", app) for app in (APPS[3], APPS[6])] == [3, 6]
    assert set(lake.read("segments", ["embed_key"])["embed_key"].to_pylist()) == {KEY}


def test_a_table_that_is_gone_is_not_found(lake: Lake) -> None:
    lake.version("segments")
    for name in storage.names(lake.root):
        storage.delete(storage.join(lake.root, name))
    with pytest.raises(NotFound, match="there is no table"):
        lake.version("segments")
