"""What is erased is in no row, no file and no word of the log; everything else stays as it was."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakes import AT, KEY, make_outcome, make_rows, make_unit
from test_maintenance import commit, retire, seen

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import LeaseLost
from shotlake.table.committer import Committer
from shotlake.table.erase import (
    Swept,
    Writers,
    close_erasures,
    record_erasure,
    sought_now,
    sweep,
    unerase,
)
from shotlake.table.files import data_uri, write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import LEASE_KEY, compact, forget, maintain
from shotlake.table.names import find_videos
from shotlake.table.readers import balance, erased_videos, finished_units, listed_again, retired_videos
from shotlake.table.rows import video_rows
from shotlake.table.snapshots import opened
from shotlake.table.tombstones import Tombstones
from shotlake.table.traces import search_traces

CONFIG = TableConfig()
GONE, KEPT = make_unit(1), make_unit(2)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two videos; the first is also in an orphan and in files that a compaction has replaced."""
    lake = Lake.create_or_open(str(tmp_path))
    lake.append("videos", video_rows([(GONE.video, None), (KEPT.video, None)], "/archive", "r1", AT))
    commit(lake, GONE, make_unit(1, first_cell=10), KEPT)
    compact(lake, "segments")
    write_segments(lake.root, "dead", make_rows(GONE))
    return lake


def erase(lake: Lake, videos: dict[str, str], erasure_id: str) -> tuple[Swept, int, list[str]]:
    """Record, sweep and search once: what was swept, how many objects were read, and the traces that are left."""
    number = record_erasure(lake, videos, erasure_id, "the archive", "asked for")
    with Lease.acquire(lake.root, LEASE_KEY, "/", erasure_id):
        swept = sweep(lake, erasure_id)
    read, traces = search_traces(lake.root, sought_now(lake), videos.values())
    if not traces:
        close_erasures(lake, number, swept)
    return swept, read, traces


def the_victim(lake: Lake) -> dict[str, str]:
    return find_videos(lake, pc.field("uri") == GONE.video.uri)


def test_no_byte_names_an_erased_video(lake: Lake) -> None:
    videos = the_victim(lake)
    assert videos == {GONE.video.video_id: GONE.video.uri}
    before = [row for row in seen(lake) if row["video_id"] == KEPT.video.video_id]
    swept, read, traces = erase(lake, videos, "e1")
    assert (swept.n_files >= 5, read > 10, traces) == (True, True, [])
    for name in storage.names(lake.root):
        assert GONE.video.uri.encode() not in storage.read_bytes(f"{lake.root}/{name}"), name
    assert seen(lake) == before
    units = {row["video_id"]: row["uri"] for row in lake.read("units").to_pylist()}
    assert units == {GONE.video.video_id: None, KEPT.video.video_id: KEPT.video.uri}
    assert balance(lake, "r1").balanced
    assert erased_videos(lake).to_pylist() == [GONE.video.video_id]
    _, last = lake.read("erasures").sort_by("n_rows").to_pylist()
    assert (last["requested_by"], last["n_videos"], last["n_rows"]) == ("the archive", 1, swept.n_rows)


def test_what_was_recorded_is_found_before_it_is_swept(lake: Lake) -> None:
    """Without the words, too: whoever finishes an erasure knows hashes only."""
    record_erasure(lake, the_victim(lake), "e1")
    traces = search_traces(lake.root, sought_now(lake))[1]
    assert {name.split("/")[1] for name in traces} == {"segments", "units", "videos"}
    assert any("_delta_log" in name for name in traces)


def test_every_entry_of_the_log_stays_under_its_name(lake: Lake) -> None:
    """Else a writer that was stopped before it commits would put its commit into the gap, where nobody looks."""
    logs = {table: storage.names(f"{lake.uri(table)}/_delta_log") for table in ("segments", "units", "videos")}
    erase(lake, the_victim(lake), "e1")
    for table, names in logs.items():
        assert set(names) <= set(storage.names(f"{lake.uri(table)}/_delta_log"))
        assert "delta.logRetentionDuration" not in opened(lake.uri(table)).metadata().configuration


