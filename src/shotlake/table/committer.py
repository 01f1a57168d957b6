"""The one writer of a run's results: admits each unit once, with all its rows in one commit.

    workers write data files  ->  add() proves them and waits until their units are whole
    commit:  1. the lease is looked at           2. the outcomes are put beside the tables, under a new name
             3. `segments` gets the files, the sequence number and the lease's epoch in one commit
             4. `units` and `failures` get the outcomes, under the same sequence number; the copy of 2 is removed

A unit is whole when its outcome has arrived and files hold as many of its rows as that says. Before 3 nothing has
happened; after 3 `recover` of the next run does 4. A task that ran twice brings its rows twice: they are admitted once,
and a file that holds such a unit beside new ones is refused, and its new units are copied to a file of their own.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deltalake.transaction import AddAction

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import CommitError, NotFound
from shotlake.records import UnitOutcome
from shotlake.table.files import FileReport, UnitSpan, check_file, copy_units
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.rows import failure_rows, unit_rows

log = logging.getLogger(__name__)

OUTCOMES = "outcomes"


@dataclass(slots=True)
class CommitTotals:
    """What a committer has done; `orphans` are data files that no commit holds."""

    commits: int = 0
    units: int = 0
    rows: int = 0
    files: int = 0
    refused: int = 0
    orphans: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one unit in one waiting file."""

    path: str
    span: UnitSpan


