"""What keeps a lake small and quick: retired rows go, small files are joined, files that nothing refers to are removed.

One maintenance at a time, under a lease of its own; backfills go on beside it. Files of runs that hold a lease, and
files younger than the retention, are never removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, WriterProperties

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.table.committer import OUTCOMES, complete_commits
from shotlake.table.lake import Lake, delta_errors
from shotlake.table.lease import Lease, live_run_ids
from shotlake.table.schemas import TABLES

log = logging.getLogger(__name__)

LEASE_KEY = "maintenance"
FILE_BYTES = 256 << 20
IDS_A_DELETE = 1000
WRITER = WriterProperties(compression="ZSTD", compression_level=1)


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
    """Delete the rows of videos, of one space or of all; the number of rows deleted."""
    there = pc.field("video_id").isin(video_ids)
    if embed_key is not None:
        there &= pc.field("embed_key") == embed_key
    deleted = 0
    for ids in _portions(pc.unique(lake.read(table, ["video_id"], there)["video_id"]).to_pylist()):
        quoted = ", ".join(f"'{video_id}'" for video_id in ids)
        predicate = f"video_id IN ({quoted})" + (f" AND embed_key = '{embed_key}'" if embed_key else "")
        deleted += delete_rows(lake, table, predicate)
    return deleted


def delete_rows(lake: Lake, table: str, predicate: str) -> int:
    """Delete the rows for which the SQL predicate holds; only the files that hold such rows are written anew."""
    deleted = 0

    def delete(snapshot: DeltaTable) -> bool:
        nonlocal deleted
        properties = CommitProperties(max_commit_retries=0)
        deleted = snapshot.delete(predicate, writer_properties=WRITER, commit_properties=properties)["num_deleted_rows"]
        return deleted > 0

    lake.commit(table, delete)
    return deleted


def compact(lake: Lake, table: str) -> tuple[int, int]:
    """Join small files of each partition up to FILE_BYTES; (files before, files after) of those that were joined."""
    done = {"numFilesRemoved": 0, "numFilesAdded": 0}

    def join(snapshot: DeltaTable) -> bool:
        properties = CommitProperties(max_commit_retries=0)
        done.update(
            snapshot.optimize.compact(target_size=FILE_BYTES, writer_properties=WRITER, commit_properties=properties)
        )
        return done["numFilesRemoved"] > 0

    lake.commit(table, join)
    return done["numFilesRemoved"], done["numFilesAdded"]


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


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + IDS_A_DELETE] for start in range(0, len(ids), IDS_A_DELETE))
