"""Maintenance changes files, never what readers see; nothing that a live run or an older version needs is removed."""

from __future__ import annotations

from pathlib import Path

import deltalake
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lakes import AT, KEY, OTHER_KEY, make_outcome, make_rows, make_unit, make_video
from pydantic import ValidationError
from test_committer import Died, die

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import CommitError, LeaseHeld, NotFound
from shotlake.records import WorkUnit
from shotlake.table import maintenance, rewrite
from shotlake.table import outcomes as outcomes_module
from shotlake.table.committer import Committer
from shotlake.table.files import DataFile, data_uri, write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import LEASE_KEY, compact, delete_retired, forget, maintain, vacuum
from shotlake.table.readers import balance, finished_units, live_segments
from shotlake.table.rows import table_of, video_rows
from shotlake.table.schemas import RETIRED
from shotlake.table.snapshots import opened

CONFIG = TableConfig().model_copy(update={"retention_h": 0})  # nobody may set it: files would go at once


def commit(lake: Lake, *units: WorkUnit, run_id: str = "r1") -> None:
    """A file and a commit a unit."""
    with Lease.acquire(lake.root, KEY, "/archive", run_id) as lease:
        committer = Committer(lake, lease, run_id, TableConfig())
        for unit in units:
            committer.add(write_segments(lake.root, run_id, make_rows(unit, run_id=run_id)), [make_outcome(unit)])
            committer.flush()


def retire(lake: Lake, unit: WorkUnit, key: str | None = KEY) -> None:
    lake.append("retired", table_of(RETIRED, [{"video_id": unit.video.video_id, "embed_key": key, "at": AT}]))


def seen(lake: Lake) -> list[dict[str, object]]:
    table = lake.read("segments")
    rows = pa.Table.from_batches(live_segments(lake, KEY), schema=table.schema)
    return rows.sort_by([("unit_id", "ascending"), ("cell", "ascending")]).to_pylist()


def data_files(lake: Lake) -> list[str]:
    return [
        name for name in storage.names(lake.uri("segments")) if name.endswith(".parquet") and "_delta_log" not in name
    ]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("work", ["delete", "join"])