class Committer:
    """Holds finished files and outcomes until their units are whole, and commits them under the run's lease."""

    def __init__(
        self, lake: Lake, lease: Lease, run_id: str, config: TableConfig, metadata: Mapping[str, str] | None = None
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
        self._parts: dict[str, list[_Part]] = {}  # by unit
        self._outcomes: dict[str, UnitOutcome] = {}
        self._admitted: set[bytes] = set()
        self._last_commit = time.monotonic()
        lake.fence(lease.fence)

    def add(self, files: Sequence[FileReport], outcomes: Sequence[UnitOutcome]) -> None:
        """Take over what workers report; commits if enough units or time have come together.

        Errors: InvalidFile, LeaseLost, StoreError.
        """
        for report in files:
            self._add_file(report)
        for outcome in outcomes:
            unit_id = outcome.unit.unit_id
            known = self._outcomes.get(unit_id)
            if not self._is_admitted(unit_id) and (known is None or outcome.written >= known.written):
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

    def close(self) -> CommitTotals:
        """Commit every unit that is whole, if need be out of a file whose other units never became so."""
        self._commit(self._whole())
        for path in self._files:
            log.warning("run_id=%s orphan=%s reason=its units never became whole", self.run_id, path)
        for unit_id in self._outcomes:
            log.warning("run_id=%s unit_id=%s deferred=its rows never became whole", self.run_id, unit_id)
        self.totals.orphans.extend(self._files)
        return self.totals

    def _add_file(self, report: FileReport) -> None:
        if report.path in self._files:
            return
        new = [span for span in check_file(self.lake.root, report) if not self._is_admitted(span.unit_id)]
        if not new:
            self._refuse(report.path)
            return
        self._files[report.path] = report
        for span in new:
            self._parts.setdefault(span.unit_id, []).append(_Part(report.path, span))

    def _is_admitted(self, unit_id: str) -> bool:
        return bytes.fromhex(unit_id) in self._admitted

    def _refuse(self, path: str) -> None:
        log.warning("run_id=%s refused=%s code=duplicate_unit", self.run_id, path)
        self.totals.refused += 1
        self.totals.orphans.append(path)

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
        if not units:
            return
        self.lease.check()
        self._committing = True
        files = self._files_of(units)
        outcomes = [self._outcomes[unit_id] for unit_id in units]
        self._sequence += 1
        name = storage.join(self.lake.root, OUTCOMES, self._app_id, f"{self._sequence:08d}.jsonl")
        app = (self._app_id, self._sequence)
        storage.create(name, _sidecar(self.run_id, outcomes))
        metadata = {**self.metadata, "outcomes": name.removeprefix(self.lake.root + "/")}
        version = self.lake.add_files([_add_action(report) for report in files], app, self.lease.fence, metadata)
        _append_outcomes(self.lake, self.run_id, outcomes, app, version)
        storage.delete(name)
        self._forget(units)
        self._committing = False
        rows = sum(report.n_rows for report in files)
        self.totals.commits += 1
        self.totals.units += len(units)
        self.totals.rows += rows
        self.totals.files += len(files)
        log.info("run_id=%s version=%d units=%d rows=%d files=%d", self.run_id, version, len(units), rows, len(files))

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

    def _forget(self, units: dict[str, set[str]]) -> None:
        """Drop what is committed, and the files that hold nothing else."""
        held = {path for paths in units.values() for path in paths}
        touched = set(held)
        for unit_id in units:
            self._admitted.add(bytes.fromhex(unit_id))
            del self._outcomes[unit_id]
            touched |= {part.path for part in self._parts.pop(unit_id, [])}
        waiting = {part.path for parts in self._parts.values() for part in parts}
        for path in touched - waiting:
            del self._files[path]
            if path not in held:
                self._refuse(path)


def longest_chain(parts: Sequence[_Part]) -> list[_Part]:
    """Of parts whose cells may overlap, those without overlap that hold the most rows."""
    parts = sorted(parts, key=lambda part: part.span.last_cell)
    ends = [part.span.last_cell for part in parts]
    best: list[tuple[int, list[_Part]]] = [(0, [])]
    for part in parts:
        rows, before = best[bisect_left(ends, part.span.first_cell)]
        best.append(max(best[-1], (rows + part.span.n_rows, [*before, part]), key=lambda chain: chain[0]))
    return best[-1][1]


def recover(lake: Lake, lease: Lease) -> int:
    """Shut earlier holders of the lease out, then give `units` and `failures` what commits before a crash owe them.

    Call it after the lease is acquired and before `finished_units` is read. Gives the number of commits completed.
    Errors: LeaseLost, StoreError.
    """
    lake.fence(lease.fence)
    return complete_commits(lake)


def complete_commits(lake: Lake) -> int:
    """Append to `units` and `failures` what commits of `segments` owe them; harmless beside their run."""
    completed = 0
    folder = storage.join(lake.root, OUTCOMES)
    for name in storage.names(folder):
        app_id, _, number = name.removesuffix(".jsonl").rpartition("/")
        app = (app_id, int(number))
        if lake.transaction_version("segments", app_id) < app[1]:
            continue  # step 3 did not happen: its units are planned again
        try:
            run_id, outcomes = _read_sidecar(storage.read_bytes(storage.join(folder, name)))
        except NotFound:  # its run is alive and has just done it
            continue
        _append_outcomes(lake, run_id, outcomes, app, lake.version("segments"))
        storage.delete(storage.join(folder, name))
        log.info("recovered=%s units=%d", name, len(outcomes))
        completed += 1
    return completed


def _append_outcomes(lake: Lake, run_id: str, outcomes: list[UnitOutcome], app: tuple[str, int], version: int) -> None:
    at = datetime.now(UTC)
    lake.append("units", unit_rows(outcomes, run_id, version, at), app)
    failures = failure_rows(outcomes, run_id, at)
    if len(failures):
        lake.append("failures", failures, app)


def _sidecar(run_id: str, outcomes: Iterable[UnitOutcome]) -> bytes:
    return "\n".join([json.dumps({"run_id": run_id}), *(outcome.to_json() for outcome in outcomes)]).encode()


def _read_sidecar(data: bytes) -> tuple[str, list[UnitOutcome]]:
    head, *lines = data.decode().split("\n")
    return json.loads(head)["run_id"], [UnitOutcome.from_json(line) for line in lines]


def _add_action(report: FileReport) -> AddAction:
    return AddAction(
        path=report.path,
        size=report.size_bytes,
        partition_values={"embed_key": report.embed_key, "collection": report.collection},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(report.stats),
    )
