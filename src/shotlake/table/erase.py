"""Erasure: the rows of some videos, the files that ever held them, and the log's words about them are removed.

First the videos are retired as erased, which readers and indexes obey at once; then rows, files and log. Every step can
be made again. Older versions of the touched tables cannot be read afterwards: that is the point.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import NotFound
from shotlake.table.committer import complete_commits
from shotlake.table.lake import Lake, delta_errors
from shotlake.table.lease import Lease
from shotlake.table.maintenance import LEASE_KEY, blank_videos, checkpoint, delete_videos
from shotlake.table.readers import retired_videos
from shotlake.table.rewrite import data_files
from shotlake.table.rows import table_of
from shotlake.table.schemas import ERASURES, RETIRED, TABLES

log = logging.getLogger(__name__)

ERASED = "erased"
VIDEO_TABLES = [name for name, schema in TABLES.items() if "video_id" in schema.names]
# The accounts of a run stay, without a word about the video: how many cells were planned, written and lost.
BLANKED = {"units": ("uri", "content_sha256"), "failures": ("uri", "message")}
LOG_RETENTION = "delta.logRetentionDuration"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was removed, and the proof: `objects_read` were searched afterwards, `traces` still name a video."""

    erasure_id: str
    n_videos: int
    n_rows: int
    n_files: int
    objects_read: int
    traces: tuple[str, ...]


def find_videos(lake: Lake, selection: pc.Expression) -> dict[str, str]:
    """uri by video_id of everything the lake ever knew that the selection of `videos` rows names.

    Rows of `segments` and `units` with those uris count too, such as earlier content of the same object.
    """
    uris = pc.unique(lake.read("videos", ["uri"], selection)["uri"])
    found: dict[str, str] = {}
    for table in ("videos", "units", "segments"):
        rows = lake.read(table, ["video_id", "uri"], pc.field("uri").isin(uris))
        pairs = rows.group_by(["video_id", "uri"]).aggregate([])
        found |= dict(zip(pairs["video_id"].to_pylist(), pairs["uri"].to_pylist()))
    return found


def erased_videos(lake: Lake) -> pa.Array:
    """Ids of the videos that were erased: they are never to be indexed again, although they may still be listed."""
    return pc.unique(lake.read("retired", ["video_id"], pc.field("reason") == ERASED)["video_id"].combine_chunks())


def listed_again(lake: Lake, listed: pa.Array, embed_key: str) -> tuple[pa.Array, pa.Array]:
    """Of `listed` (ids) the superseded ones, whose objects got their old content back, and the erased ones."""
    erased = pc.is_in(listed, erased_videos(lake))
    return listed.filter(pc.and_not(pc.is_in(listed, retired_videos(lake, embed_key)), erased)), listed.filter(erased)


def erase(
    lake: Lake, videos: dict[str, str], run_id: str, requested_by: str, reason: str, config: TableConfig
) -> Erasure:
    """Remove every trace of `videos` (uri by video_id) from the tables, and search for what is left.

    The row in `erasures` keeps who, when and how many, no content. Errors: LeaseHeld while maintenance is at work.
    """
    ids = pa.array(list(videos), pa.string())
    with Lease.acquire(lake.root, LEASE_KEY, "/", run_id, config.lease_s):
        complete_commits(lake)
        _retire(lake, videos, run_id)
        n_rows = sum(_delete(lake, table, ids) for table in VIDEO_TABLES)
        n_files = sum(_remove_files(lake, table, ids) for table in VIDEO_TABLES)
        _shorten_logs(lake, VIDEO_TABLES)
        read, traces = search_traces(lake, videos.values())
        row = {"erasure_id": run_id, "requested_by": requested_by, "reason": reason, "at": datetime.now(UTC)}
        counts = {"n_videos": len(videos), "n_rows": n_rows, "n_files": n_files}
        lake.append("erasures", table_of(ERASURES, [{**row, **counts}]), (f"{run_id}/erasures", 1))
    log.info("erasure_id=%s videos=%d rows=%d files=%d traces=%d", run_id, len(videos), n_rows, n_files, len(traces))
    return Erasure(run_id, len(videos), n_rows, n_files, read, tuple(traces))


