"""A lake whose files, rows and logs do not fit together is made whole, so that the next backfill does what is missing.

    1. retired    what `units` knows of lost erasures is retired again
    2. segments   unreadable files, rows that no unit claims, and doubled ones go, in one commit
    3. failures   those of units that go, in one commit with those that are made again
    4. units      units without their rows, doubled ones, unreadable files
    5. videos     objects that `units` knows are named again; then unreadable files of all other tables go
    6. outcomes   damaged copies go; what commits still owe is appended

This order is safe wherever it is cut. After 2 and 3 the units are still in `units`, so nothing embeds them a second
time, and the next repair finds them without rows. Were 4 first, a backfill after a crash would double what 2 left.
An unreadable file of `units` leaves its log only after the rows whose units it held: until then every command refuses
the lake. After each round everything is looked at anew, until nothing is left; a repair that begins again does no
more than that. Maintenance and erasure are kept out by their lease. Runs go on beside it (`diagnosis.py`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import CommitError, LeaseLost
from shotlake.table.damage import DAMAGE
from shotlake.table.diagnosis import Diagnosis, diagnose
from shotlake.table.doubles import claim_of
from shotlake.table.files import DataFile
from shotlake.table.findings import Finding, findings_of
from shotlake.table.formats import keep_log
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import LEASE_KEY
from shotlake.table.outcomes import OUTCOMES, complete_commits
from shotlake.table.rewrite import read_rows, replace, write_rows
from shotlake.table.rows import failures_again, table_of
from shotlake.table.schemas import ERASED, RETIRED, UNITS, VIDEOS, file_schema

log = logging.getLogger(__name__)

ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was found; `is_done` if nothing of it is left."""

    findings: tuple[Finding, ...]
    is_done: bool
    n_leftovers: int  # files that no version needs
    n_unused_outcomes: int
    n_busy_units: int  # of live runs: not judged


def inspect(lake: Lake) -> Repaired:
    """What is wrong; writes nothing."""
    found = diagnose(lake)
    findings = findings_of(found)
    return _repaired(findings, found)


def repair(lake: Lake, run_id: str, config: TableConfig) -> Repaired:
    """Mend what `inspect` finds, round after round. Errors: LeaseHeld while maintenance or an erasure is at work."""
    seen: list[Finding] = []
    with Lease.acquire(lake.root, LEASE_KEY, "/", run_id, config.lease_s) as lease:
        for number in range(ROUNDS):
            found = diagnose(lake)
            findings = findings_of(found)
            if not any(finding.is_mendable for finding in findings):
                break
            seen += [finding for finding in findings if finding.is_mendable]
            try:
                _Mending(lake, lease, run_id, number, found).run()
            except LeaseLost:
                raise
            except CommitError as error:  # another program replaced a file: look again
                log.info("run_id=%s round=%d again=%s", run_id, number, error)
        else:
            found = diagnose(lake)
            findings = findings_of(found)
        done = _repaired(findings, found)
    return Repaired(tuple(dict.fromkeys([*seen, *done.findings])), done.is_done, *_counts(found))


def _repaired(findings: list[Finding], found: Diagnosis) -> Repaired:
    return Repaired(tuple(findings), not findings, *_counts(found))


def _counts(found: Diagnosis) -> tuple[int, int, int]:
    return found.n_leftovers, found.owed.n_unused, found.n_busy


