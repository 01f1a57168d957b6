"""New, changed, vanished, and what is left to do, from tables of one root."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from tests.catalog.listed import listed_table

from shotlake.catalog.changes import (
    Again,
    compare,
    earlier_units,
    lost_with,
    match_moved,
    progress,
    videos_of,
)
from shotlake.records import ClipSpec, Video

AT = datetime(2026, 3, 1, tzinfo=UTC)
SPEC = ClipSpec(2_000_000, 2_000_000, 16, 48, 48, 16_000)
UNITS = pa.schema(
    [
        ("video_id", pa.string()),
        ("first_cell", pa.int64()),
        ("n_cells", pa.int64()),
        ("status", pa.string()),
        ("code", pa.string()),
        ("written", pa.int64()),
        (
            "lost_ranges",
            pa.list_(pa.struct([("first_cell", pa.int64()), ("n_cells", pa.int64()), ("code", pa.string())])),
        ),
        ("retryable", pa.bool_()),
        ("attempts", pa.int32()),
    ]
)


def video(name: str, etag: str = "e") -> Video:
    return Video(f"s3://b/{name}", etag, 10, AT, "b", None)


def known(*videos: Video, status: str = "listed") -> pa.Table:
    table = listed_table(videos)
    return table.append_column("status", pa.array([status] * len(videos), pa.string()))


def unit(
    video_id: str, first: int, n: int, status: str = "ok", written: int | None = None, **more: Any
) -> dict[str, Any]:
    lost = more.pop("lost", [])
    if written is None:
        written = 0 if status == "failed" else n - sum(count for _, count, _ in lost)
    ranges = [{"first_cell": a, "n_cells": b, "code": c} for a, b, c in lost]
    base = {
        "code": "" if status == "ok" else "crashed",
        "retryable": False,
        "attempts": 1,
        "lost_ranges": ranges,
        "written": written,
    }
    return {"video_id": video_id, "first_cell": first, "n_cells": n, "status": status, **base, **more}


def units(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), UNITS)


def sort(
    rows: pa.Table, duration_s: dict[str, float | None], max_attempts: int = 3, codes: frozenset[str] = frozenset()
) -> dict[str, str]:
    durations = [None if s is None else int(s * 1e6) for s in duration_s.values()]
    videos = pa.table({"video_id": list(duration_s), "duration_us": pa.array(durations, pa.int64())})
    found = progress(videos, rows, SPEC, Again(max_attempts, codes))
    return {
        video_id: name
        for name in ("complete", "exhausted", "todo")
        for video_id in getattr(found, name)["video_id"].to_pylist()
    }


def test_a_listing_is_split_by_what_is_known() -> None:
    listed = listed_table([video("new"), video("same"), video("other", "e2"), video("back")])
    before = pa.concat_tables(
        [known(video("same"), video("other", "e1"), video("gone")), known(video("back"), status="vanished")]
    )
    changes = compare(listed, before)
    assert changes.new["uri"].to_pylist() == ["s3://b/new", "s3://b/back"]
    assert changes.changed["uri"].to_pylist() == ["s3://b/other"]
    assert changes.superseded["video_id"].to_pylist() == [video("other", "e1").video_id]
    assert changes.unchanged["uri"].to_pylist() == ["s3://b/same"]
    assert changes.vanished["uri"].to_pylist() == ["s3://b/gone"]


def test_nothing_known_and_nothing_listed() -> None:
    first = compare(listed_table([video("a")]), known())
    assert (first.new.num_rows, first.vanished.num_rows) == (1, 0)
    last = compare(listed_table([]), known(video("a")))
    assert (last.new.num_rows, last.vanished.num_rows) == (0, 1)


def test_videos_survive_the_table() -> None:
    odd = Video("s3://b/a//b/\n%2F ü", "e", 10, AT, "b", "v1")
    assert list(videos_of(listed_table([odd]))) == [odd]


def test_a_video_is_complete_when_all_cells_are_settled() -> None:
    rows = units(
        unit("whole", 0, 5),
        unit("whole", 5, 5, "partial", lost=[(8, 2, "truncated")]),
        unit("half", 0, 5),
        unit("unknown", 0, 0, written=7),
    )
    lengths = {"whole": 20.0, "half": 20.0, "unknown": None, "never": 20.0, "never_opened": None}
    assert sort(rows, lengths) == {
        "whole": "complete", "half": "todo", "unknown": "complete", "never": "todo", "never_opened": "todo"
    }  # fmt: skip


def test_failures_are_tried_again_until_no_attempt_is_left() -> None:
    rows = units(
        unit("bad", 0, 10, "failed"),
        unit("slow", 0, 10, "failed", retryable=True),
        unit("given_up", 0, 10, "failed", retryable=True, attempts=3),
        unit("not_media", 0, 0, "failed"),
        unit("unreached", 0, 0, "failed", retryable=True),
    )
    lengths = {"bad": 20.0, "slow": 20.0, "given_up": 20.0, "not_media": None, "unreached": None}
    assert sort(rows, lengths) == {
        "bad": "exhausted", "slow": "todo", "given_up": "exhausted", "not_media": "exhausted", "unreached": "todo"
    }  # fmt: skip


def test_lost_ranges_of_a_partial_unit_are_settled_by_units_of_their_own() -> None:
    parent = unit("v", 0, 10, "partial", lost=[(4, 2, "crashed"), (8, 2, "truncated")], retryable=True)
    assert sort(units(parent), {"v": 20.0}) == {"v": "todo"}
    assert sort(units(parent, unit("v", 4, 2)), {"v": 20.0}) == {"v": "complete"}
    still = unit("v", 4, 2, "failed", retryable=True, attempts=2)
    assert sort(units(parent, still), {"v": 20.0}) == {"v": "todo"}
    assert sort(units(parent, still), {"v": 20.0}, max_attempts=2) == {"v": "complete"}


def test_what_is_planned_again() -> None:
    rows = units(
        unit("v", 0, 5),
        unit("v", 5, 5, "failed", retryable=True, attempts=2),
        unit("v", 10, 5, "failed"),
        unit("w", 0, 10, "partial", lost=[(4, 2, "crashed"), (8, 2, "truncated")], retryable=True),
        unit("x", 0, 0, "failed", retryable=True),
        unit("elsewhere", 0, 5),
    )
    found = earlier_units(rows, pa.array(["v", "w", "x"]), Again(3))
    assert set(found) == {"v", "w", "x"}
    assert sorted(found["v"].known) == [(0, 5), (5, 5), (10, 5)]
    assert found["v"].retry == [((5, 5), 3)]
    assert sorted(found["v"].done) == [("failed", "crashed"), ("ok", "")]
    assert found["w"].retry == [((4, 2), 2)]
    assert (found["x"].known, found["x"].next_attempt) == ([], 2)


def test_a_lost_range_that_failed_again_counts_its_own_attempts() -> None:
    rows = units(
        unit("w", 0, 10, "partial", lost=[(4, 2, "crashed")], retryable=True),
        unit("w", 4, 2, "failed", retryable=True, attempts=2),
    )
    assert earlier_units(rows, pa.array(["w"]), Again(3))["w"].retry == [((4, 2), 3)]
    assert earlier_units(rows, pa.array(["w"]), Again(2))["w"].retry == []


def test_what_was_lost_with_a_named_code_is_planned_again_whatever_its_attempts() -> None:
    rows = units(
        unit("bad", 0, 0, "failed", code="unreadable", attempts=3),
        unit("other", 0, 10, "failed", code="crashed", attempts=3),
        unit("part", 0, 10, "partial", code="truncated", lost=[(4, 2, "corrupt"), (8, 2, "truncated")]),
        unit("whole", 0, 10),
    )
    codes = frozenset({"unreadable", "corrupt"})
    lengths = {"bad": None, "other": 20.0, "part": 20.0, "whole": 20.0}
    assert sort(rows, lengths) == {"bad": "exhausted", "other": "exhausted", "part": "complete", "whole": "complete"}
    assert sort(rows, lengths, codes=codes) == {
        "bad": "todo", "other": "exhausted", "part": "todo", "whole": "complete"
    }  # fmt: skip
    assert sorted(lost_with(rows, codes).to_pylist()) == ["bad", "part"]
    found = earlier_units(rows, pa.array(["bad", "part"]), Again(3, codes))
    assert found["bad"].next_attempt == 4
    assert found["part"].retry == [((4, 2), 2)]
    assert len(lost_with(rows, frozenset())) == 0


def test_moved_objects_are_found_by_content_and_then_by_key() -> None:
    def at(root: str, key: str, etag: str, size: int = 10) -> Video:
        return Video(f"{root}/{key}", etag, size, AT, "c")

    old = [at("/a", "x", "1"), at("/a", "y", "1"), at("/a", "z", "2"), at("/a", "empty", "3", 0), at("/a", "gone", "4")]
    new = [at("/b", "y", "1"), at("/b", "renamed", "2"), at("/b", "empty", "3", 0), at("/b", "z", "5")]
    before = pa.concat_tables([known(*old[:2]), known(*old[2:], status="vanished"), known(new[3], status="skipped")])
    moves = match_moved(listed_table(new), before, "/b", "/a")
    assert moves == [(old[1].video_id, new[0]), (old[2].video_id, new[1])]
