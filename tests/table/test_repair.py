"""Every fault of tables, made on a real lake: repair finds it, mends it, and what it took out is committed again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake.transaction import AddAction
from lakes import AT, KEY, make_outcome, make_rows, make_unit

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import LeaseHeld, NotFound
from shotlake.records import WorkUnit
from shotlake.table import committer as committing
from shotlake.table import doubles, outcomes
from shotlake.table.committer import Committer
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import LEASE_KEY
from shotlake.table.outcomes import recover
from shotlake.table.readers import balance, erased_videos, finished_units
from shotlake.table.repair import inspect, repair
from shotlake.table.rewrite import data_files
from shotlake.table.rows import failure_rows, table_of, unit_rows
from shotlake.table.schemas import RETIRED
from shotlake.table.snapshots import opened

CONFIG = TableConfig()
UNITS = [make_unit(n) for n in range(6)]
LOST = {3: 4, 5: 10}  # cells that units lose: 3 is partial, 5 failed


def outcome(n: int):
    return make_outcome(UNITS[n], LOST.get(n, 0))


def backfill(lake: Lake, run_id: str, *, units_a_file: int = 2) -> None:
    """As a run does: what `units` does not know is written and committed."""
    with Lease.acquire(lake.root, KEY, "/archive", run_id) as lease:
        recover(lake, lease)
        done = set(finished_units(lake, KEY, ["unit_id"])["unit_id"].to_pylist())
        committer = Committer(lake, lease, run_id, TableConfig())
        todo = [n for n, unit in enumerate(UNITS) if unit.unit_id not in done]
        for start in range(0, len(todo), units_a_file):
            part = todo[start : start + units_a_file]
            rows = [make_rows(UNITS[n], n=10 - LOST.get(n, 0), run_id=run_id) for n in part]
            files = write_segments(lake.root, run_id, pa.concat_tables(rows)) if sum(map(len, rows)) else []
            committer.add(files, [outcome(n) for n in part])
            committer.flush()
        committer.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Six units of one run, two a file: one partial, one failed."""
    made = Lake.create_or_open(str(tmp_path / "lake"))
    backfill(made, "r1")
    return made


def assert_whole(lake: Lake, *runs: str) -> None:
    """What an undisturbed run leaves, each row once, and nothing left for repair."""
    rows = lake.read("segments", ["unit_id", "cell"]).to_pylist()
    expected = [(u.unit_id, cell) for n, u in enumerate(UNITS) for cell in range(10 - LOST.get(n, 0))]
    assert sorted((row["unit_id"], row["cell"]) for row in rows) == sorted(expected)
    assert sorted(lake.read("units")["unit_id"].to_pylist()) == sorted(unit.unit_id for unit in UNITS)
    lost = sorted(lake.read("failures", ["unit_id", "n_cells", "code"]).to_pylist(), key=str)
    assert lost == sorted(
        ({"unit_id": UNITS[n].unit_id, "n_cells": cells, "code": "truncated"} for n, cells in LOST.items()), key=str
    )
    assert all(balance(lake, run).balanced for run in ("r1", *runs))
    assert inspect(lake).findings == ()


def kinds(lake: Lake) -> set[tuple[str, str]]:
    return {(finding.kind, finding.table) for finding in inspect(lake).findings}


def mend(lake: Lake, run_id: str = "m1") -> None:
    done = repair(lake, run_id, CONFIG)
    assert done.is_done and done.findings
    assert inspect(lake).findings == ()


def path_of(lake: Lake, table: str, number: int = 0) -> Path:
    return Path(lake.uri(table)) / sorted(file.path for file in data_files(lake, table))[number]


def remove(lake: Lake, table: str) -> None:
    path_of(lake, table).unlink()


def add_again(lake: Lake, rows: pa.Table, app_id: str = "other/1") -> None:
    """Rows under another application's name, which nothing refuses."""
    for report in write_segments(lake.root, app_id.split("/")[0], rows):
        partition = {"embed_key": report.embed_key, "collection": report.collection}
        action = AddAction(report.path, report.size_bytes, partition, 0, True, json.dumps(report.stats))
        lake.add_files([action], (app_id, 1), ("lease/none", 1))


