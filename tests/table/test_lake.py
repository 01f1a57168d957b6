"""Tables are made once, read at versions, appended to once; other formats are refused."""

from __future__ import annotations

import threading
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakes import AT, KEY, make_video

from shotlake import storage
from shotlake.errors import AccessDenied, CommitError, LakeFormat, LeaseLost, SourceMissing, UnsafeStore
from shotlake.table.formats import FORMAT_PROPERTY
from shotlake.table.lake import Lake
from shotlake.table.rows import table_of, video_rows
from shotlake.table.schemas import RETIRED, TABLES


def retired(*video_ids: str) -> pa.Table:
    return table_of(RETIRED, [{"video_id": v, "embed_key": KEY, "reason": "superseded", "at": AT} for v in video_ids])


def test_a_lake_is_made_once_and_opened_again(root: str) -> None:
    with pytest.raises(SourceMissing, match="shotlake backfill"):
        Lake.open(root)
    made = Lake.create_or_open(root)
    made.append("retired", retired("a"))
    again = Lake.create_or_open(root)
    assert again.read("retired")["video_id"].to_pylist() == ["a"]
    assert Lake.open(root) == again
    for name, schema in TABLES.items():
        assert made.read(name).schema.equals(schema), name
        table = deltalake.DeltaTable(made.uri(name), storage_options=storage.delta_options(root))
        assert table.metadata().configuration["delta.enableDeletionVectors"] == "false"
        assert table.protocol().min_reader_version == 1


def test_reads_at_a_version_with_columns_and_a_filter(root: str) -> None:
    lake = Lake.create_or_open(root)
    first = lake.append("retired", retired("a", "b"))
    second = lake.append("retired", retired("c"))
    assert (first, second, lake.version("retired")) == (1, 2, 2)
    assert lake.read("retired", version=first).num_rows == 2
    found = lake.read("retired", ["video_id"], pc.field("video_id") > "a")
    assert (found.column_names, sorted(found["video_id"].to_pylist())) == (["video_id"], ["b", "c"])
    assert sum(batch.num_rows for batch in lake.batches("retired", ["video_id"])) == 3


def test_an_append_with_a_sequence_number_happens_once(root: str) -> None:
    lake = Lake.create_or_open(root)
    for sequence in (1, 1, 2, 1):
        lake.append("retired", retired(f"v{sequence}"), ("writer", sequence))
    assert sorted(lake.read("retired")["video_id"].to_pylist()) == ["v1", "v2"]
    assert lake.transaction_version("retired", "writer") == 2
    assert lake.transaction_version("retired", "nobody") == -1


def test_writers_beside_each_other_lose_and_double_nothing(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))

    def work(writer: int) -> None:
        for sequence in range(1, 6):
            for _ in range(2):  # each twice, as after a lost answer
                lake.append("retired", retired(f"{writer}-{sequence}"), (f"w{writer}", sequence))

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [f"{writer}-{sequence}" for writer in range(4) for sequence in range(1, 6)]
    assert sorted(lake.read("retired")["video_id"].to_pylist()) == expected


def test_an_earlier_epoch_is_shut_out(root: str) -> None:
    lake = Lake.create_or_open(root)
    lake.fence(("lease/x", 1))
    assert lake.fence(("lease/x", 2)) == lake.fence(("lease/x", 2))
    with pytest.raises(LeaseLost, match="epoch 2, ours is 1"):
        lake.add_files([], ("run", 1), ("lease/x", 1))
    lake.add_files([], ("run", 1), ("lease/x", 2), {"run_id": "r"})
    assert lake.transaction_version("segments", "run") == 1


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    rows = video_rows([(make_video(1), None)], "/archive", "r1", AT)
    with pytest.raises(CommitError, match=r"missing \['etag'\]"):
        lake.append("videos", rows.drop_columns(["etag"]))
    wrong = rows.set_column(4, "size_bytes", pa.array([1], pa.int32()))
    with pytest.raises(CommitError, match="size_bytes is int32, not int64"):
        lake.append("videos", wrong)
    assert lake.version("videos") == 0


@pytest.mark.parametrize(("found", "advice"), [("99", "upgrade"), ("0", "migrate")])
def test_a_lake_of_another_format_is_refused(tmp_path: Path, found: str, advice: str) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    table = deltalake.DeltaTable(lake.uri("segments"))
    table.alter.set_table_properties({FORMAT_PROPERTY: found}, raise_if_not_exists=False)
    for way in (Lake.open, Lake.create_or_open):
        with pytest.raises(LakeFormat, match=rf"format {found}.*{advice}"):
            way(str(tmp_path))


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    deltalake.write_deltalake(tmp_path / "tables" / "segments", pa.table({"a": [1]}))
    with pytest.raises(LakeFormat, match="did not make"):
        Lake.open(str(tmp_path))


def test_a_store_that_overwrites_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "create", storage.write_bytes)
    with pytest.raises(UnsafeStore):
        Lake.create_or_open(str(tmp_path))
    assert storage.names(str(tmp_path)) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AccessDenied, match="cannot write"):
        Lake.create_or_open(str(tmp_path / "file" / "lake"))


@pytest.mark.s3
def test_a_missing_bucket_is_said(s3_root: str) -> None:
    with pytest.raises(SourceMissing, match="no such bucket"):
        Lake.create_or_open("s3://no-such-bucket/lake")
    with pytest.raises(SourceMissing, match="no lake"):
        Lake.open("s3://no-such-bucket/lake")
    with pytest.raises(SourceMissing, match="no lake"):
        Lake.open(s3_root)


def test_two_programs_may_make_a_lake_at_once(root: str) -> None:
    made: list[object] = []

    def make() -> None:
        try:
            made.append(Lake.create_or_open(root))
        except Exception as error:
            made.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [Lake(root)] * 4
