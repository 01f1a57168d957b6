"""Readers see live rows only, and other programs read the tables as the README of this room shows."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakes import AT, DIM, KEY, OTHER_KEY, make_outcome, make_rows, make_unit, make_video

from shotlake.config import TableConfig
from shotlake.errors import SourceMissing, Unbalanced
from shotlake.records import LostRange, MediaInfo, UnitOutcome, WorkUnit
from shotlake.table.committer import Committer
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.readers import (
    balance,
    finished_units,
    latest_videos,
    live_segments,
    matrix,
    read_vectors,
    sampled_uris,
    standing_failures,
    video_metadata,
    with_metadata,
)
from shotlake.table.rows import failure_rows, table_of, unit_rows, video_rows
from shotlake.table.schemas import RETIRED, SEGMENTS

README = Path(__file__).parents[2] / "src" / "shotlake" / "table" / "README.md"


def commit(lake: Lake, *units: WorkUnit, run_id: str = "r1", lost: int = 0) -> None:
    for key in {unit.embed_key for unit in units}:
        mine = [unit for unit in units if unit.embed_key == key]
        with Lease.acquire(lake.root, key, "/archive", run_id) as lease:
            committer = Committer(lake, lease, run_id, TableConfig())
            rows = [make_rows(unit, n=unit.n_cells - lost, run_id=run_id) for unit in mine]
            outcomes = [make_outcome(unit, lost) for unit in mine]
            committer.add(write_segments(lake.root, run_id, pa.concat_tables(rows)), outcomes)
            committer.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.create_or_open(str(tmp_path / "lake"))


def test_live_rows_are_of_one_space_and_not_retired(lake: Lake) -> None:
    kept, gone, elsewhere = make_unit(1), make_unit(2), make_unit(1, key=OTHER_KEY)
    commit(lake, kept, gone, elsewhere)
    lake.append("retired", table_of(RETIRED, [{"video_id": gone.video.video_id, "embed_key": KEY, "at": AT}]))
    batches = list(live_segments(lake, KEY, ["unit_id", "cell"], pc.field("cell") < 4))
    assert pa.Table.from_batches(batches).sort_by("cell").to_pylist() == [
        {"unit_id": kept.unit_id, "cell": cell} for cell in range(4)
    ]
    assert sum(batch.num_rows for batch in live_segments(lake, OTHER_KEY)) == 10
    lake.append("retired", table_of(RETIRED, [{"video_id": kept.video.video_id, "reason": "erased", "at": AT}]))
    assert not list(live_segments(lake, KEY)) and not list(live_segments(lake, OTHER_KEY))


def test_a_collection_may_be_called_anything(root: str) -> None:
    lake = Lake.create_or_open(root)
    unit = WorkUnit(make_video(1, collection="odd /%2F ü=x:y+z&\n"), KEY, 0, 10)
    commit(lake, unit)
    found = lake.read("segments", ["collection", "cell"], pc.field("collection") == unit.video.collection)
    assert sorted(found["cell"].to_pylist()) == list(range(10))


def test_every_column_can_be_filtered(lake: Lake) -> None:
    """delta-rs turns a missing statistic into a promise that nothing is there, if it is not told better."""
    commit(lake, make_unit(1))
    rows = lake.read("segments")
    for column in SEGMENTS.names:
        nulls = rows[column].null_count
        assert lake.read("segments", [column], pc.field(column).is_valid()).num_rows == 10 - nulls, column
        assert lake.read("segments", [column], pc.field(column).is_null()).num_rows == nulls, column


def test_vectors_come_as_matrices_without_missing_ones(root: str) -> None:
    unit = make_unit(1)
    commit(Lake.create_or_open(root), unit)
    expected = make_rows(unit)
    for space, rows in (("fused", range(10)), ("audio", range(0, 10, 2))):
        pairs = list(read_vectors(root, KEY, space, ["segment_id", "start_us"]))  # type: ignore[arg-type]
        ids = [segment_id for batch, _ in pairs for segment_id in batch["segment_id"].to_pylist()]
        vectors = np.concatenate([vectors for _, vectors in pairs])
        assert ids == [expected["segment_id"][i].as_py() for i in rows]
        assert vectors.dtype == np.float32 and vectors.shape == (len(rows), DIM)
        np.testing.assert_array_equal(vectors, np.array([expected[space][i].as_py() for i in rows], np.float32))
    with pytest.raises(SourceMissing):
        next(read_vectors(root + "-none", KEY))


def test_lists_of_different_length_are_no_matrix() -> None:
    assert matrix(pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())).slice(1)).tolist() == [[3.0, 4.0]]
    with pytest.raises(Unbalanced, match="3 values in 2 vectors"):
        matrix(pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32())))


def test_a_finished_unit_is_its_success_or_its_last_failure(lake: Lake) -> None:
    def record(unit: WorkUnit, lost: int) -> None:
        lake.append("units", unit_rows([make_outcome(unit, lost)], "r", 0, AT))

    for attempt in (1, 3, 2):
        record(make_unit(1, attempt=attempt), lost=10)
    record(make_unit(2, attempt=1), lost=10)
    record(make_unit(2, attempt=2), lost=3)
    record(make_unit(3, key=OTHER_KEY), lost=0)
    found = {
        row["unit_id"]: (row["status"], row["attempts"])
        for row in finished_units(lake, KEY, ["unit_id", "status", "attempts"]).to_pylist()
    }
    assert found == {make_unit(1).unit_id: ("failed", 3), make_unit(2).unit_id: ("partial", 2)}
    assert finished_units(lake, "7" * 32).num_rows == 0


def test_the_newest_row_of_each_video_counts(lake: Lake) -> None:
    media = MediaInfo(container="mp4", duration_us=5, video_codec="h264", recorded_at=AT)
    later = AT.replace(hour=13)
    lake.append("videos", video_rows([(make_video(1, etag="new"), media)], "/archive", "r2", later))
    lake.append("videos", video_rows([(make_video(1), None), (make_video(2), media)], "/archive", "r1", AT))
    lake.append("videos", video_rows([(make_video(3), None)], "/elsewhere", "r1", AT))
    found = {row["uri"]: row for row in latest_videos(lake, "/archive").to_pylist()}
    assert set(found) == {"/archive/1.mp4", "/archive/2.mp4"}
    assert (found["/archive/1.mp4"]["etag"], found["/archive/1.mp4"]["run_id"]) == ("new", "r2")
    assert (found["/archive/2.mp4"]["duration_us"], found["/archive/2.mp4"]["recorded_at"]) == (5, AT)


def test_the_balance_is_counted_from_the_tables(lake: Lake) -> None:
    commit(lake, make_unit(1), make_unit(2), lost=2)
    found = balance(lake, "r1")
    assert (found.planned, found.written, found.rows, found.lost, found.failure_cells) == (20, 16, 16, 4, 4)
    assert (found.videos_partial, found.balanced) == (2, True)
    lake.append("units", unit_rows([make_outcome(make_unit(3))], "r1", 0, AT))  # claims rows that are not there
    wrong = balance(lake, "r1")
    assert (wrong.balanced, wrong.wrong_units) == (False, (make_unit(3).unit_id,))
    assert balance(lake, "unknown").planned == 0


def recipes() -> list[tuple[str, str]]:
    found = re.findall(r"\n### (\w+)\n[^`]*```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert [name for name, _ in found] == ["Vectors", "DuckDB", "Polars", "pandas"]
    return found


@pytest.mark.parametrize("name", ["Vectors", "DuckDB", "Polars", "pandas"])
def test_the_recipes_of_the_readme_run(lake: Lake, name: str) -> None:
    unit = make_unit(1)
    commit(lake, unit, make_unit(2, n_cells=4))
    scope: dict[str, object] = {"lake": lake.root, "embed_key": KEY}
    exec(dict(recipes())[name], scope)
    answer = scope["answer"]
    if name == "Vectors":
        assert isinstance(answer, np.ndarray) and answer.shape == (14, DIM)
    else:
        rows = answer if isinstance(answer, list) else list(answer.itertuples(index=False, name=None))  # type: ignore[attr-defined]
        assert sorted(tuple(row) for row in rows) == [("/archive/1.mp4", 10), ("/archive/2.mp4", 4)]


def test_failures_stand_once_until_they_are_made_good(lake: Lake) -> None:
    def record(at_s: int, *outcomes: UnitOutcome) -> None:
        at = AT + timedelta(seconds=at_s)
        lake.append("units", unit_rows(outcomes, "r", 1, at))
        lake.append("failures", failure_rows(outcomes, "r", at))

    def failed(unit: WorkUnit, code: str) -> UnitOutcome:
        lost = (LostRange(unit.first_cell, unit.n_cells, code),) if unit.n_cells else ()
        return UnitOutcome(unit, "failed", unit.n_cells, 0, lost, code)

    def standing() -> list[tuple[str, int, int, str]]:
        rows = standing_failures(lake, ["uri", "first_cell", "n_cells", "code"]).to_pylist()
        return sorted((row["uri"], row["first_cell"], row["n_cells"], row["code"]) for row in rows)

    assert standing() == []
    parent, range_again = make_unit(1), make_unit(1, 8, 2, attempt=2)
    unopened, damaged, gone = make_unit(2, 0, 0), make_unit(3, 0, 0), make_unit(4)
    record(0, make_outcome(parent, 2, "crashed"), failed(unopened, "io_error"), failed(gone, "crashed"))
    record(0, UnitOutcome(damaged, "partial", 5, 5, (), "corrupt"))
    lake.append("retired", table_of(RETIRED, [{"video_id": gone.video.video_id, "embed_key": KEY, "at": AT}]))
    first = [("/archive/1.mp4", 8, 2, "crashed"), ("/archive/2.mp4", 0, 0, "io_error")]
    assert standing() == [*first, ("/archive/3.mp4", 0, 0, "corrupt")]
    record(1, failed(range_again, "timed_out"), failed(replace(unopened, attempt=2), "unreadable"))
    second = [("/archive/1.mp4", 8, 2, "timed_out"), ("/archive/2.mp4", 0, 0, "unreadable")]
    assert standing() == [*second, ("/archive/3.mp4", 0, 0, "corrupt")]
    record(2, make_outcome(replace(range_again, attempt=3)), make_outcome(make_unit(2, 0, 4)))
    assert standing() == [("/archive/3.mp4", 0, 0, "corrupt")]


def test_one_of_so_many_uris_is_sampled_whatever_the_batches_are(lake: Lake) -> None:
    for first in (1, 4, 5):  # files of three, one and five rows
        count = {1: 3, 4: 1, 5: 5}[first]
        videos = [(make_video(number), None) for number in range(first, first + count)]
        lake.append("videos", video_rows(videos, "/archive", "r1", AT))
    everything = sampled_uris(lake, "videos", pc.field("root") == "/archive", 1)
    assert everything == sorted(make_video(number).uri for number in range(1, 10))
    assert len(sampled_uris(lake, "videos", pc.field("root") == "/archive", 3)) == 3
    assert sampled_uris(lake, "videos", pc.field("root") == "/elsewhere", 1) == []


def test_metadata_are_what_was_said_last(lake: Lake) -> None:
    def say(hour: int, **told: str | None) -> None:
        videos = [make_video(int(number[1:])) for number in told]
        named = [
            replace(video, metadata=(("title", title),) if title else ()) for video, title in zip(videos, told.values())
        ]
        at = AT + timedelta(hours=hour)
        lake.append("videos", video_rows([(video, None) for video in named], "/archive", f"r{hour}", at))

    assert len(video_metadata(lake)) == 0
    say(1, v1="one", v2="two", v3=None, v4="four")
    say(2, v2="II", v4=None)
    batch = pa.record_batch({"video_id": [make_video(number).video_id for number in (4, 2, 9, 1, 3)]})
    found = with_metadata(batch, video_metadata(lake)).column("metadata").to_pylist()
    assert found == [[], [("title", "II")], None, [("title", "one")], None]
    only_first = video_metadata(lake, pc.field("video_id") == make_video(1).video_id)
    assert len(only_first) == 1