class _Mending:
    """One round. Before each commit the lease is looked at."""

    def __init__(self, lake: Lake, lease: Lease, run_id: str, number: int, found: Diagnosis) -> None:
        self._lake, self._lease, self._found = lake, lease, found
        self._run_id, self._at = run_id, datetime.now(UTC)
        self._app = f"{run_id}/repair-{number}"

    def run(self) -> None:
        """The steps of the module's head, in that order."""
        found = self._found
        for table in found.short_logs:
            self._lake.commit(table, keep_log)
        self._retire_again()
        if found.verdict and found.failures:
            claims = found.verdict.row_claims
            self._rewrite("segments", found.verdict.double_rows, claims)
            self._rewrite("failures", found.failures.out, again=self._failures_again(found.failures.again))
            self._rewrite("units", found.verdict.units_out)
            self._name_again(found.videos)
            for table in sorted(found.files.keys() - {"segments", "failures", "units"}):
                self._rewrite(table)
            self._settle_outcomes()

    def _retire_again(self) -> None:
        same = {"reason": ERASED, "run_id": self._run_id, "at": self._at}
        rows = [{**same, "video_id": video_id} for video_id in self._found.erased.to_pylist()]
        self._append("retired", table_of(RETIRED, rows))

    def _failures_again(self, places: pa.Table) -> pa.Table:
        """What the rows of `units` at these places say that was lost."""
        parts, files = [UNITS.empty_table()], {file.path: file for file in self._found.files["units"].sound}
        for path, numbers in _by_path(places).items():
            file = files[path]
            rows = read_rows(self._lake, "units", file)
            key = pa.array([file.partition.get("embed_key")] * len(rows), pa.string())
            parts.append(rows.append_column("embed_key", key).select(UNITS.names).take(numbers))
        return failures_again(pa.concat_tables(parts).to_pylist())

    def _name_again(self, units: pa.Table) -> None:
        """A row of `videos` for every object that only `units` names; what it is is found out when it is listed."""
        if not len(units):
            return
        roots = self._roots()
        objects = units.group_by(["video_id", "uri", "collection", "run_id"]).aggregate([("at", "min")])
        rows = {}
        for item in objects.to_pylist():
            above = [root for root in roots.get(item["run_id"], ()) if item["uri"].startswith(root.rstrip("/") + "/")]
            if above:
                same = {"root": max(above, key=len), "status": "listed", "reason": "", "metadata": []}
                rows[item["video_id"]] = {**item, **same, "run_id": self._run_id, "at": item["at_min"]}
        self._append("videos", table_of(VIDEOS, list(rows.values())))

    def _roots(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        if "runs" in self._found.files:
            for _, rows in self._found.files["runs"].read(["run_id", "roots"]):
                found |= dict(zip(rows["run_id"].to_pylist(), rows["roots"].to_pylist()))
        return found

    def _append(self, table: str, rows: pa.Table) -> None:
        if len(rows):
            self._lease.check()
            self._lake.append(table, rows, (f"{self._app}/{table}", 1))

    def _rewrite(
        self, table: str, out: pa.Table | None = None, claims: pa.Array | None = None, again: pa.Table | None = None
    ) -> None:
        """One commit: unreadable files go, rows at `out` (path, row) and of `claims` go, the rows `again` come."""
        files, numbers = self._found.files[table], _by_path(out) if out is not None else {}
        gone = [broken.file for broken in files.broken]
        new = []
        for file in files.sound:
            rows = self._left_of(table, file, numbers.get(file.path), claims)
            if rows is not None:
                gone.append(file)
                new += [write_rows(self._lake, table, rows, file.partition)] if len(rows) else []
        if not gone:
            if again is not None:
                self._append(table, again)
            return
        if again is not None and len(again):
            new.append(write_rows(self._lake, table, again, {}))
        self._lease.check()
        replace(self._lake, table, gone, new, data_change=True)
        log.info("run_id=%s table=%s files_out=%d files_in=%d", self._run_id, table, len(gone), len(new))

    def _left_of(
        self, table: str, file: DataFile, numbers: pa.Array | None, claims: pa.Array | None
    ) -> pa.Table | None:
        """The rows that stay, or None if all do; of a file that only now turns out to be damaged none are left."""
        leaving = None
        try:
            if claims is not None and len(claims):
                found = claim_of(read_rows(self._lake, table, file, ["unit_id", "run_id"]))
                leaving = pc.is_in(found, claims).to_numpy(zero_copy_only=False).copy()
            if numbers is None and (leaving is None or not leaving.any()):
                return None
            rows = read_rows(self._lake, table, file)
        except DAMAGE:
            return file_schema(table).empty_table()
        leaving = np.zeros(len(rows), np.bool_) if leaving is None else leaving
        if numbers is not None:
            leaving[numbers.to_numpy()] = True
        return rows.filter(pa.array(~leaving))

    def _settle_outcomes(self) -> None:
        folder = storage.join(self._lake.root, OUTCOMES)
        for name in self._found.owed.damaged:
            self._lease.check()
            storage.delete(storage.join(folder, name))
        if self._found.owed.copies:
            self._lease.check()
            complete_commits(self._lake)


def _by_path(places: pa.Table) -> dict[str, pa.Array]:
    """Row numbers by the path of their file."""
    if not len(places):
        return {}
    places = pa.table({"path": places["path"].cast(pa.string()), "row": places["row"]})
    grouped = places.group_by("path").aggregate([("row", "list")]).to_pydict()
    return {path: pa.array(rows, pa.int64()) for path, rows in zip(grouped["path"], grouped["row_list"])}
