"""What is wrong with the tables of a lake. Nothing is written here, and no file's absence stops it.

What is read, and in which order, is what makes it true beside runs that write: `units`, then `segments`, then who is
alive and which commits still owe their units, then `failures`, then `units` once more. A unit of the first look has its
rows in `segments`; a run that was not alive at that moment has by then written what it owed, or left a copy of it. So
only units of live runs, and those that came between the two looks, are left for the next time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.errors import NotFound, ShotlakeError
from shotlake.records import UnitOutcome
from shotlake.table.claims import (
    FAILURE_COLUMNS,
    UNIT_COLUMNS,
    FailureVerdict,
    Verdict,
    judge,
    judge_failures,
    located,
    without_units,
)
from shotlake.table.damage import TableFiles
from shotlake.table.doubles import SegmentRows, segment_rows
from shotlake.table.formats import keeps_no_log
from shotlake.table.lake import Lake
from shotlake.table.lease import live_run_ids
from shotlake.table.outcomes import OUTCOMES
from shotlake.table.schemas import ERASED, TABLES


@dataclass(slots=True)
class Owed:
    """The copies of outcomes: claims of commits that happened, damaged ones, and how many commits came to nothing."""

    pending: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)  # of those commits whose run is dead
    damaged: list[str] = field(default_factory=list)
    n_unused: int = 0


@dataclass(slots=True)
class Diagnosis:
    """All that was found, and what mending it needs. `verdict` is None where `units` or `segments` has no log."""

    files: dict[str, TableFiles] = field(default_factory=dict)
    lost_logs: dict[str, str] = field(default_factory=dict)
    short_logs: list[str] = field(default_factory=list)
    owed: Owed = field(default_factory=Owed)
    live: set[str] = field(default_factory=set)
    n_busy: int = 0
    verdict: Verdict | None = None
    failures: FailureVerdict | None = None
    erased: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))  # to be retired again
    videos: pa.Table = field(default_factory=lambda: pa.table({}))  # units whose video has no row any more
    n_leftovers: int = 0


def diagnose(lake: Lake) -> Diagnosis:
    """Look at everything. Errors: StoreError, AccessDenied where the store itself does not answer."""
    found = Diagnosis()
    for table in TABLES:
        try:
            found.files[table] = TableFiles.look(lake, table)
            if keeps_no_log(lake.configuration(table)):
                found.short_logs.append(table)
        except ShotlakeError as error:
            found.lost_logs[table] = error.message
    for table in found.files.keys() - {"segments", "units", "failures", "retired"}:
        for _ in found.files[table].read(TABLES[table].names):  # a file of which a page is damaged counts as well
            pass
    _judge(lake, found)
    for files in found.files.values():
        found.n_leftovers += _leftovers(lake, files)
    return found


def _judge(lake: Lake, found: Diagnosis) -> None:
    files = found.files
    if not {"segments", "units", "failures", "retired"} <= files.keys():
        found.live = live_run_ids(lake.root)
        found.owed = _owed(lake, found.live)
        return
    retired = _retired(files["retired"])
    first = located(files["units"], ["unit_id", "run_id"])["claim"]
    # Names are long: they are read where something is to be made again from them.
    is_named = any(name in files and files[name].broken for name in ("retired", "videos"))
    rows = segment_rows(files["segments"])
    found.live = live_run_ids(lake.root)
    found.owed = _owed(lake, found.live)
    failures = located(files["failures"], [*FAILURE_COLUMNS, *(("video_id", "uri") if is_named else ())])
    files["units"] = TableFiles.look(lake, "units")
    units = located(files["units"], [*UNIT_COLUMNS, *(("uri", "collection") if is_named else ())])
    retired = pa.concat_tables([retired, _retired(TableFiles.look(lake, "retired"))])

    fresh = units.filter(pc.invert(pc.is_in(units["claim"], first.combine_chunks())))
    busy = _busy([units, rows.counts, failures], found.live, fresh["unit_id"])
    found.n_busy = len(busy)
    units, failures = without_units(units, busy), without_units(failures, busy)
    rows = SegmentRows(without_units(rows.counts, busy), without_units(rows.doubled, busy))
    if files["retired"].broken:
        found.erased = _erased_again(retired, [units, failures])
    pending = pa.array(found.owed.pending, pa.string())
    is_retired = _is_retired(units, retired, found.erased)
    found.verdict = judge(units.append_column("is_retired", is_retired), rows, pending)
    found.failures = judge_failures(failures, units, found.verdict.units_kept, pending)
    if "videos" in files and files["videos"].broken and is_named:
        known = _joined([rows["video_id"] for _, rows in files["videos"].read(["video_id"])])
        kept = found.verdict.units_kept
        unknown = pc.invert(pc.is_in(kept["video_id"], known))
        found.videos = kept.filter(pc.and_(unknown, pc.is_valid(kept["uri"])))


def _busy(tables: list[pa.Table], live: set[str], fresh: pa.ChunkedArray) -> pa.Array:
    """Ids of the units that a live run has to do with, or that were not there at the first look."""
    runs = pa.array(sorted(live), pa.string())
    ids = [table.filter(pc.is_in(table["run_id"], runs))["unit_id"] for table in tables]
    return pc.unique(_joined([*ids, fresh]))


def _retired(files: TableFiles) -> pa.Table:
    empty = TABLES["retired"].empty_table().select(["video_id", "embed_key", "reason"])
    return pa.concat_tables([empty, *(rows for _, rows in files.read(empty.column_names))])


def _is_retired(units: pa.Table, retired: pa.Table, erased: pa.Array) -> pa.ChunkedArray:
    """[U] True for units whose video is retired in their space, or everywhere."""
    everywhere = retired["video_id"].filter(pc.is_null(retired["embed_key"]))
    here = pc.binary_join_element_wise(retired["video_id"], retired["embed_key"], "/")
    mine = pc.binary_join_element_wise(units["video_id"], units["embed_key"], "/")
    found = pc.is_in(units["video_id"], _joined([everywhere, pa.chunked_array([erased])]))
    return pc.or_(found, pc.is_in(mine, here.combine_chunks().drop_null()))


def _erased_again(retired: pa.Table, tables: list[pa.Table]) -> pa.Array:
    """Ids of videos whose rows erasure has blanked, without those that `retired` still says are erased."""
    ids = pc.unique(_joined([rows["video_id"].filter(pc.is_null(rows["uri"])) for rows in tables]))
    known = retired["video_id"].filter(pc.equal(retired["reason"], ERASED)).combine_chunks()
    return ids.filter(pc.invert(pc.is_in(ids, known)))


def _owed(lake: Lake, live: set[str]) -> Owed:
    folder, found = storage.join(lake.root, OUTCOMES), Owed()
    for name in storage.names(folder):
        app_id, _, number = name.removesuffix(".jsonl").rpartition("/")
        try:
            if lake.transaction_version("segments", app_id) < int(number):
                found.n_unused += 1
                continue
            found.pending += _claims_in(storage.read_bytes(storage.join(folder, name)).decode())
            if name.split("/")[0] not in live:
                found.copies.append(name)
        except NotFound:  # its run has just appended what it says
            continue
        except (ValueError, KeyError, TypeError):
            if name.split("/")[0] not in live:
                found.damaged.append(name)
    return found


def _claims_in(text: str) -> list[str]:
    head, *lines = text.split("\n")
    run_id = json.loads(head)["run_id"]
    return [f"{UnitOutcome.from_json(line).unit.unit_id}/{run_id}" for line in lines]


def _leftovers(lake: Lake, files: TableFiles) -> int:
    """Files that the newest version does not name: of older versions, and of programs that were killed."""
    named = {file.path for file in files.sound} | {broken.file.path for broken in files.broken}
    names = storage.names(lake.uri(files.table))
    return sum(name.endswith(".parquet") and not name.startswith("_delta_log/") and name not in named for name in names)


def _joined(columns: list[pa.ChunkedArray]) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.string()), *(column.combine_chunks() for column in columns)])
