"""Erasure: the rows of some videos, the files that ever held them, and the log's words about them are removed.

First the tombstones (see tombstones.py), which runs obey from their next commit on; then the videos are retired, which
readers and indexes obey; then rows, files and log are swept, under the lease of maintenance. Every step can be made
again, by whoever finds a tombstone that is not closed. Files of live runs are spared: a run removes its own.
Older versions of the touched tables cannot be read afterwards: that is the point.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.errors import NotFound
from shotlake.table.lake import Lake
from shotlake.table.lease import Holder, live_holders
from shotlake.table.maintenance import LEASE_KEY, blank_rows, checkpoint, delete_rows, delete_videos, forget, unneeded
from shotlake.table.names import copies
from shotlake.table.outcomes import BLANKED, remove_outcomes, shut_out
from shotlake.table.readers import erased_videos
from shotlake.table.rewrite import data_files
from shotlake.table.rows import table_of
from shotlake.table.schemas import ERASED, ERASURES, RETIRED, TABLES
from shotlake.table.tombstones import ErasedVideo, Tombstones
from shotlake.table.traces import Sought, holds, scrubbed

log = logging.getLogger(__name__)

VIDEO_TABLES = [name for name, schema in TABLES.items() if "video_id" in schema.names]


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows were deleted or blanked, and how many files that no version refers to were removed."""

    n_rows: int = 0
    n_files: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(self.n_rows + other.n_rows, self.n_files + other.n_files)


def record_erasure(
    lake: Lake, videos: Mapping[str, str], erasure_id: str, requested_by: str = "", reason: str = ""
) -> int:
    """Say that videos (uri by video_id) are erased: from now on nobody shows them and no run commits them.

    Gives the number of the erasure. The row in `erasures` keeps who, when and how many, no content.
    """
    return _record(lake, list(_described(lake, videos)), erasure_id, requested_by, reason)


def erase_copies(lake: Lake, videos: Iterable[ErasedVideo], erasure_id: str) -> int:
    """Say that videos are erased because of their content only, that of an erased one: they come back with it."""
    are_copies = [replace(video, is_copy=True) for video in videos]
    return _record(lake, are_copies, erasure_id, "", "the content of an erased video")


def record_copies(lake: Lake, erasure_id: str) -> dict[str, str]:
    """Say of everything that has the content of an erased video that it is erased; gives uri by video_id.

    Asked behind the tombstones, so that a copy which a run commits at this moment is found by now or refused.
    """
    found = copies(lake, Tombstones.of(lake.root).signs)
    if found:
        erase_copies(lake, _described(lake, found), erasure_id)
    return found


def sweep(lake: Lake, run_id: str) -> Swept:
    """Remove what there is of every erasure that is not closed. The caller holds the lease of maintenance."""
    sought = sought_now(lake)
    if not sought:
        return Swept()
    remove_outcomes(lake)
    _retire(lake, sought.video_ids, run_id)
    n_rows = sum(_delete(lake, table, sought) for table in (*VIDEO_TABLES, "runs"))
    n_files = sum(_remove_files(lake, table, sought) for table in (*VIDEO_TABLES, "runs"))
    for table in (*VIDEO_TABLES, "runs"):
        _scrub_log(lake, table, sought)
    _forget_roots(lake, sought)
    return Swept(n_rows, n_files)


def sought_now(lake: Lake) -> Sought:
    """What the erasures that are not closed yet look for."""
    tombstones = Tombstones.of(lake.root)
    ids = {video_id for erasure in tombstones.pending for video_id in erasure.videos}
    return Sought(frozenset(ids), tombstones.signs)


def close_erasures(lake: Lake, up_to: int, swept: Swept) -> list[str]:
    """Nothing of the erasures up to a number was found any more: write that down; ids of those that are closed."""
    tombstones = Tombstones.of(lake.root)
    closed = [erasure for erasure in tombstones.pending if erasure.number <= up_to]
    for erasure in closed:
        _tell_again(lake, erasure.erasure_id, swept)
        tombstones.close(erasure.number)
    return [erasure.erasure_id for erasure in closed]


def unerase(lake: Lake, uri: str, run_id: str) -> int:
    """Let objects of a name, and what was erased under it, come back; how many videos that were.

    The caller holds the lease of maintenance. The tombstone goes last: until then the same call can be made again.
    """
    tombstones = Tombstones.of(lake.root)
    ids = tombstones.ids_of(uri)
    if ids:
        forget(lake, pa.array(ids, pa.string()), None, run_id)
        tombstones.lift(run_id, uri)
    return len(ids)


