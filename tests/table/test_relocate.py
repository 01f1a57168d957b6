"""A moved archive keeps its vectors: same content, new names, nothing twice, also after a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakes import AT, KEY, make_outcome, make_rows, make_unit
from test_committer import Died, die

from shotlake.config import TableConfig
from shotlake.records import MediaInfo, Video, WorkUnit, segment_id
from shotlake.table import relocate as relocate_module
from shotlake.table.committer import Committer
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.names import find_videos, later_names
from shotlake.table.outcomes import recover
from shotlake.table.readers import balance, latest_videos, live_segments
from shotlake.table.relocate import Move, relocate
from shotlake.table.rows import video_rows

UNITS = [make_unit(1), make_unit(1, first_cell=10, n_cells=5), make_unit(2)]


def moved(unit: WorkUnit, root: str = "/moved") -> Video:
    video = unit.video
    return replace(video, uri=video.uri.replace("/archive", root), collection="moved")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Video 1 whole in two units; of video 2 the first unit is partial, the second failed."""
    lake = Lake.create_or_open(str(tmp_path))
    media = MediaInfo(container="mp4", duration_us=30_000_000, video_codec="h264")
    lake.append("videos", video_rows([(unit.video, media) for unit in UNITS[1:]], "/archive", "r1", AT))
    failed = make_unit(2, first_cell=10)
    with Lease.acquire(lake.root, KEY, "/archive", "r1") as lease:
        committer = Committer(lake, lease, "r1", TableConfig())
        rows = [make_rows(UNITS[0]), make_rows(UNITS[1]), make_rows(UNITS[2], n=7)]
        outcomes = [make_outcome(UNITS[0]), make_outcome(UNITS[1]), make_outcome(UNITS[2], 3), make_outcome(failed, 10)]
        committer.add(write_segments(lake.root, "r1", pa.concat_tables(rows)), outcomes)
        committer.close()
    return lake


def run(lake: Lake, run_id: str, root: str = "/moved") -> None:
    old = "/archive" if root == "/moved" else "/moved"
    moves = [
        Move(moved(unit, old).video_id if old == "/moved" else unit.video.video_id, moved(unit, root))
        for unit in UNITS[1:]
    ]
    with Lease.acquire(lake.root, KEY, root, run_id) as lease:
        recover(lake, lease)
        relocate(lake, Committer(lake, lease, run_id, TableConfig()), moves, KEY, root)


def seen(lake: Lake) -> list[tuple[object, ...]]:
    names = ["uri", "cell", "segment_id", "collection", "start_us", "fused"]
    rows = [row for batch in live_segments(lake, KEY, names) for row in batch.to_pylist()]
    return sorted(tuple(row[name] for name in names) for row in rows)


def test_rows_move_with_their_vectors(lake: Lake) -> None:
    before = seen(lake)
    run(lake, "r2")
    after = seen(lake)
    assert [(uri.replace("/moved", "/archive"), cell, *rest) for uri, cell, _, _, *rest in after] == [
        (uri, cell, *rest) for uri, cell, _, _, *rest in before
    ]
    assert {row[3] for row in after} == {"moved"}
    assert all(
        row[2] == segment_id(moved(UNITS[0 if row[0].endswith("1.mp4") else 2]).video_id, row[1], KEY) for row in after
    )
    assert balance(lake, "r2").balanced
    statuses = [row["status"] for row in lake.read("units").to_pylist() if row["run_id"] == "r2"]
    assert sorted(statuses) == ["failed", "ok", "ok", "partial"]
    videos = latest_videos(lake, "/moved").to_pylist()
    assert {(row["uri"], row["duration_us"]) for row in videos} == {
        ("/moved/1.mp4", 30_000_000), ("/moved/2.mp4", 30_000_000)
    }  # fmt: skip


def test_again_and_after_a_crash_nothing_doubles(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(relocate_module, "_record", die)
        run(lake, "r2")
    assert len(seen(lake)) == 44  # both names, until the same call is made again
    for run_id in ("r3", "r4"):
        run(lake, run_id)
        assert len(seen(lake)) == 22
    assert lake.read("retired").num_rows == 2


def test_a_move_back_brings_back_the_old_names(lake: Lake) -> None:
    before = [(uri, cell, ident, *rest) for uri, cell, ident, _, *rest in seen(lake)]
    run(lake, "r2")
    run(lake, "r3", "/archive")
    assert [(uri, cell, ident, *rest) for uri, cell, ident, _, *rest in seen(lake)] == before


def test_an_erasure_finds_every_name_that_a_video_had(lake: Lake) -> None:
    first, second, third = UNITS[0].video, moved(UNITS[0]), moved(UNITS[0], "/third")
    run(lake, "r2")
    assert find_videos(lake, pc.field("uri") == second.uri) == {video.video_id: video.uri for video in (first, second)}
    run(lake, "r3", "/third")
    names = {video.video_id: video.uri for video in (first, second, third)}
    assert find_videos(lake, pc.field("uri") == third.uri) == names
    begun = find_videos(lake, pc.field("uri") == first.uri)
    assert (begun, begun | later_names(lake, begun)) == ({first.video_id: first.uri}, names)


def test_another_object_under_the_name_of_before_is_not_meant(lake: Lake) -> None:
    run(lake, "r2")
    other = replace(UNITS[0].video, etag="e2")
    with Lease.acquire(lake.root, KEY, "/archive", "r3") as lease:
        committer = Committer(lake, lease, "r3", TableConfig())
        unit = WorkUnit(other, KEY, 0, 10)
        committer.add(write_segments(lake.root, "r3", make_rows(unit)), [make_outcome(unit)])
        committer.close()
    name = moved(UNITS[0]).uri
    found = find_videos(lake, pc.field("uri") == name)
    assert found == {UNITS[0].video.video_id: name, moved(UNITS[0]).video_id: name}