def delete_units(lake: Lake, *numbers: int) -> None:
    ids = ", ".join(f"'{UNITS[n].unit_id}'" for n in numbers)
    opened(lake.uri("units")).delete(f"unit_id in ({ids})")


def test_a_lake_without_faults_is_left_as_it_is(lake: Lake) -> None:
    versions = {table: lake.version(table) for table in ("segments", "units", "failures")}
    assert inspect(lake).findings == ()
    done = repair(lake, "m1", CONFIG)
    assert (done.findings, done.is_done) == ((), True)
    assert {table: lake.version(table) for table in versions} == versions


@pytest.mark.parametrize("damage", ["gone", "cut", "longer", "footer", "pages", "empty"])
def test_a_data_file_that_cannot_be_read(lake: Lake, damage: str) -> None:
    path = path_of(lake, "segments")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        footer = data[:-400] + bytes(392) + data[-8:]
        pages = data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :]
        bad = {"cut": data[:-9], "longer": data + b"x", "footer": footer, "pages": pages, "empty": b""}
        path.write_bytes(bad[damage])
    if damage == "gone":
        with pytest.raises(NotFound):
            lake.read("segments")
    before = {table: lake.version(table) for table in ("segments", "units")}
    found = inspect(lake)
    assert ("broken_file", "segments") in {(f.kind, f.table) for f in found.findings}
    assert {table: lake.version(table) for table in before} == before, "inspecting writes nothing"
    mend(lake)
    assert len(lake.read("units")) < len(UNITS)
    backfill(lake, "r2")
    assert_whole(lake, "r2")


def test_a_unit_of_which_one_file_of_two_is_gone_leaves_as_a_whole(tmp_path: Path) -> None:
    lake = Lake.create_or_open(str(tmp_path / "lake"))
    with Lease.acquire(lake.root, KEY, "/archive", "r1") as lease:
        committer = Committer(lake, lease, "r1", TableConfig())
        for n, unit in enumerate(UNITS):
            rows = make_rows(unit, n=10 - LOST.get(n, 0))
            parts = [rows.slice(0, 3), rows.slice(3)] if len(rows) else []
            committer.add([file for part in parts for file in write_segments(lake.root, "r1", part)], [outcome(n)])
        committer.close()
    remove(lake, "segments")
    mend(lake)
    backfill(lake, "r2")
    assert_whole(lake, "r2")


@pytest.mark.parametrize("table", ["units", "failures", "videos", "retired", "runs", "costs", "pooled", "erasures"])
def test_a_lost_file_of_another_table(lake: Lake, table: str) -> None:
    if table not in ("units", "failures"):
        lake.append(
            table, opened(lake.uri(table)).to_pyarrow_table().schema.empty_table().cast(lake.read(table).schema)
        )
        row = {
            "video_id": "v",
            "run_id": "r9",
            "reason": "superseded",
            "embed_key": KEY,
            "collection": "news",
            "at": AT,
        }
        from shotlake.table.schemas import TABLES

        lake.append(table, table_of(TABLES[table], [row]))
    remove(lake, table)
    assert ("broken_file", table) in kinds(lake)
    mend(lake)
    backfill(lake, "r2")
    assert_whole(lake, "r2")


def test_rows_that_are_there_twice(lake: Lake) -> None:
    add_again(lake, make_rows(UNITS[0], n=10, run_id="r0"))
    add_again(lake, make_rows(UNITS[1], n=5, run_id="r1"), "same/1")
    assert len(lake.read("segments")) == len(lake.read("segments", ["segment_id"])["segment_id"].unique()) + 15
    assert kinds(lake) == {("doubled_rows", "segments")}
    mend(lake)
    assert_whole(lake)


def test_the_doubles_are_found_in_passes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add_again(lake, make_rows(UNITS[0], n=10, run_id="r1"))
    monkeypatch.setattr(doubles, "ROWS_A_PASS", 7)
    (finding,) = inspect(lake).findings
    assert finding.what == "10 rows are there twice"
    mend(lake)
    assert_whole(lake)