def test_writing_goes_on_after_an_erasure(lake: Lake) -> None:
    erase(lake, the_victim(lake), "e1")
    commit(lake, make_unit(3), run_id="r2")  # the lease's epochs are still in the log
    maintain(lake, "m1", CONFIG)
    assert {row["video_id"] for row in seen(lake)} == {KEPT.video.video_id, make_unit(3).video.video_id}


def test_an_erasure_can_be_made_again(lake: Lake) -> None:
    retire(lake, GONE)
    videos = find_videos(lake, pc.starts_with(pc.field("uri"), GONE.video.uri))
    assert erase(lake, videos, "e1")[2] == []
    swept, _, traces = erase(lake, videos, "e2")
    assert (traces, swept) == ([], Swept())
    assert lake.read("retired").num_rows == 1


def test_what_was_erased_comes_back_when_it_is_lifted(lake: Lake) -> None:
    erase(lake, the_victim(lake), "e1")
    assert unerase(lake, "/archive/other.mp4", "u1") == 0
    assert unerase(lake, GONE.video.uri, "u1") == 1
    assert unerase(lake, GONE.video.uri, "u2") == 0
    assert not Tombstones.of(lake.root).signs.is_erased(GONE.video.uri)
    assert len(erased_videos(lake)) == 0
    commit(lake, GONE, run_id="r2")
    assert {row["unit_id"] for row in seen(lake)} == {GONE.unit_id, KEPT.unit_id}
    assert balance(lake, "r2").balanced


def test_a_file_with_other_videos_only_is_left_alone(lake: Lake) -> None:
    (other,) = write_segments(lake.root, "dead", make_rows(KEPT))
    erase(lake, the_victim(lake), "e1")
    assert storage.exists(data_uri(lake.root, other.path))


def test_listed_again_a_superseded_video_is_new_and_an_erased_one_stays_out(lake: Lake) -> None:
    erase(lake, {GONE.video.video_id: GONE.video.uri}, "e1")
    retire(lake, KEPT)
    listed = pa.array([GONE.video.video_id, KEPT.video.video_id, make_unit(3).video.video_id])
    back, erased = listed_again(lake, listed, KEY)
    assert (back.to_pylist(), erased.to_pylist()) == ([KEPT.video.video_id], [GONE.video.video_id])
    forget(lake, back, KEY, "r2")
    assert retired_videos(lake, KEY).to_pylist() == [GONE.video.video_id]
    assert set(finished_units(lake, KEY)["video_id"].to_pylist()) == {GONE.video.video_id}


def test_a_committer_drops_what_was_erased_while_it_waited(lake: Lake) -> None:
    """Its file also holds a unit of another video, which is committed; the file itself goes, it holds both."""
    erased, kept = make_unit(3), make_unit(4)
    (file,) = write_segments(lake.root, "r2", pa.concat_tables([make_rows(erased), make_rows(kept)]))
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as lease:
        committer = Committer(lake, lease, "r2", CONFIG)
        committer.add([file], [make_outcome(erased), make_outcome(kept)])
        number = record_erasure(lake, {erased.video.video_id: erased.video.uri}, "e1")
        with Lease.acquire(lake.root, LEASE_KEY, "/", "e1"):
            sweep(lake, "e1")
        assert storage.exists(data_uri(lake.root, file.path)), "it belongs to a live run"
        committer.close()
        assert [outcome.unit for outcome in committer.take_dropped()] == [erased]
        assert committer.seen_erasure == number
    assert not storage.exists(data_uri(lake.root, file.path))
    assert search_traces(lake.root, sought_now(lake), [erased.video.uri])[1] == []
    assert {row["unit_id"] for row in seen(lake)} >= {kept.unit_id}
    assert erased.unit_id not in {row["unit_id"] for row in lake.read("segments").to_pylist()}
    assert lake.read("units", ["unit_id"], pc.field("run_id") == "r2")["unit_id"].to_pylist() == [kept.unit_id]


