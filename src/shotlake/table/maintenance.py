"""What keeps a lake small and quick: retired rows go, small files are joined, files that nothing refers to are removed.

One maintenance at a time, under a lease of its own; backfills go on beside it. Files of runs that hold a lease, and
files younger than the retention, are never removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.table.committer import OUTCOMES, complete_commits
from shotlake.table.lake import Lake, delta_errors
from shotlake.table.lease import Lease, live_run_ids
from shotlake.table.rewrite import DataFile, data_files, read_rows, replace, write_rows
from shotlake.table.schemas import TABLES

log = logging.getLogger(__name__)

LEASE_KEY = "maintenance"
FILE_BYTES = 256 << 20


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
        removed += _remove_outcomes(lake)
    done = Maintained(deleted, joined, made, removed, completed)
    log.info("run_id=%s maintained=%s", run_id, done)
    return done


def delete_retired(lake: Lake) -> int:
    """Delete the rows of retired videos from `segments` and `pooled`; the number of rows deleted."""
    retired = lake.read("retired", ["video_id", "embed_key"])
    deleted = 0
    for key in pc.unique(retired["embed_key"]).to_pylist():
        mine = pc.is_null(retired["embed_key"]) if key is None else pc.equal(retired["embed_key"], key)
        gone = pc.unique(retired["video_id"].filter(pc.fill_null(mine, False)))
        for table in ("segments", "pooled"):
            deleted += delete_videos(lake, table, gone, key)
    return deleted


def forget(lake: Lake, video_ids: pa.Array, embed_key: str) -> None:
    """Make videos of one space as new, so that a retired video whose content came back is embedded again.

    That they were retired is forgotten last: until then a crash leaves them hidden, and the next call goes on.
    """
    for table in ("segments", "pooled", "failures", "units", "retired"):
        delete_videos(lake, table, video_ids, embed_key)


def delete_videos(lake: Lake, table: str, video_ids: pa.Array, embed_key: str | None = None) -> int:
    """Delete the rows of videos, of one space or of all; only the files that hold such rows are written anew."""
    if not len(video_ids):
        return 0
    return _rewrite(lake, table, lambda rows: _rows_of(rows, video_ids, embed_key), ())


def blank_videos(lake: Lake, table: str, video_ids: pa.Array, columns: Sequence[str]) -> int:
    """Empty some columns in the rows of videos, `uri` among them; rows without a uri are left as they are."""
    return _rewrite(
        lake, table, lambda rows: pc.and_(_rows_of(rows, video_ids, None), pc.is_valid(rows["uri"])), columns
    )


def _rewrite(lake: Lake, table: str, choose: Callable[[pa.Table], pa.ChunkedArray], blank: Sequence[str]) -> int:
    """Delete the chosen rows, or empty the columns `blank` in them; the number of rows chosen."""
    gone: list[DataFile] = []
    new: list[DataFile] = []
    chosen = 0
    for file in data_files(lake, table):
        wanted = choose(_with_partition(read_rows(lake, table, file, ["video_id", "embed_key", "uri"]), file))
        if not pc.any(wanted).as_py():
            continue
        rows = read_rows(lake, table, file)
        kept = rows if blank else rows.filter(pc.invert(wanted))
        for name in blank:
            field = rows.schema.field(name)
            emptied = pc.if_else(wanted, pa.scalar(None, field.type), rows[name])
            kept = kept.set_column(rows.schema.get_field_index(name), field, emptied)
        gone.append(file)
        new += [write_rows(lake, table, kept, file.partition)] if len(kept) else []
        chosen += pc.sum(wanted).as_py()
    replace(lake, table, gone, new, data_change=True)
    return chosen


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
        rows = pa.concat_tables([read_rows(lake, table, file) for file in files])
        replace(lake, table, files, [write_rows(lake, table, rows, files[0].partition)], data_change=False)
        before, after = before + len(files), after + 1
    return before, after


def checkpoint(lake: Lake, table: str) -> None:
    """Write the state of a table's log to one file, which readers open instead of every entry."""
    with delta_errors(lake.uri(table)):
        lake.table(table).create_checkpoint()


def vacuum(lake: Lake, table: str, retention_h: int) -> int:
    """Remove files that no version within the retention refers to, except those of live runs; their number."""
    with delta_errors(lake.uri(table)):
        snapshot = lake.table(table)
        candidates = snapshot.vacuum(retention_h, dry_run=True, enforce_retention_duration=False, full=True)
    there, live = set(storage.names(lake.uri(table))), live_run_ids(lake.root)
    old = [path for path in candidates if path in there]  # the log names removed files long after
    gone = [path for path in old if not any(path.rpartition("/")[2].startswith(run_id) for run_id in live)]
    for path in gone:
        storage.delete(storage.join(lake.uri(table), path))
    return len(gone)


def _remove_outcomes(lake: Lake) -> int:
    """Remove the copies of outcomes whose commit never happened and whose run is gone."""
    folder, live = storage.join(lake.root, OUTCOMES), live_run_ids(lake.root)
    gone = [name for name in storage.names(folder) if name.split("/")[0] not in live]
    for name in gone:
        storage.delete(storage.join(folder, name))
    return len(gone)


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
