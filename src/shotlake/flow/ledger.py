"""The books of a run: which rows each unit still owes, how each video ended, and whether everything adds up.

videos  listed  = indexed + partial + unchanged + skipped + failed + deferred      (vanished apart)
cells   planned = written + lost + deferred

What was booked is taken back where its video was erased meanwhile, or its data file removed before it was committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shotlake.errors import RETRYABLE_CODES
from shotlake.flow.pools import Report
from shotlake.records import LostRange, UnitOutcome, Usage, WorkUnit
from shotlake.table.files import FileReport

VIDEO_CLASSES = ("indexed", "partial", "unchanged", "skipped", "failed", "deferred")


class UnitTally:
    """Joins reports: an outcome is ready once all its decoded clips were written or lost.

    Rows of one unit may come in several reports, before or behind its outcome. Those of a unit that failed in the end
    are not waited for: the committer leaves them out.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, UnitOutcome] = {}
        self._written: Counter[str] = Counter()
        self._lost: dict[str, list[LostRange]] = {}

    def add(self, report: Report) -> tuple[list[FileReport], list[UnitOutcome]]:
        """The report's files, and the outcomes that are whole by now."""
        files = [FileReport.from_json(text) for text in report["files"]]
        touched: set[str] = set()
        for file in files:
            self._written.update(file.unit_rows)
            touched.update(file.unit_rows)
        for unit_id, cell, code in report["lost"]:
            self._lost.setdefault(unit_id, []).append(LostRange(cell, 1, code))
            touched.add(unit_id)
        for text in report["outcomes"]:
            outcome = UnitOutcome.from_json(text)
            self._outcomes[outcome.unit.unit_id] = outcome
            touched.add(outcome.unit.unit_id)
        ready = [self._close(unit_id) for unit_id in sorted(touched) if self._is_whole(unit_id)]
        return files, ready

    def _is_whole(self, unit_id: str) -> bool:
        outcome = self._outcomes.get(unit_id)
        if outcome is None:
            return False
        rows = self._written[unit_id] + len(self._lost.get(unit_id, ()))
        return outcome.status == "failed" or outcome.written == rows

    def _close(self, unit_id: str) -> UnitOutcome:
        outcome, lost = self._outcomes.pop(unit_id), self._lost.pop(unit_id, [])
        written = self._written.pop(unit_id, 0)
        if not lost or outcome.status == "failed":
            return outcome
        return replace(
            outcome,
            status="partial" if written else "failed",
            written=written,
            lost=(*outcome.lost, *lost),
            code=outcome.code or lost[0].code,
            message=outcome.message or f"{len(lost)} clips got no vector",
            retryable=outcome.retryable or lost[0].code in RETRYABLE_CODES,
        )


@dataclass(slots=True)
class _Open:
    """A video of this run whose units are not all done."""

    units: int
    outcomes: list[tuple[str, str]] = field(default_factory=list)  # (status, code)