def test_ids_of_one_hash_are_not_doubles(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = doubles._hashes
    monkeypatch.setattr(doubles, "_hashes", lambda ids: honest(ids) * 0)
    assert inspect(lake).findings == ()


def test_a_unit_that_was_embedded_twice_because_its_outcomes_were_deleted(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case of 20 rows and 10 ids: both runs have the same unit, `units` knows the second run only."""
    delete_units(lake, 0)
    backfill(lake, "r2")
    assert pc.count_distinct(lake.read("segments")["segment_id"]).as_py() + 10 == len(lake.read("segments"))
    assert kinds(lake) == {("doubled_rows", "segments")}
    mend(lake)
    assert_whole(lake, "r2")
    assert balance(lake, "r2").rows == 10


def test_a_unit_that_two_runs_claim_keeps_the_newest_that_holds(lake: Lake) -> None:
    delete_units(lake, 0)
    backfill(lake, "r2")
    lake.append("units", unit_rows([outcome(0)], "r1", 1, AT))
    lake.append("units", unit_rows([outcome(0)], "r0", 1, AT))
    assert kinds(lake) == {("doubled_rows", "segments"), ("doubled_units", "units")}
    mend(lake)
    assert_whole(lake, "r2", "r0")
    assert {row["unit_id"]: row["run_id"] for row in lake.read("units").to_pylist()}[UNITS[0].unit_id] == "r2"


def test_rows_of_units_and_failures_that_are_there_twice(lake: Lake) -> None:
    lake.append("units", unit_rows([outcome(n) for n in (0, 3, 5)], "r1", 1, AT))
    lake.append("failures", failure_rows([outcome(n) for n in (3, 5)], "r1", AT))
    assert kinds(lake) == {("doubled_units", "units"), ("doubled_failures", "failures")}
    mend(lake)
    assert_whole(lake)


def test_units_without_rows(lake: Lake) -> None:
    opened(lake.uri("segments")).delete(
        f"unit_id = '{UNITS[0].unit_id}' or (unit_id = '{UNITS[3].unit_id}' and cell > 2)"
    )
    (finding,) = inspect(lake).findings
    assert (finding.kind, finding.table) == ("unit_without_rows", "units") and "2 units" in finding.what
    mend(lake)
    assert (len(lake.read("units")), len(lake.read("segments"))) == (4, 30)
    backfill(lake, "r2")
    assert_whole(lake, "r2")


def test_units_of_retired_videos_need_no_rows(lake: Lake) -> None:
    video_id = UNITS[0].video.video_id
    lake.append("retired", table_of(RETIRED, [{"video_id": video_id, "embed_key": KEY, "reason": "superseded"}]))
    opened(lake.uri("segments")).delete(f"video_id = '{video_id}'")
    assert inspect(lake).findings == ()
    add_again(lake, make_rows(UNITS[0], n=4))
    assert kinds(lake) == {("rows_in_part", "segments")}
    mend(lake)
    assert balance(lake, "r1").balanced


def test_rows_without_units(lake: Lake) -> None:
    delete_units(lake, 0, 3, 5)
    assert kinds(lake) == {("rows_without_unit", "segments"), ("failure_without_unit", "failures")}
    mend(lake)
    backfill(lake, "r2")
    assert_whole(lake, "r2")


def test_units_that_share_segments(lake: Lake) -> None:
    """Another cut of the same video: the older unit leaves, because its cells are in the newer one."""
    newer = WorkUnit(UNITS[0].video, KEY, 0, 7)
    add_again(lake, make_rows(newer, n=7, run_id="r2"))
    lake.append("units", unit_rows([make_outcome(newer)], "r2", 9, AT.replace(year=2030)))
    assert kinds(lake) == {("overlapping_unit", "units")}
    mend(lake)
    assert pc.count_distinct(lake.read("segments")["segment_id"]).as_py() == len(lake.read("segments"))
    ids = set(lake.read("units")["unit_id"].to_pylist())
    assert newer.unit_id in ids and UNITS[0].unit_id not in ids
    assert balance(lake, "r1").balanced and balance(lake, "r2").balanced


def test_failures_are_made_again_from_units(lake: Lake) -> None:
    before = lake.read("failures").drop_columns(["message"]).sort_by("unit_id")
    opened(lake.uri("failures")).delete()
    assert kinds(lake) == {("unit_without_failures", "failures")}
    mend(lake)
    after = lake.read("failures").sort_by("unit_id")
    assert after.drop_columns(["message"]).equals(before)
    assert set(after["message"].to_pylist()) == {"made again by repair: what was said of it is lost"}
    assert_whole(lake)


def die(*_) -> None:
    raise SystemExit("killed")


@pytest.fixture
def owing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A run that died between `segments` and `units`."""
    delete_units(lake, 0, 1)
    repair(lake, "m0", CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(committing, "append_outcomes", die)
        with pytest.raises(SystemExit):
            backfill(lake, "r2")
    return lake


def test_what_a_commit_owes_is_appended_and_nothing_is_embedded_again(owing: Lake) -> None:
    assert kinds(owing) == {("owed_units", "units")}
    mend(owing)
    assert_whole(owing, "r2")


def test_a_damaged_copy_of_outcomes_goes_with_its_rows(owing: Lake) -> None:
    (name,) = storage.names(storage.join(owing.root, "outcomes"))
    Path(owing.root, "outcomes", name).write_bytes(b"{")
    assert kinds(owing) == {("damaged_outcomes", "units"), ("rows_without_unit", "segments")}
    mend(owing)
    backfill(owing, "r3")
    assert_whole(owing, "r2", "r3")


def test_outcomes_of_a_commit_that_never_was_are_counted_only(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    delete_units(lake, 0)
    repair(lake, "m0", CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "add_files", die)
        with pytest.raises(SystemExit):
            backfill(lake, "r2")
    found = inspect(lake)
    assert (found.findings, found.n_unused_outcomes) == ((), 1)
    assert found.n_leftovers >= 1


def test_units_of_a_live_run_are_left_alone(owing: Lake) -> None:
    """A run that has committed `segments` and is about to append `units`."""
    (name,) = storage.names(storage.join(owing.root, "outcomes"))
    copy = Path(owing.root, "outcomes", name)
    kept = copy.read_bytes()
    copy.unlink()
    with Lease.acquire(owing.root, KEY, "/archive", "r2"):
        done = repair(owing, "m1", CONFIG)
        assert (done.findings, done.is_done, done.n_busy_units) == ((), True, 2)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(kept)
        assert inspect(owing).findings == ()
    mend(owing, "m2")
    assert_whole(owing, "r2")


def test_a_run_that_ends_while_repair_looks(owing: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was alive when its rows were read, and its units came when `units` had been read: nothing of it is judged."""
    from shotlake.table import diagnosis

    honest = diagnosis.segment_rows

    def read_and_end(files):
        found = honest(files)
        outcomes.complete_commits(owing)
        return found

    monkeypatch.setattr(diagnosis, "segment_rows", read_and_end)
    assert inspect(owing).findings == ()


def test_a_log_retention_of_nothing_is_mended(lake: Lake) -> None:
    opened(lake.uri("segments")).alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    assert kinds(lake) == {("log_retention", "segments")}
    mend(lake)
    assert opened(lake.uri("segments")).metadata().configuration["delta.logRetentionDuration"] == "interval 30 days"


def test_a_table_without_a_log_is_said_and_the_rest_is_mended(lake: Lake) -> None:
    import shutil

    shutil.rmtree(lake.uri("costs"))
    delete_units(lake, 0)
    done = repair(lake, "m1", CONFIG)
    assert not done.is_done
    assert {finding.kind for finding in inspect(lake).findings} == {"lost_log"}
    Lake.create_or_open(lake.root)
    backfill(lake, "r2")
    assert_whole(lake, "r2")


def test_erased_videos_stay_erased_when_their_tombstones_are_lost(lake: Lake) -> None:
    from shotlake.table.erase import record_erasure, sweep

    victim = UNITS[0].video
    record_erasure(lake, {victim.video_id: victim.uri}, "e1", "me", "request")
    with Lease.acquire(lake.root, LEASE_KEY, "/", "e1"):
        sweep(lake, "e1")
    for path in Path(lake.uri("retired")).glob("*.parquet"):
        path.unlink()
    assert any("NOT KNOWN" in finding.action for finding in inspect(lake).findings)
    mend(lake)
    assert erased_videos(lake).to_pylist() == [victim.video_id]
    assert balance(lake, "r1").balanced


def test_maintenance_keeps_repair_out(lake: Lake) -> None:
    delete_units(lake, 0)
    with Lease.acquire(lake.root, LEASE_KEY, "/", "m0"), pytest.raises(LeaseHeld):
        repair(lake, "m1", CONFIG)


def test_everything_at_once(lake: Lake) -> None:
    delete_units(lake, 0)
    add_again(lake, make_rows(UNITS[1], n=10, run_id="r0"))
    for table in ("segments", "failures"):
        remove(lake, table)
    lake.append("units", unit_rows([outcome(5)], "r7", 1, AT))
    mend(lake)
    backfill(lake, "r2")
    assert_whole(lake, "r2", "r7", "r0")


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from shotlake import storage
    from shotlake.config import TableConfig
    from shotlake.table import repair as repairing
    from shotlake.table.lake import Lake

    at, when = int(sys.argv[2]), sys.argv[3]
    calls = 0

    def deadly(honest):
        def call(*arguments, **named):
            global calls
            calls += 1
            mine = calls
            if (mine, when) == (at, "before"):
                os.kill(os.getpid(), signal.SIGKILL)
            result = honest(*arguments, **named)
            if (mine, when) == (at, "after"):
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call

    for name in ("replace", "write_rows", "complete_commits"):
        setattr(repairing, name, deadly(getattr(repairing, name)))
    Lake.append = deadly(Lake.append)
    done = repairing.repair(Lake.open(sys.argv[1]), f"m-{at}-{when}", TableConfig())
    sys.exit(0 if done.is_done else 1)
    """
)


def killed(root: str, at: int, when: str) -> int:
    words = [sys.executable, "-c", KILLED, root, str(at), when]
    return subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode


SLOW = [("after", "retired"), ("after", "segments"), ("before", "units")]


@pytest.mark.parametrize(
    ("when", "lost"),
    [
        ("before", "retired"),
        ("before", "segments"),
        ("after", "units"),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in SLOW),
    ],
)
def test_killed_at_every_step_and_begun_again(owing: Lake, when: str, lost: str, tmp_path: Path) -> None:
    """At each write of it, a backfill beside the half-mended lake included, and then once more as a whole."""
    import shutil

    lake = owing
    opened(lake.uri("units")).delete(f"unit_id = '{UNITS[2].unit_id}'")
    add_again(lake, make_rows(UNITS[4], n=10, run_id="r0"))
    lake.append("units", unit_rows([outcome(5)], "r7", 1, AT))
    lake.append("retired", table_of(RETIRED, [{"video_id": "v", "embed_key": KEY}]))
    opened(lake.uri("failures")).delete(f"unit_id = '{UNITS[3].unit_id}'")
    remove(lake, lost)
    steps = 0
    for at in range(1, 40):
        copy = tmp_path / f"{when}-{at}"
        shutil.copytree(lake.root, copy)
        half = Lake.open(str(copy))
        status = killed(half.root, at, when)
        if status == 0:
            break
        assert status < 0
        steps += 1
        try:
            backfill(half, "r8")
        except NotFound:  # not mended far enough for any command
            assert ("broken_file", lost) in kinds(half)
        assert repair(half, "again", CONFIG).is_done
        backfill(half, "r9")
        assert_whole(half, "r0", "r2", "r7", "r8", "r9")
        shutil.rmtree(copy)
    assert steps >= 4