def test_a_file_that_an_erasure_removes_while_it_is_rewritten(
    work: str, at: int, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands for the video that is erased and for others; the erasure has replaced it and sweeps."""
    lake, reads = Lake.create_or_open(root), []
    rows = [{"video_id": f"v{n}", "embed_key": KEY, "at": AT, "run_id": "r1", "reason": "changed"} for n in range(3)]
    lake.append("retired", table_of(RETIRED, rows))
    lake.append("retired", table_of(RETIRED, [{**rows[0], "video_id": "v9"}]))
    honest = rewrite.read_rows

    def late(lake: Lake, table: str, file: DataFile, columns: list[str] | None = None) -> pa.Table:
        reads.append(file.path)
        if len(reads) == at:
            monkeypatch.setattr(maintenance, "read_rows", honest)
            maintenance.delete_videos(lake, "retired", pa.array(["v1", "v9"]))
            storage.delete(storage.join(lake.uri("retired"), file.path))
        return honest(lake, table, file, columns)

    monkeypatch.setattr(maintenance, "read_rows", late)
    if work == "delete":
        assert maintenance.delete_videos(lake, "retired", pa.array(["v0", "v9"])) == 1
    else:
        assert compact(lake, "retired") == (0, 0), "the next maintenance joins them"
    left = {"v2"} if work == "delete" else {"v0", "v2"}
    assert set(lake.read("retired")["video_id"].to_pylist()) == left


def test_a_file_that_is_lost_is_said(root: str) -> None:
    lake = Lake.create_or_open(root)
    lake.append("retired", table_of(RETIRED, [{"video_id": "v0", "embed_key": KEY, "at": AT}]))
    storage.delete(storage.join(lake.uri("retired"), rewrite.data_files(lake, "retired")[0].path))
    with pytest.raises(NotFound, match="is not there"):
        maintenance.delete_videos(lake, "retired", pa.array(["v0"]))


def test_readers_see_the_same_before_and_after(root: str) -> None:
    lake = Lake.create_or_open(root)
    units = [make_unit(n) for n in range(4)]
    odd = WorkUnit(make_video(9, collection="odd /%2F ü"), KEY, 0, 10)
    commit(lake, *units, odd, WorkUnit(odd.video, KEY, 10, 5))
    retire(lake, units[0])
    before = seen(lake)
    done = maintain(lake, "m1", CONFIG)
    assert seen(lake) == before and len(before) == 45
    assert (done.rows_deleted, len(data_files(lake))) == (10, 2)
    assert lake.read("segments").num_rows == 45
    assert balance(lake, "r1").balanced
    again = maintain(lake, "m2", CONFIG)
    assert (again.rows_deleted, again.files_joined, again.files_removed) == (0, 0, 0)
    assert seen(lake) == before


def test_what_is_written_anew_reads_like_what_workers_write(tmp_path: Path) -> None:
    """deltalake's own compaction makes string views, on which pyarrow and DuckDB cannot filter, and plain vectors."""
    lake = Lake.create_or_open(str(tmp_path))
    commit(lake, make_unit(1), make_unit(2))
    for table in ("segments", "units"):
        assert compact(lake, table) == (2, 1)
        dataset = lake.dataset(table)
        row = lake.read(table).to_pylist()[0]
        for name in (f.name for f in dataset.schema if f.type == pa.string() and row[f.name] is not None):
            found = lake.read(table, ["unit_id"], pc.field(name) == row[name])
            assert row["unit_id"] in found["unit_id"].to_pylist(), name
        condition = f"uri = '{row['uri']}' AND unit_id >= '{row['unit_id']}'"
        assert duckdb.sql(f"SELECT count(*) FROM dataset WHERE {condition}").fetchall()[0][0] >= 1
        assert pl.scan_delta(lake.uri(table)).filter(pl.col("uri") == row["uri"]).collect().height >= 1
    (name,) = set(data_files(lake)) & {file.path for file in rewrite.data_files(lake, "segments")}
    column = pq.ParquetFile(f"{lake.uri('segments')}/{name}").metadata.row_group(0).column(16)
    assert (column.path_in_schema, "BYTE_STREAM_SPLIT" in column.encodings) == ("fused.list.element", True)


def test_a_file_that_another_has_replaced_is_not_replaced_again(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    commit(lake, make_unit(1), make_unit(2))
    files = rewrite.data_files(lake, "segments")
    compact(lake, "segments")
    new = rewrite.write_rows(lake, "segments", rewrite.read_rows(lake, "segments", files[0]), files[0].partition)
    with pytest.raises(CommitError, match="replaced by another program"):
        rewrite.replace(lake, "segments", files, [new], data_change=False)
    assert lake.read("segments").num_rows == 20


def test_a_video_is_retired_in_one_space_or_in_all(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    one, two = make_unit(1), make_unit(2)
    commit(lake, one, two, make_unit(1, key=OTHER_KEY), make_unit(2, key=OTHER_KEY))
    retire(lake, one, KEY)
    retire(lake, two, None)
    assert delete_retired(lake) == 30
    left = lake.read("segments", ["embed_key", "video_id"])
    assert set(left["embed_key"].to_pylist()) == {OTHER_KEY}
    assert set(left["video_id"].to_pylist()) == {one.video.video_id}


def test_older_versions_stay_readable_within_the_retention(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    commit(lake, make_unit(1), make_unit(2))
    version = lake.version("segments")
    maintain(lake, "m1", TableConfig(retention_h=24))
    assert lake.read("segments", version=version).num_rows == 20
    maintain(lake, "m2", CONFIG)
    assert lake.read("segments").num_rows == 20
    with pytest.raises(NotFound):
        lake.read("segments", version=version)


def test_orphans_go_but_not_what_a_live_run_wrote(root: str) -> None:
    lake = Lake.create_or_open(root)
    commit(lake, make_unit(1))
    (orphan,) = write_segments(lake.root, "dead-run", make_rows(make_unit(2)))
    (waiting,) = write_segments(lake.root, "live-run", make_rows(make_unit(3)))
    with Lease.acquire(lake.root, KEY, "/archive", "live-run"):
        assert vacuum(lake, "segments", 0) == 1
    assert storage.exists(data_uri(root, waiting.path))
    assert not storage.exists(data_uri(root, orphan.path))
    assert vacuum(lake, "segments", 24) == 0
    assert vacuum(lake, "segments", 0) == 1
    assert len(seen(lake)) == 10


def test_outcomes_of_a_crash_are_brought_in_or_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    for run_id, unit, target in (
        ("r1", make_unit(1), (outcomes_module, "unit_rows")),
        ("r2", make_unit(2), (Lake, "add_files")),
    ):
        lease = Lease.acquire(lake.root, KEY, "/archive", run_id)
        committer = Committer(lake, lease, run_id, CONFIG)
        committer.add(write_segments(lake.root, run_id, make_rows(unit)), [make_outcome(unit)])
        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(*target, die)
            committer.close()
        lease.release()
    assert len(storage.names(f"{lake.root}/outcomes")) == 2
    done = maintain(lake, "m1", CONFIG)
    assert done.commits_completed == 1
    assert lake.read("units")["unit_id"].to_pylist() == [make_unit(1).unit_id]
    assert storage.names(f"{lake.root}/outcomes") == []


def test_one_maintenance_at_a_time(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    with Lease.acquire(lake.root, LEASE_KEY, "/", "m1", 1), pytest.raises(LeaseHeld, match="run m1"):
        maintain(lake, "m2", TableConfig(lease_s=1))


def test_a_backfill_commits_beside_a_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    units = [make_unit(n) for n in range(6)]
    commit(lake, *units[:4])
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as lease:
        committer = Committer(lake, lease, "r2", TableConfig())
        committer.add(write_segments(lake.root, "r2", make_rows(units[4])), [make_outcome(units[4])])
        check = lease.check
        monkeypatch.setattr(lease, "check", lambda: (check(), compact(lake, "segments")))
        committer.close()
    assert len(seen(lake)) == 50


def test_overlapping_compactions_double_no_row(tmp_path: Path) -> None:
    """deltalake 1.6.4 to 1.6.6 let both commit: 30 rows become 60. Without our lease, on purpose."""
    for n in range(3):
        deltalake.write_deltalake(tmp_path, pa.table({"id": [f"{n}-{i}" for i in range(10)]}), mode="append")
    first, second = deltalake.DeltaTable(tmp_path), deltalake.DeltaTable(tmp_path)
    first.optimize.compact()
    with pytest.raises(deltalake.exceptions.CommitFailedError):
        second.optimize.compact()
    rows = deltalake.DeltaTable(tmp_path).to_pyarrow_dataset().to_table()
    assert (rows.num_rows, len(set(rows["id"].to_pylist()))) == (30, 30)


def test_a_forgotten_video_is_as_new(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    back, other = make_unit(1), make_unit(2)
    commit(lake, back, other)
    retire(lake, back)
    forget(lake, pa.array([back.video.video_id]), KEY, "r2")
    assert finished_units(lake, KEY, ["unit_id"])["unit_id"].to_pylist() == [other.unit_id]
    commit(lake, back, run_id="r2")
    assert {row["unit_id"] for row in seen(lake)} == {back.unit_id, other.unit_id}


def test_content_that_came_back_meanwhile_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was retired when maintenance began, and is embedded again before maintenance commits."""
    lake = Lake.create_or_open(str(tmp_path))
    back, other = make_unit(1), make_unit(2)
    commit(lake, back, other)
    retire(lake, back)
    real = maintenance.read_rows

    def read_after_return(*arguments: object) -> pa.Table:
        monkeypatch.setattr(maintenance, "read_rows", real)
        forget(lake, pa.array([back.video.video_id]), KEY, "r2")
        commit(lake, back, run_id="r2")
        return real(*arguments)

    monkeypatch.setattr(maintenance, "read_rows", read_after_return)
    maintain(lake, "m1", CONFIG)
    assert {row["unit_id"] for row in seen(lake)} == {back.unit_id, other.unit_id}
    assert balance(lake, "r2").balanced


def test_a_file_that_is_committed_while_maintenance_looks_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is older than the retention and uncommitted when it is listed; then its run commits it and ends."""
    lake, unit = Lake.create_or_open(str(tmp_path)), make_unit(1)
    lease = Lease.acquire(lake.root, KEY, "/archive", "r1")
    committer = Committer(lake, lease, "r1", TableConfig())
    committer.add(write_segments(lake.root, "r1", make_rows(unit)), [make_outcome(unit)])
    real = maintenance.live_run_ids

    def end_first(lake_root: str) -> set[str]:
        monkeypatch.setattr(maintenance, "live_run_ids", real)
        committer.close()
        lease.release()
        return real(lake_root)

    monkeypatch.setattr(maintenance, "live_run_ids", end_first)
    assert vacuum(lake, "segments", 0) == 0
    assert len(seen(lake)) == 10


def test_what_a_live_run_appends_is_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of `videos` whose file is there and whose commit is not."""
    lake = Lake.create_or_open(str(tmp_path))
    rows = video_rows([(make_unit(1).video, None)], "/archive", "r1", AT)
    real = Lake.commit

    def look_first(self: Lake, *arguments: object, **named: object) -> int:
        monkeypatch.setattr(Lake, "commit", real)
        assert vacuum(lake, "videos", 0) == 0
        return real(self, *arguments, **named)

    with Lease.acquire(lake.root, KEY, "/archive", "r1"):
        monkeypatch.setattr(Lake, "commit", look_first)
        lake.append("videos", rows, ("r1/videos", 1))
    assert len(lake.read("videos")) == 1


def test_files_cannot_be_told_to_go_at_once() -> None:
    with pytest.raises(ValidationError, match="retention_h"):
        TableConfig(retention_h=0)


def test_a_log_that_an_erasure_of_before_left_without_history_gets_it_back(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path))
    opened(lake.uri("units")).alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    Lake.create_or_open(lake.root)
    assert opened(lake.uri("units")).metadata().configuration["delta.logRetentionDuration"] == "interval 30 days"
