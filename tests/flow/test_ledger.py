"""The books of a run: reports join to whole units, and every object and cell is in exactly one class."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from shotlake.flow.ledger import Ledger, UnitTally, video_status
from shotlake.records import LostRange, UnitOutcome, Usage, Video, WorkUnit
from shotlake.table.files import FileReport

VIDEO = Video("/a.mp4", "etag", 10, datetime(2026, 1, 1, tzinfo=UTC), "a")
USAGE = asdict(Usage())


def unit(first_cell: int, n_cells: int) -> WorkUnit:
    return WorkUnit(VIDEO, "key", first_cell, n_cells)


def report(rows: dict[str, int], outcomes: list[UnitOutcome] = [], lost: list[list] = []) -> dict:  # noqa: B006
    files = [FileReport("f", 1, sum(rows.values()), "key", "a", rows, {}).to_json()] if rows else []
    return {"files": files, "outcomes": [o.to_json() for o in outcomes], "lost": lost, "embed": USAGE, "write": USAGE}


def test_a_unit_is_ready_when_all_its_rows_have_come_in_whatever_order() -> None:
    first = unit(0, 5)
    outcome = UnitOutcome(first, "ok", 5, 5)
    tally = UnitTally()
    assert tally.add(report({first.unit_id: 2}))[1] == []
    assert tally.add(report({}, [outcome]))[1] == []
    assert tally.add(report({first.unit_id: 3}))[1] == [outcome]


def test_clips_without_a_vector_become_lost_cells() -> None:
    first = unit(0, 3)
    tally = UnitTally()
    lost = [[first.unit_id, 1, "non_finite_vector"]]
    (ready,) = tally.add(report({first.unit_id: 2}, [UnitOutcome(first, "ok", 3, 3)], lost))[1]
    assert (ready.status, ready.written, ready.code) == ("partial", 2, "non_finite_vector")
    assert ready.lost == (LostRange(1, 1, "non_finite_vector"),)
    assert ready.planned == ready.written + sum(part.n_cells for part in ready.lost)


def test_rows_of_a_unit_that_failed_in_the_end_are_not_waited_for() -> None:
    first = unit(0, 3)
    failed = UnitOutcome(first, "failed", 3, 0, (LostRange(0, 3, "source_changed"),), "source_changed")
    tally = UnitTally()
    assert tally.add(report({first.unit_id: 2}))[1] == []
    assert tally.add(report({}, [failed]))[1] == [failed]
    assert tally.add(report({first.unit_id: 1}))[1] == []


def test_a_unit_without_a_single_clip_is_heard_of() -> None:
    first = unit(0, 0)
    outcome = UnitOutcome(first, "failed", 0, 0, (), "not_media")
    assert UnitTally().add(report({}, [outcome]))[1] == [outcome]


def test_videos_and_cells_balance_and_what_did_not_end_is_deferred() -> None:
    ledger = Ledger()
    ledger.videos.update(listed=4, skipped=1, unchanged=1, deferred=2)
    one, two = unit(0, 5), unit(5, 5)
    ledger.expect(VIDEO.video_id, [one, two])
    ledger.expect("other", [unit(10, 4)])
    assert ledger.close_unit(UnitOutcome(one, "ok", 5, 5)) is None
    assert ledger.close_unit(UnitOutcome(two, "partial", 5, 4, (LostRange(9, 1, "truncated"),), "truncated")) == (
        "partial",
        "truncated",
    )
    ledger.close()
    assert ledger.balanced
    assert ledger.videos["partial"] == 1
    assert ledger.videos["deferred"] == 1
    assert ledger.cells["deferred"] == 4


def test_a_video_without_a_unit_left_is_unchanged() -> None:
    ledger = Ledger()
    ledger.videos.update(listed=1, deferred=1)
    ledger.expect(VIDEO.video_id, [])
    ledger.close()
    assert ledger.balanced
    assert ledger.videos["unchanged"] == 1


def test_a_missing_video_or_cell_is_seen() -> None:
    ledger = Ledger()
    ledger.videos["listed"] = 1
    assert not ledger.balanced
    ledger.videos["skipped"] = 1
    assert ledger.balanced
    ledger.cells["planned"] = 1
    ledger.close()
    assert not ledger.balanced


def test_a_video_is_as_good_as_its_units() -> None:
    assert video_status([("ok", ""), ("ok", "")]) == ("indexed", "")
    assert video_status([("failed", "crashed")]) == ("failed", "crashed")
    assert video_status([("ok", ""), ("failed", "crashed")]) == ("partial", "crashed")