def search_traces(lake: Lake, uris: Iterable[str]) -> tuple[int, list[str]]:
    """(objects read, those that hold one of the uris): every byte under `tables`, and every uri in Parquet files."""
    names, root = list(uris), storage.join(lake.root, "tables")
    objects = storage.names(root)
    return len(objects), [name for name in objects if _is_trace(storage.join(root, name), names)]


def _is_trace(object_uri: str, uris: Sequence[str]) -> bool:
    data = storage.read_bytes(object_uri)
    if object_uri.endswith(".checkpoint.parquet"):  # compressed: its words are looked at, not its bytes
        data = json.dumps(pq.read_table(io.BytesIO(data)).to_pylist(), default=str, ensure_ascii=False).encode()
    elif object_uri.endswith(".parquet") and _holds(data, "uri", uris):
        return True
    return any(spelling in data for uri in uris for spelling in _spellings(uri))


def _spellings(uri: str) -> set[bytes]:
    """As it is, as text in JSON, and as text in JSON in JSON, which the log's statistics are."""
    once = json.dumps(uri, ensure_ascii=False)[1:-1]
    return {text.encode() for text in (uri, once, json.dumps(once, ensure_ascii=False)[1:-1])}


def _retire(lake: Lake, videos: dict[str, str], run_id: str) -> None:
    known = set(erased_videos(lake).to_pylist())
    at = datetime.now(UTC)
    same = {"reason": ERASED, "run_id": run_id, "at": at}
    rows = [{**same, "video_id": video_id} for video_id in videos if video_id not in known]
    if rows:
        lake.append("retired", table_of(RETIRED, rows), (f"{run_id}/retired", 1))


def _delete(lake: Lake, table: str, ids: pa.Array) -> int:
    if table in BLANKED:
        return blank_videos(lake, table, ids, BLANKED[table])
    if table != "retired":
        return delete_videos(lake, table, ids)
    return sum(delete_videos(lake, table, ids, key) for key in _spaces(lake))  # not the erased ones: they have no space


def _spaces(lake: Lake) -> list[str]:
    return [key for key in pc.unique(lake.read("retired", ["embed_key"])["embed_key"]).to_pylist() if key]


def _remove_files(lake: Lake, table: str, ids: pa.Array) -> int:
    """Remove the data files that no current version refers to and that hold one of the videos."""
    root = lake.uri(table)
    current = {file.path for file in data_files(lake, table)}
    wanted, removed = ids.to_pylist(), 0
    for name in storage.names(root):
        if name in current or name.startswith("_delta_log/") or not name.endswith(".parquet"):
            continue
        uri = storage.join(root, name)
        try:
            data = storage.read_bytes(uri)
        except NotFound:  # a maintenance of before had listed it
            continue
        if _holds(data, "video_id", wanted):
            storage.delete(uri)
            removed += 1
    return removed


def _holds(data: bytes, column: str, values: Sequence[str]) -> bool:
    file = pq.ParquetFile(io.BytesIO(data))
    if column not in file.schema_arrow.names:
        return False
    found = file.read([column])[column].cast(pa.string())  # deltalake writes string views
    return bool(pc.any(pc.is_in(found, pa.array(values, pa.string()))).as_py())


def _shorten_logs(lake: Lake, tables: Sequence[str]) -> None:
    """Put a checkpoint in the place of each log, whose entries carry least and greatest uris of removed files."""
    kept = {name: lake.table(name).metadata().configuration.get(LOG_RETENTION) for name in tables}
    for name in tables:
        _keep_log(lake, name, "interval 0 seconds")
        checkpoint(lake, name)
    time.sleep(1.1)  # the age of a log entry is counted in whole seconds
    for name in tables:
        with delta_errors(lake.uri(name)):
            lake.table(name).cleanup_metadata()
        _keep_log(lake, name, kept[name] or "interval 30 days")


def _keep_log(lake: Lake, table: str, interval: str) -> None:
    def change(snapshot: DeltaTable) -> bool:
        snapshot.alter.set_table_properties({LOG_RETENTION: interval})
        return True

    lake.commit(table, change)
