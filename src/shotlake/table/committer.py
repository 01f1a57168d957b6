"""The one writer of a run's results: admits each unit once, with all its rows in one commit.

    workers write data files  ->  add() proves them and waits until their units are whole
    commit:  1. the lease, the erasures and the files are looked at
             2. the outcomes are put beside the tables, under a new name
             3. `segments` gets the files, the sequence number and the lease's epoch in one commit
             4. `units` and `failures` get the outcomes, under the same sequence number; the copy of 2 is removed

A unit is whole when its outcome has arrived and files hold as many of its rows as that says. Before 3 nothing has
happened; after 3 `recover` of the next run does 4. A task that ran twice brings its rows twice: they are admitted once,
and a file that holds such a unit beside new ones is refused, and its new units are copied to a file of their own. So it
is with units of videos that were erased meanwhile: they are dropped, and every file that holds some is removed.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import CommitError
from shotlake.records import UnitOutcome
from shotlake.table.delta import add_action
from shotlake.table.files import FileReport, check_file, copy_units, data_uri, is_there
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.outcomes import Sidecar, append_outcomes, put_outcomes
from shotlake.table.parts import Part, longest_chain
from shotlake.table.tombstones import Tombstones

log = logging.getLogger(__name__)


@dataclass(slots=True)
class CommitTotals:
    """What a committer has done; `orphans` are data files that no commit holds."""

    commits: int = 0
    units: int = 0
    rows: int = 0
    files: int = 0
    refused: int = 0
    orphans: list[str] = field(default_factory=list)


class Committer:
    """Holds finished files and outcomes until their units are whole, and commits them under the run's lease."""

    def __init__(
        self,
        lake: Lake,
        lease: Lease,
        run_id: str,
        config: TableConfig,
        metadata: Mapping[str, str] | None = None,
        tombstones: Tombstones | None = None,
    ) -> None:
        """`metadata` (code version, config digest, ...) stands in every commit. Errors: LeaseLost."""
        self.lake, self.lease, self.run_id, self.config = lake, lease, run_id, config
        self.totals = CommitTotals()
        self.metadata = {**(metadata or {}), "run_id": run_id, "lease": lease.key, "lease_epoch": str(lease.epoch)}
        # A committer that is started again within a run counts for itself.
        self._app_id = f"{run_id}/{uuid.uuid4().hex[:12]}"
        self._sequence = 0
        self._committing = False
        self._files: dict[str, FileReport] = {}
        self._parts: dict[str, list[Part]] = {}  # by unit
        self._outcomes: dict[str, UnitOutcome] = {}
        self._admitted: set[bytes] = set()
        self._erased: set[bytes] = set()  # units that are dropped
        self._dropped: list[UnitOutcome] = []
        self._lost: list[UnitOutcome] = []
        self.tombstones = tombstones or Tombstones.of(lake.root)
        self.seen_erasure = self.tombstones.number  # nothing of it and of earlier ones waits here
        self._last_commit = time.monotonic()
        lake.fence(lease.fence)

    def add(self, files: Sequence[FileReport], outcomes: Sequence[UnitOutcome]) -> None:
        """Take over what workers report; commits if enough units or time have come together.

        Errors: InvalidFile, LeaseLost, StoreError.
        """
        for outcome in outcomes:
            if self._is_of_erased(outcome):
                self._drop(outcome)
        for report in files:
            self._add_file(report)
        for outcome in outcomes:
            unit_id = outcome.unit.unit_id
            known = self._outcomes.get(unit_id)
            if not self._is_settled(unit_id) and (known is None or outcome.written >= known.written):
                self._outcomes[unit_id] = outcome
        late = time.monotonic() - self._last_commit >= self.config.commit_s
        if self._outcomes and (late or len(self._outcomes) >= self.config.commit_units):
            self.flush()

    def flush(self) -> None:
        """Commit every unit that is whole; a file waits while one of its units is not. Errors: as `add`."""
        self._commit(self._unblocked(self._whole()))

    def forget_replays(self) -> None:
        """Whoever reported so far will not report again: which units are in need not be remembered for them."""
        self._admitted.clear()

    def take_dropped(self) -> list[UnitOutcome]:
        """Outcomes of videos that were erased meanwhile, since the last call; nothing of them is or will be in."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def take_lost(self) -> list[UnitOutcome]:
        """Outcomes whose files were gone when they should have been committed, since the last call."""
        lost, self._lost = self._lost, []
        return lost

    def close(self) -> CommitTotals:
        """Commit every unit that is whole, if need be out of a file whose other units never became so."""
        self._commit(self._whole())
        for path, report in list(self._files.items()):
            log.warning("run_id=%s orphan=%s reason=its units never became whole", self.run_id, path)
            self._remove_if_erased(report)
        for unit_id in self._outcomes:
            log.warning("run_id=%s unit_id=%s deferred=its rows never became whole", self.run_id, unit_id)
        self.totals.orphans.extend(self._files)
        return self.totals

    def _add_file(self, report: FileReport) -> None:
        if report.path in self._files:
            return
        new = [span for span in check_file(self.lake.root, report) if not self._is_settled(span.unit_id)]
        if not new:
            self._refuse(report)
            return
        self._files[report.path] = report
        for span in new:
            self._parts.setdefault(span.unit_id, []).append(Part(report.path, span))

    def _is_settled(self, unit_id: str) -> bool:
        number = bytes.fromhex(unit_id)
        return number in self._admitted or number in self._erased

    def _refuse(self, report: FileReport) -> None:
        if not self._remove_if_erased(report):
            log.warning("run_id=%s refused=%s code=duplicate_unit", self.run_id, report.path)
        self.totals.refused += 1
        self.totals.orphans.append(report.path)

    def _remove_if_erased(self, report: FileReport) -> bool:
        """Remove a file of ours that no commit will hold and that holds rows of erased videos."""
        if not any(bytes.fromhex(unit_id) in self._erased for unit_id in report.unit_rows):
            return False
        storage.delete(data_uri(self.lake.root, report.path))
        return True

    def _is_of_erased(self, outcome: UnitOutcome) -> bool:
        signs = self.tombstones.signs
        return signs.is_erased(outcome.unit.video.uri) or signs.is_erased_content(outcome.content_sha256)

    def _drop(self, outcome: UnitOutcome) -> None:
        """Let go of a unit whose video was erased; its files are removed as soon as nothing else waits in them."""
        unit_id = outcome.unit.unit_id
        if bytes.fromhex(unit_id) not in self._erased:  # a task that ran twice reports it twice
            self._dropped.append(outcome)
        self._erased.add(bytes.fromhex(unit_id))
        self._outcomes.pop(unit_id, None)
        self._let_go(part.path for part in self._parts.pop(unit_id, []))

    def _let_go(self, paths: Iterable[str]) -> None:
        """Refuse those of the files in which no unit waits any more."""
        waiting = {part.path for parts in self._parts.values() for part in parts}
        for path in set(paths) - waiting:
            self._refuse(self._files.pop(path))

    def _look(self, units: dict[str, set[str]]) -> dict[str, set[str]]:
        """Those of the units that may be committed now: not erased, with all their files."""
        self._drop_erased()
        units = {unit_id: paths for unit_id, paths in units.items() if unit_id in self._outcomes}
        if units:
            self.lease.check()
        paths = {path for held in units.values() for path in held}
        gone = {path for path in paths if not is_there(self.lake.root, self._files[path])}
        return self._without(gone, units) if gone else units

    def _drop_erased(self) -> None:
        """Look at what was erased, also where nothing is to be committed: who erases waits for the answer."""
        self.tombstones.look()
        if self.tombstones.number > self.seen_erasure:
            self.seen_erasure = self.tombstones.number
            for outcome in [outcome for outcome in self._outcomes.values() if self._is_of_erased(outcome)]:
                self._drop(outcome)

    def _without(self, gone: set[str], units: dict[str, set[str]]) -> dict[str, set[str]]:
        """Give back what was in files that are gone; the next run embeds it again."""
        for unit_id in [unit_id for unit_id, parts in self._parts.items() if gone & {part.path for part in parts}]:
            log.error(
                "run_id=%s unit_id=%s deferred=its data file was removed by another program", self.run_id, unit_id
            )
            if unit_id in self._outcomes:
                self._lost.append(self._outcomes.pop(unit_id))
            self._let_go({part.path for part in self._parts.pop(unit_id)} - gone)
        for path in gone:
            del self._files[path]
        return {unit_id: paths for unit_id, paths in units.items() if unit_id in self._outcomes}

    def _whole(self) -> dict[str, set[str]]:
        """The files that hold each whole unit's rows, by unit."""
        whole = {}
        for unit_id, outcome in self._outcomes.items():
            parts = longest_chain(self._parts.get(unit_id, []))
            if sum(part.span.n_rows for part in parts) == outcome.written:
                whole[unit_id] = {part.path for part in parts}
            elif not outcome.written:
                whole[unit_id] = set()
        return whole

    def _unblocked(self, whole: dict[str, set[str]]) -> dict[str, set[str]]:
        """Without the units in a file that waits, nor those that share a file with such units, and so on."""
        while True:
            blocked = {part.path for unit_id, parts in self._parts.items() if unit_id not in whole for part in parts}
            free = {unit_id: paths for unit_id, paths in whole.items() if not paths & blocked}
            if len(free) == len(whole):
                return free
            whole = free

    def _commit(self, units: dict[str, set[str]]) -> None:
        if self._committing:
            raise CommitError("an earlier commit of this run did not end; run again, what is committed stays")
        self._last_commit = time.monotonic()
        units = self._look(units)
        if not units:
            return
        self._committing = True
        files = self._files_of(units)
        outcomes = [self._outcomes[unit_id] for unit_id in units]
        self._sequence += 1
        app = (self._app_id, self._sequence)
        name = put_outcomes(self.lake, app, Sidecar(self.run_id, outcomes, self.lease.fence))
        metadata = {**self.metadata, "outcomes": name.removeprefix(self.lake.root + "/")}
        version = self.lake.add_files([add_action(report.file) for report in files], app, self.lease.fence, metadata)
        append_outcomes(self.lake, self.run_id, outcomes, app, version, self.tombstones.signs)
        storage.delete(name)
        self._forget(units, {report.path for report in files})
        self._committing = False
        self._count(version, len(units), files)

    def _count(self, version: int, units: int, files: Sequence[FileReport]) -> None:
        rows = sum(report.n_rows for report in files)
        self.totals.commits += 1
        self.totals.units += units
        self.totals.rows += rows
        self.totals.files += len(files)
        log.info("run_id=%s version=%d units=%d rows=%d files=%d", self.run_id, version, units, rows, len(files))

    def _files_of(self, units: dict[str, set[str]]) -> list[FileReport]:
        """The files to admit: as they are, or copies without units that are in other files or not whole."""
        wanted: dict[str, list[str]] = {}
        for unit_id, paths in units.items():
            for path in paths:
                wanted.setdefault(path, []).append(unit_id)
        files = []
        for path, unit_ids in wanted.items():
            report = self._files[path]
            if set(unit_ids) != set(report.unit_rows):
                log.warning("run_id=%s copied=%d units of %s", self.run_id, len(unit_ids), path)
                report = copy_units(self.lake.root, self.run_id, report, unit_ids)
                self.totals.orphans.append(path)
            files.append(report)
        return files

    def _forget(self, units: dict[str, set[str]], committed: set[str]) -> None:
        """Drop what is committed, and the files that hold nothing else."""
        held = {path for paths in units.values() for path in paths}
        touched = set(held)
        for unit_id in units:
            self._admitted.add(bytes.fromhex(unit_id))
            del self._outcomes[unit_id]
            touched |= {part.path for part in self._parts.pop(unit_id, [])}
        waiting = {part.path for parts in self._parts.values() for part in parts}
        for path in touched - waiting:
            report = self._files.pop(path)
            if path not in held:
                self._refuse(report)
            elif path not in committed:  # a copy of it was
                self._remove_if_erased(report)