@pytest.mark.parametrize("first", ["file", "outcome"])
def test_what_a_worker_reports_after_the_erasure_is_dropped(lake: Lake, first: str) -> None:
    unit = make_unit(3)
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as lease:
        committer = Committer(lake, lease, "r2", CONFIG)
        record_erasure(lake, {unit.video.video_id: unit.video.uri}, "e1")
        files = write_segments(lake.root, "r2", make_rows(unit))
        committer.add(files if first == "file" else [], [make_outcome(unit)] if first == "outcome" else [])
        committer.flush()
        committer.add(files if first == "outcome" else [], [make_outcome(unit)] if first == "file" else [])
        committer.close()
        assert committer.totals.units == 0 and len(committer.take_dropped()) == 1
    assert search_traces(lake.root, sought_now(lake), [unit.video.uri])[1] == []


def test_content_that_was_erased_is_dropped_under_another_name(lake: Lake) -> None:
    unit, moved = make_unit(3), make_unit(4)
    known = replace(make_outcome(unit), content_sha256="c" * 64)
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as lease:
        committer = Committer(lake, lease, "r2", CONFIG)
        committer.add(write_segments(lake.root, "r2", make_rows(unit)), [known])
        committer.close()
    erase(lake, {unit.video.video_id: unit.video.uri}, "e1")
    with Lease.acquire(lake.root, KEY, "/archive", "r3") as lease:
        committer = Committer(lake, lease, "r3", CONFIG)
        again = replace(make_outcome(moved), content_sha256="c" * 64)
        committer.add(write_segments(lake.root, "r3", make_rows(moved, run_id="r3")), [again])
        committer.close()
        assert committer.totals.units == 0
    assert moved.unit_id not in {row["unit_id"] for row in seen(lake)}


def test_a_file_that_is_gone_before_its_commit_is_not_committed(lake: Lake) -> None:
    """Its units are given back; a log that names a file which is not there cannot be read any more."""
    one, other = make_unit(3), make_unit(4)
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as lease:
        committer = Committer(lake, lease, "r2", CONFIG)
        files = [*write_segments(lake.root, "r2", make_rows(one)), *write_segments(lake.root, "r2", make_rows(other))]
        committer.add(files, [make_outcome(one), make_outcome(other)])
        storage.delete(data_uri(lake.root, files[0].path))
        committer.close()
        assert [outcome.unit for outcome in committer.take_lost()] == [one]
    ids = {row["unit_id"] for row in lake.read("segments").to_pylist()}
    assert other.unit_id in ids and one.unit_id not in ids
    assert one.unit_id not in lake.read("units")["unit_id"].to_pylist()


def test_who_may_still_write_is_waited_for_until_it_ends_or_says_so(lake: Lake) -> None:
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as lease:
        number = record_erasure(lake, the_victim(lake), "e1")
        writers = Writers(lake, number, "e1", lease_s=1)
        assert writers.left() == ["r2"]
        lease.acknowledge(number)
        assert writers.left() == []
        later = Writers(lake, number + 1, "e1", lease_s=1)
        assert later.left() == ["r2"]
    assert later.left() == []


def test_a_writer_elsewhere_that_fell_silent_is_shut_out(lake: Lake) -> None:
    with Lease.acquire(lake.root, KEY, "/archive", "r2", 1) as lease:
        pass
    folder = f"{lake.root}/leases/{lease.key}"
    owner = {**asdict(lease.owner), "host": "elsewhere", "run_id": "asleep"}
    storage.create(f"{folder}/{lease.epoch + 1:010d}.json", json.dumps(owner).encode())
    number = record_erasure(lake, the_victim(lake), "e1")
    writers = Writers(lake, number, "e1", lease_s=1)
    assert writers.left() == ["asleep"]
    time.sleep(1.1)
    assert writers.left() == []
    with pytest.raises(LeaseLost):
        lake.fence((f"lease/{lease.key}", lease.epoch + 1))
