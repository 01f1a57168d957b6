"""What keeps a lake small and quick: retired rows go, small files are joined, files that nothing refers to are removed.

One maintenance at a time, under a lease of its own; backfills go on beside it. Files of runs that hold a lease, and
files younger than the retention, are never removed. What is to go is listed first; then live runs are read, and then
the log once more: who wrote a listed file and does not live any more cannot commit it after that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import NotFound, Replaced
from shotlake.table.files import DataFile
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease, live_run_ids
from shotlake.table.outcomes import complete_commits, remove_outcomes
from shotlake.table.rewrite import data_files, read_rows, replace, write_rows
from shotlake.table.schemas import TABLES

log = logging.getLogger(__name__)

LEASE_KEY = "maintenance"
FILE_BYTES = 256 << 20
REWRITE_TRIES = 5

Choose = Callable[[pa.Table], pa.ChunkedArray]  # from rows (video_id, embed_key, uri, what there is of them) to a mask
Chooser = Callable[[], Choose]  # is asked once the files are listed, so that it judges by what is true then


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one maintenance did, over all tables."""

    rows_deleted: int
    files_joined: int
    files_made: int
    files_removed: int
    commits_completed: int


def maintain(lake: Lake, run_id: str, config: TableConfig) -> Maintained:
    """Complete commits, delete retired rows, join small files, checkpoint, remove what no version refers to.

    Errors: LeaseHeld while another maintenance is at work.
    """
    with Lease.acquire(lake.root, LEASE_KEY, "/", run_id, config.lease_s):
        completed = complete_commits(lake)
        deleted = delete_retired(lake)
        joined = made = removed = 0
        for table in TABLES:
            sizes = compact(lake, table)
            joined, made = joined + sizes[0], made + sizes[1]
            checkpoint(lake, table)
            removed += vacuum(lake, table, config.retention_h)
        late, gone = remove_outcomes(lake)
    done = Maintained(deleted, joined, made, removed + gone, completed + late)
    log.info("run_id=%s maintained=%s", run_id, done)
    return done


def delete_retired(lake: Lake) -> int:
    """Delete the rows of retired videos from `segments` and `pooled`; the number of rows deleted.

    The files are listed before `retired` is read: a video whose content came back has its new rows in later files.
    """
    return sum(_rewrite(lake, table, lambda: _RetiredRows(lake), ()) for table in ("segments", "pooled"))


class _RetiredRows:
    """Which rows no reader may show any more, as `retired` says when this is made."""

    def __init__(self, lake: Lake) -> None:
        retired = lake.read("retired", ["video_id", "embed_key"])
        self._ids = {
            key: pc.unique(retired["video_id"].filter(pc.fill_null(_is_key(retired["embed_key"], key), False)))
            for key in pc.unique(retired["embed_key"]).to_pylist()
        }

    def __call__(self, rows: pa.Table) -> pa.ChunkedArray:
        found = [_rows_of(rows, ids, key) for key, ids in self._ids.items()]
        none = pa.chunked_array([pa.repeat(False, len(rows))], pa.bool_())
        return reduce(pc.or_, found, none)


def _is_key(column: pa.ChunkedArray, key: str | None) -> pa.ChunkedArray:
    return pc.is_null(column) if key is None else pc.equal(column, key)


def forget(lake: Lake, video_ids: pa.Array, embed_key: str | None, run_id: str) -> None:
    """Make videos of one space or of all as new, so that a retired video whose content came back is embedded again.

    That they were retired is forgotten last: until then a crash leaves them hidden, and the next call goes on.
    """
    for table in ("segments", "pooled", "failures", "units", "retired"):
        delete_videos(lake, table, video_ids, embed_key, run_id)


def delete_videos(
    lake: Lake, table: str, video_ids: pa.Array, embed_key: str | None = None, run_id: str = "part"
) -> int:
    """Delete the rows of videos, of one space or of all; only the files that hold such rows are written anew.

    `run_id`: the run that holds a lease meanwhile, for which its files are spared; none under that of maintenance.
    """
    if not len(video_ids):
        return 0
    return _rewrite(lake, table, lambda: lambda rows: _rows_of(rows, video_ids, embed_key), (), run_id)


def delete_rows(lake: Lake, table: str, chooser: Chooser) -> int:
    """Delete the chosen rows; their number."""
    return _rewrite(lake, table, chooser, ())


def blank_rows(lake: Lake, table: str, chooser: Chooser, columns: Sequence[str]) -> int:
    """Empty some columns in the chosen rows; the number of rows chosen."""
    return _rewrite(lake, table, chooser, columns)


