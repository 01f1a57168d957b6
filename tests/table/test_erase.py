"""What is erased is in no row, no file and no word of the log; everything else stays as it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakes import AT, KEY, make_rows, make_unit
from test_maintenance import commit, retire, seen

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.table.erase import erase, erased_videos, find_videos, listed_again, search_traces
from shotlake.table.files import data_uri, write_segments
from shotlake.table.lake import Lake
from shotlake.table.maintenance import compact, forget, maintain
from shotlake.table.readers import balance, finished_units, retired_videos
from shotlake.table.rows import video_rows

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


def test_no_byte_names_an_erased_video(lake: Lake) -> None:
    videos = find_videos(lake, pc.field("uri") == GONE.video.uri)
    assert videos == {GONE.video.video_id: GONE.video.uri}
    before = [row for row in seen(lake) if row["video_id"] == KEPT.video.video_id]
    assert search_traces(lake, videos.values())[1]
    done = erase(lake, videos, "e1", "the archive", "asked for", CONFIG)
    assert (done.n_videos, done.traces) == (1, ())
    assert done.n_files >= 5 and done.objects_read > 10
    for name in storage.names(f"{lake.root}/tables"):
        assert GONE.video.uri.encode() not in storage.read_bytes(f"{lake.root}/tables/{name}"), name
    assert seen(lake) == before
    units = {row["video_id"]: row["uri"] for row in lake.read("units").to_pylist()}
    assert units == {GONE.video.video_id: None, KEPT.video.video_id: KEPT.video.uri}
    assert balance(lake, "r1").balanced
    assert erased_videos(lake).to_pylist() == [GONE.video.video_id]
    (kept,) = lake.read("erasures").to_pylist()
    assert (kept["requested_by"], kept["n_videos"], kept["n_rows"]) == ("the archive", 1, done.n_rows)


def test_writing_goes_on_after_an_erasure(lake: Lake) -> None:
    erase(lake, find_videos(lake, pc.field("uri") == GONE.video.uri), "e1", "me", "", CONFIG)
    commit(lake, make_unit(3), run_id="r2")  # the lease's epochs are still in the log
    maintain(lake, "m1", CONFIG)
    assert {row["video_id"] for row in seen(lake)} == {KEPT.video.video_id, make_unit(3).video.video_id}


def test_an_erasure_can_be_made_again(lake: Lake) -> None:
    retire(lake, GONE)
    videos = find_videos(lake, pc.starts_with(pc.field("uri"), GONE.video.uri))
    first = erase(lake, videos, "e1", "me", "", CONFIG)
    again = erase(lake, videos, "e2", "me", "", CONFIG)
    assert (first.traces, again.traces, again.n_files) == ((), (), 0)
    assert lake.read("retired").num_rows == 1


def test_a_file_with_other_videos_only_is_left_alone(lake: Lake) -> None:
    (other,) = write_segments(lake.root, "dead", make_rows(KEPT))
    erase(lake, find_videos(lake, pc.field("uri") == GONE.video.uri), "e1", "me", "", CONFIG)
    assert storage.exists(data_uri(lake.root, other.path))


def test_listed_again_a_superseded_video_is_new_and_an_erased_one_stays_out(lake: Lake) -> None:
    erase(lake, {GONE.video.video_id: GONE.video.uri}, "e1", "me", "", CONFIG)
    retire(lake, KEPT)
    listed = pa.array([GONE.video.video_id, KEPT.video.video_id, make_unit(3).video.video_id])
    back, erased = listed_again(lake, listed, KEY)
    assert (back.to_pylist(), erased.to_pylist()) == ([KEPT.video.video_id], [GONE.video.video_id])
    forget(lake, back, KEY)
    assert retired_videos(lake, KEY).to_pylist() == [GONE.video.video_id]
    assert set(finished_units(lake, KEY)["video_id"].to_pylist()) == {GONE.video.video_id}
