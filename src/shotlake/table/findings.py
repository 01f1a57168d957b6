"""What a diagnosis says to a person: one line a fault, with numbers, an example, and what repair does about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc

from shotlake.table.damage import TableFiles
from shotlake.table.diagnosis import Diagnosis

_NAMED = 3  # files that a line names

_FILE_ACTIONS = {
    "segments": "they leave the log, and their units leave `units`: the next backfill does these again",
    "units": "they leave the log, and the rows of units that nobody knows then go: the next backfill does them again",
    "failures": "they leave the log, and what they said is made again from `units`, without the messages",
    "videos": "they leave the log, and what `units` knows is named again: the next backfill probes it again, no more",
    "retired": "they leave the log, and videos whose rows say that they were erased are retired again. NOT KNOWN any "
    "more: erased videos that never had a unit (erase them again), and which rows were superseded: those are shown "
    "until the next backfill of their root, or the same relocate, is made",
    "pooled": "they leave the log: the next backfill or maintain makes their rows again",
    "runs": "they leave the log: what they said of runs is lost",
    "costs": "they leave the log: the costs in them are lost",
    "erasures": "they leave the log: who asked for these erasures is lost, what was erased stays erased",
}
_AGAIN = "taken out of `units`, with what is left of them: the next backfill does them again"


@dataclass(frozen=True, slots=True)
class Finding:
    """A thing that is wrong, in words: a stable `kind`, where, what it is, and what repair does about it.

    Not `is_mendable`: repair can only say it.
    """

    kind: str
    table: str
    what: str
    action: str
    is_mendable: bool = True


def findings_of(found: Diagnosis) -> list[Finding]:
    """All faults of a diagnosis, those of files first."""
    lines = [
        Finding("lost_log", table, f"its log cannot be read: {why}", "nothing: bring it back from a copy", False)
        for table, why in found.lost_logs.items()
    ]
    lines += [
        Finding("log_retention", table, "keeps no log, since an erasure was cut off", "it keeps 30 days again")
        for table in found.short_logs
    ]
    lines += [_of_files(files) for files in found.files.values() if files.broken]
    return [*lines, *_of_rows(found), *_of_failures(found), *_of_outcomes(found)]


def _of_files(files: TableFiles) -> Finding:
    total = len(files.broken) + len(files.sound)
    named = "; ".join(f"{broken.file.path} {broken.why}" for broken in files.broken[:_NAMED])
    more = f"; and {len(files.broken) - _NAMED} more" if len(files.broken) > _NAMED else ""
    what = f"{len(files.broken)} of {total} data files cannot be used: {named}{more}"
    return Finding("broken_file", files.table, what, _FILE_ACTIONS[files.table])


def _of_rows(found: Diagnosis) -> Iterator[Finding]:
    if found.verdict is None:
        return
    verdict = found.verdict
    if verdict.n_doubles:
        yield Finding("doubled_rows", "segments", f"{verdict.n_doubles} rows are there twice", "one of each stays")
    if verdict.n_doubled_units:
        what = f"{verdict.n_doubled_units} rows tell of a unit and an attempt that another row tells of"
        yield Finding("doubled_units", "units", what, "the newest whose rows are there stays")
    if n := len(verdict.short):
        written, there = (pc.sum(verdict.short[name]).as_py() for name in ("written", "there"))
        example = f"such as {verdict.short['unit_id'][0].as_py()}"
        yield Finding(
            "unit_without_rows", "units", f"{n} units ({example}) wrote {written} rows, {there} are there", _AGAIN
        )
    if n := len(verdict.overlapping):
        what = f"{n} units (such as {verdict.overlapping[0].as_py()}) have segments of a newer unit"
        yield Finding("overlapping_unit", "units", what, _AGAIN)
    if n := len(verdict.lone):
        what = f"{pc.sum(verdict.lone['n']).as_py()} rows of {n} units that `units` does not know"
        action = "removed: the next backfill does them again"
        yield Finding("rows_without_unit", "segments", what, action)
    if n := verdict.n_hidden:
        yield Finding("rows_in_part", "segments", f"{n} rows of retired videos, whose other rows are gone", "removed")


def _of_failures(found: Diagnosis) -> Iterator[Finding]:
    if found.failures is None:
        return
    if n := found.failures.n_lone:
        yield Finding("failure_without_unit", "failures", f"{n} rows of units that `units` does not have", "removed")
    if n := found.failures.n_doubled:
        yield Finding("doubled_failures", "failures", f"{n} rows are there twice", "one of each stays")
    if n := len(found.failures.again):
        what = f"{n} units lost something of which no row tells, or more"
        yield Finding("unit_without_failures", "failures", what, "made again from `units`, without the messages")


def _of_outcomes(found: Diagnosis) -> Iterator[Finding]:
    if n := len(found.owed.copies):
        what = f"{n} commits of runs that were killed still owe {len(found.owed.pending)} units"
        yield Finding("owed_units", "units", what, "appended from the copies of their outcomes")
    if n := len(found.owed.damaged):
        what = f"{n} copies of outcomes are damaged, such as {found.owed.damaged[0]}"
        yield Finding("damaged_outcomes", "units", what, "removed, with the rows of their commits")