def _rewrite(lake: Lake, table: str, chooser: Chooser, blank: Sequence[str], run_id: str = "part") -> int:
    """Delete the chosen rows, or empty the columns `blank` in them; the number of rows chosen.

    Another program that has replaced one of the files meanwhile makes it begin again.
    """
    for _ in range(REWRITE_TRIES - 1):
        with suppress(Replaced):
            return _rewrite_once(lake, table, chooser, blank, run_id)
    return _rewrite_once(lake, table, chooser, blank, run_id)


def _rewrite_once(lake: Lake, table: str, chooser: Chooser, blank: Sequence[str], run_id: str) -> int:
    files = data_files(lake, table)
    choose = chooser()
    gone: list[DataFile] = []
    new: list[DataFile] = []
    chosen = 0
    asked = [name for name in ("video_id", "embed_key", "uri", "roots") if name in TABLES[table].names]
    for file in files:
        wanted = choose(_with_partition(_rows_now(lake, table, file, asked), file))
        if not pc.any(wanted).as_py():
            continue
        rows = _rows_now(lake, table, file)
        kept = rows if blank else rows.filter(pc.invert(wanted))
        for name in blank:
            field = rows.schema.field(name)
            emptied = pc.if_else(wanted, pa.scalar(None, field.type), rows[name])
            kept = kept.set_column(rows.schema.get_field_index(name), field, emptied)
        gone.append(file)
        new += [write_rows(lake, table, kept, file.partition, run_id)] if len(kept) else []
        chosen += pc.sum(wanted).as_py()
    replace(lake, table, gone, new, data_change=True)
    return chosen


def _rows_now(lake: Lake, table: str, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a file of the newest version.

    Errors: Replaced if an erasure has removed it, which replaces it first; NotFound if it is lost.
    """
    try:
        return read_rows(lake, table, file, columns)
    except NotFound:
        if file.path in {current.path for current in data_files(lake, table)}:
            raise
        raise Replaced(f"{file.path!r} of {table} was replaced by another program; run again") from None


def _with_partition(rows: pa.Table, file: DataFile) -> pa.Table:
    if "embed_key" in file.partition:
        rows = rows.append_column("embed_key", pa.array([file.partition["embed_key"]] * len(rows), pa.string()))
    return rows


def _rows_of(rows: pa.Table, video_ids: pa.Array, embed_key: str | None) -> pa.ChunkedArray:
    found = pc.is_in(rows["video_id"], video_ids)
    if embed_key is None or "embed_key" not in rows.column_names:
        return found
    return pc.and_(found, pc.fill_null(pc.equal(rows["embed_key"], embed_key), False))


def compact(lake: Lake, table: str) -> tuple[int, int]:
    """Join small files of each partition up to FILE_BYTES; (files before, files after) of those that were joined."""
    before = after = 0
    for files in _small_together(data_files(lake, table)):
        try:
            rows = pa.concat_tables([_rows_now(lake, table, file) for file in files])
            replace(lake, table, files, [write_rows(lake, table, rows, files[0].partition)], data_change=False)
        except Replaced as error:  # a run has made a video new; the next maintenance joins them
            log.info("table=%s not_joined=%s", table, error)
            continue
        before, after = before + len(files), after + 1
    return before, after


def checkpoint(lake: Lake, table: str) -> None:
    """Write the state of a table's log to one file, which readers open instead of every entry."""
    lake.look(table, lambda snapshot: snapshot.create_checkpoint())


def vacuum(lake: Lake, table: str, retention_h: int) -> int:
    """Remove files that no version within the retention refers to, except those of live runs; their number."""
    candidates = lake.look(
        table, lambda found: found.vacuum(retention_h, dry_run=True, enforce_retention_duration=False, full=True)
    )
    there = set(storage.names(lake.uri(table)))
    gone = unneeded(lake, table, [path for path in candidates if path in there])  # the log names removed files for long
    for path in gone:
        storage.delete(storage.join(lake.uri(table), path))
    return len(gone)


def unneeded(lake: Lake, table: str, names: Sequence[str]) -> list[str]:
    """Those of the listed data files that no version refers to and no run can commit any more.

    Live runs are read now, after the names were listed, and the log after them.
    """
    live = tuple(live_run_ids(lake.root))
    current = {file.path for file in data_files(lake, table)}
    return [name for name in names if name not in current and not name.rpartition("/")[2].startswith(live)]


def _small_together(files: Iterable[DataFile]) -> Iterator[list[DataFile]]:
    """Groups of two or more small files of one partition, each of about FILE_BYTES together."""
    groups: dict[tuple[str, ...], list[DataFile]] = {}
    for file in files:
        if file.size_bytes >= FILE_BYTES // 2:
            continue
        group = groups.setdefault(tuple(file.partition.values()), [])
        group.append(file)
        if sum(member.size_bytes for member in group) >= FILE_BYTES:
            yield groups.pop(tuple(file.partition.values()))
    yield from (group for group in groups.values() if len(group) > 1)