@dataclass(slots=True)
class Ledger:
    """Counts of a run. Every listed object is in exactly one class, every planned cell in exactly one as well."""

    videos: Counter[str] = field(default_factory=Counter)
    cells: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)  # units by what decoded their pictures
    skips: Counter[str] = field(default_factory=Counter)  # skipped objects by their reason
    covered_us: int = 0
    failed_new: int = 0
    watched: set[str] = field(default_factory=set)  # ids of videos of which somebody wants to know whether they ended
    done: set[str] = field(default_factory=set)  # those of them that did
    _open: dict[str, _Open] = field(default_factory=dict)
    _open_cells: dict[str, int] = field(default_factory=dict)  # by unit
    _ended: dict[str, str] = field(default_factory=dict)  # class of the videos of this wave that ended
    _erased: set[str] = field(default_factory=set)  # open videos of this wave that were erased
    _lost_cells: int = 0  # of units whose data files were removed by others

    def expect(self, video_id: str, units: Sequence[WorkUnit], done: Iterable[tuple[str, str]] = ()) -> None:
        """A video whose `units` are about to run; `done` are (status, code) of units that earlier runs finished."""
        if not units:  # earlier runs did it all
            self.videos["deferred"] -= 1
            self.videos["unchanged"] += 1
            self._end(video_id)
            return
        self._open[video_id] = _Open(len(units), list(done))
        self._open_cells |= {unit.unit_id: unit.n_cells for unit in units}
        self.cells["planned"] += sum(unit.n_cells for unit in units)

    @property
    def n_done(self) -> int:
        """Listed objects that this run need not look at any more."""
        return self.videos["listed"] - self.videos["deferred"]

    def close_unit(self, outcome: UnitOutcome) -> tuple[str, str] | None:
        """Count an outcome; (status, code) of its video if that was its last unit."""
        lost = sum(part.n_cells for part in outcome.lost)
        if outcome.unit.n_cells == 0:
            self.cells["planned"] += outcome.planned  # unknown before it was decoded
        self.cells.update(written=outcome.written, lost=lost)
        self.covered_us += outcome.covered_us
        if outcome.code:
            self.codes[outcome.code] += 1
        if outcome.device:
            self.devices[outcome.device] += 1
        self._open_cells.pop(outcome.unit.unit_id)
        video_id = outcome.unit.video.video_id
        video = self._open[video_id]
        video.units -= 1
        video.outcomes.append((outcome.status, outcome.code))
        if video.units > 0:
            return None
        del self._open[video_id]
        status, code = video_status(video.outcomes)
        if video_id in self._erased:
            self.skip_erased()
            return None
        if status != "failed" or not outcome.retryable:
            self._end(video_id)
        self._ended[video_id] = status
        self.videos["deferred"] -= 1
        self.videos[status] += 1
        self.failed_new += status == "failed"
        return status, code

    def skip_erased(self) -> None:
        """A video that was to do turned out to be erased."""
        self.videos["deferred"] -= 1
        self.videos["skipped"] += 1
        self.skips["erased"] += 1

    def drop_unit(self, outcome: UnitOutcome) -> None:
        """Take a closed unit back whose video was erased before it was committed: as if it had never been listed."""
        self.cells["planned"] -= self._take_back(outcome)
        video_id = outcome.unit.video.video_id
        if video_id in self._open:
            self._erased.add(video_id)
        elif self._reopen(video_id):
            self.skip_erased()

    def defer_unit(self, outcome: UnitOutcome) -> None:
        """Take a closed unit back whose data file is gone: the next run does it."""
        self._lost_cells += self._take_back(outcome)
        self._reopen(outcome.unit.video.video_id)

    def end_wave(self) -> None:
        """What was booked so far stays."""
        self._ended.clear()
        self._erased.clear()

    def _take_back(self, outcome: UnitOutcome) -> int:
        """The cells that are neither written nor lost any more."""
        lost = sum(part.n_cells for part in outcome.lost)
        self.cells.subtract({"written": outcome.written, "lost": lost})
        self.covered_us -= outcome.covered_us
        self.codes.subtract([outcome.code] if outcome.code else [])
        self.devices.subtract([outcome.device] if outcome.device else [])
        return outcome.written + lost

    def _reopen(self, video_id: str) -> bool:
        """True if the video had ended; it is deferred now."""
        status = self._ended.pop(video_id, "")
        if status:
            self.videos[status] -= 1
            self.videos["deferred"] += 1
            self.failed_new -= status == "failed"
            self.done.discard(video_id)
        return bool(status)

    def _end(self, video_id: str) -> None:
        if video_id in self.watched:
            self.done.add(video_id)

    def close(self) -> None:
        """Cells of units that did not end were deferred."""
        self.cells["deferred"] = sum(self._open_cells.values()) + self._lost_cells

    @property
    def balanced(self) -> bool:
        """True if both sums hold."""
        videos = self.videos["listed"] == sum(self.videos[name] for name in VIDEO_CLASSES)
        parts = [self.cells[name] for name in ("written", "lost", "deferred")]
        return videos and self.cells["planned"] == sum(parts) and min(parts) >= 0

    def to_json(self) -> dict[str, Any]:
        """`videos`, `cells` and `balanced` of `backfill --json`."""
        names = ("listed", *VIDEO_CLASSES, "vanished")
        videos = {name: self.videos[name] for name in names} | {"failed_new": self.failed_new}
        cells = {name: self.cells[name] for name in ("planned", "written", "lost", "deferred")}
        skips = {reason: n for reason, n in sorted(self.skips.items()) if n}
        return {"videos": videos, "skips": skips, "cells": cells, "balanced": self.balanced}


def video_status(units: list[tuple[str, str]]) -> tuple[str, str]:
    """(indexed | partial | failed, first code) from (status, code) of all units of a video."""
    statuses = {status for status, _ in units}
    code = next((code for _, code in units if code), "")
    if statuses == {"ok"}:
        return "indexed", ""
    if statuses == {"failed"}:
        return "failed", code
    return "partial", code


def add_usage(stages: dict[str, Usage], stage: str, usage: Usage) -> None:
    """Add to one stage's total."""
    stages[stage] = stages.get(stage, Usage()) + usage