@dataclass(slots=True)
class Writers:
    """Runs and builds that were alive when this was made, and may still write what was erased by then."""

    lake: Lake
    number: int  # the erasure that they have to acknowledge
    run_id: str  # ours
    lease_s: float
    _alive: list[tuple[Holder, bytes, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        others = [holder for holder in live_holders(self.lake.root) if holder.owner.run_id != self.run_id]
        now = time.monotonic()
        self._alive = [(h, h.read_beat(), now) for h in others if not h.key.startswith(f"{LEASE_KEY}/")]

    def left(self) -> list[str]:
        """Run ids of those that have neither ended nor acknowledged, nor been silent for a lease and shut out."""
        now, alive = time.monotonic(), []
        for holder, beat, since in self._alive:
            if holder.is_over() or holder.acknowledged() >= self.number:
                continue
            found = holder.read_beat()
            if found == beat and now - since > max(self.lease_s, holder.owner.lease_s):
                shut_out(self.lake, holder.expire(self.run_id))
                continue
            alive.append((holder, found, since if found == beat else now))
        self._alive = alive
        return [holder.owner.run_id for holder, _, _ in alive]


def _record(lake: Lake, videos: Sequence[ErasedVideo], erasure_id: str, requested_by: str, reason: str) -> int:
    number = Tombstones.of(lake.root).add(erasure_id, videos)
    _retire(lake, [video.video_id for video in videos], erasure_id)
    _tell(lake, erasure_id, requested_by, reason, len(videos), Swept())
    log.info("erasure_id=%s number=%d videos=%d", erasure_id, number, len(videos))
    return number


def _described(lake: Lake, videos: Mapping[str, str]) -> Iterable[ErasedVideo]:
    """The videos with what the lake knows of their content."""
    mine = pc.field("video_id").isin(pa.array(list(videos), pa.string()))
    listed = lake.read("videos", ["video_id", "etag", "size_bytes"], mine).to_pylist()
    facts = {row["video_id"]: (row["etag"] or "", row["size_bytes"] or 0) for row in listed}
    hashed = lake.read("units", ["video_id", "content_sha256"], mine & pc.field("content_sha256").is_valid())
    contents = dict(zip(hashed["video_id"].to_pylist(), hashed["content_sha256"].to_pylist()))
    for video_id, uri in videos.items():
        etag, size_bytes = facts.get(video_id, ("", 0))
        yield ErasedVideo(video_id, uri, etag, size_bytes, contents.get(video_id))


def _retire(lake: Lake, video_ids: Iterable[str], run_id: str) -> None:
    known = set(erased_videos(lake).to_pylist())
    same = {"reason": ERASED, "run_id": run_id, "at": datetime.now(UTC)}
    rows = [{**same, "video_id": video_id} for video_id in video_ids if video_id not in known]
    if rows:
        lake.append("retired", table_of(RETIRED, rows), (f"{run_id}/retired", 1))


def _delete(lake: Lake, table: str, sought: Sought) -> int:
    if table in BLANKED:
        return blank_rows(lake, table, lambda: sought.named, BLANKED[table])
    if table == "runs":
        return blank_rows(lake, table, lambda: sought.named, ("roots",))
    if table == "retired":  # not the erased ones: they have no space
        ids = pa.array(sorted(sought.video_ids), pa.string())
        return sum(delete_videos(lake, table, ids, key) for key in _spaces(lake))
    return delete_rows(lake, table, lambda: sought.rows)


def _spaces(lake: Lake) -> list[str]:
    return [key for key in pc.unique(lake.read("retired", ["embed_key"])["embed_key"]).to_pylist() if key]


def _remove_files(lake: Lake, table: str, sought: Sought) -> int:
    """Remove the data files that no version refers to, of no live run, that name one of the videos."""
    names = [name for name in storage.names(lake.uri(table)) if _is_data(name)]
    removed = 0
    for name in unneeded(lake, table, names):
        uri = storage.join(lake.uri(table), name)
        try:
            is_trace = holds(uri, sought)
        except NotFound:  # a maintenance of before had listed it
            continue
        if is_trace:
            storage.delete(uri)
            removed += 1
    return removed


def _is_data(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith("_delta_log/")


def _scrub_log(lake: Lake, table: str, sought: Sought) -> None:
    """Take the words about the videos out of a log, whose entries carry least and greatest uris of removed files.

    Entries stay under their names: if one were gone, a writer that was stopped before it would commit in its place,
    unseen. Older checkpoints go once there is a newer one.
    """
    log_uri = storage.join(lake.uri(table), "_delta_log")
    checkpoint(lake, table)
    current = frozenset(file.path for file in data_files(lake, table))
    names = storage.names(log_uri)
    newest = max((name for name in names if name.endswith(".checkpoint.parquet")), default="")
    for name in names:
        uri = storage.join(log_uri, name)
        try:
            if name.endswith(".json") and (clean := scrubbed(storage.read_bytes(uri), sought, current)):
                storage.write_bytes(uri, clean)
            elif name.endswith(".checkpoint.parquet") and name != newest and holds(uri, sought):
                storage.delete(uri)
        except NotFound:  # cleaned up meanwhile
            continue


def _forget_roots(lake: Lake, sought: Sought) -> None:
    """A lease whose root was the very object says so; once it is released its root is of no use."""
    leases = storage.join(lake.root, "leases")
    names = set(storage.names(leases))
    for name in names:
        if not name.endswith(".json") or name.removesuffix("json") + "released" not in names:
            continue
        uri = storage.join(leases, name)
        try:
            tree = json.loads(storage.read_bytes(uri))
        except NotFound:  # replaced by a later epoch
            continue
        if sought.signs.is_erased(tree["root"]):
            storage.write_bytes(uri, json.dumps({**tree, "root": ERASED}).encode())


def _tell(lake: Lake, erasure_id: str, requested_by: str, reason: str, n_videos: int, swept: Swept) -> None:
    row = {"erasure_id": erasure_id, "requested_by": requested_by, "reason": reason, "at": datetime.now(UTC)}
    counts = {"n_videos": n_videos, "n_rows": swept.n_rows, "n_files": swept.n_files}
    number = 2 if swept.n_rows or swept.n_files else 1
    lake.append("erasures", table_of(ERASURES, [{**row, **counts}]), (f"{erasure_id}/erasures", number))


def _tell_again(lake: Lake, erasure_id: str, swept: Swept) -> None:
    rows: Sequence[dict[str, object]] = lake.read("erasures", filter=pc.field("erasure_id") == erasure_id).to_pylist()
    if rows and (swept.n_rows or swept.n_files):
        first = rows[0]
        _tell(lake, erasure_id, str(first["requested_by"]), str(first["reason"]), int(str(first["n_videos"])), swept)
