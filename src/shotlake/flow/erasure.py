"""Erasing videos from tables, index and logs, until nothing is found; and letting them come back.

An erasure never stops a run: it is pending while one that was alive at its start may still write what was erased, and
the next erasure, maintenance or repair finishes it.
"""

from __future__ import annotations

import getpass
import logging
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.errors import LeaseHeld, SourceMissing, UsageError
from shotlake.flow.build_index import build_index
from shotlake.flow.forget import forget_videos, index_traces
from shotlake.flow.run_id import new_run_id
from shotlake.flow.space import open_space
from shotlake.table.erase import (
    Swept,
    Writers,
    close_erasures,
    record_copies,
    record_erasure,
    sought_now,
    sweep,
    unerase,
)
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease, live_holders
from shotlake.table.maintenance import LEASE_KEY
from shotlake.table.names import find_videos, later_names
from shotlake.table.tombstones import Tombstones
from shotlake.table.traces import search_traces

log = logging.getLogger(__name__)

PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Erased:
    """How far the erasures of a lake are. `waits_for`: runs that may still write something; `traces`: what is left.

    `n_copies` more videos were of the same content under other names. `objects_read` were searched at the end; none
    were while somebody is waited for.
    """

    status: Literal["done", "pending"]
    n_videos: int = 0
    n_copies: int = 0
    n_rows: int = 0
    n_files: int = 0
    index_files: int = 0
    objects_read: int = 0
    traces: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    erasure_id: str = ""


def erase_videos(
    uri: str | None, prefix: str | None, reason: str, config: Config, wait_s: float = 0.0
) -> dict[str, Any]:
    """Remove every trace of an object, or of all objects under a prefix, and search the lake for what is left.

    In the index of every space the shards that held them are written again without them, and earlier generations and
    unfinished builds are removed. Where the recall cannot be measured any more (too few queries are left), the index of
    the configured space is built again; another one is named among the traces. `wait_s`: how long to wait for runs and
    builds that may still write something. A video is erased under all its names: those of before its archive moved, and
    those of copies, where what is known of their content tells them.
    Errors: UsageError (neither or both given, or what was below a prefix has moved), SourceMissing (nothing of it).
    """
    if (uri is None) == (prefix is None):
        raise UsageError("give --uri or --prefix: which video, or below which prefix")
    lake, erasure_id = Lake.open(config.lake), new_run_id()
    start = storage.normalise(uri or prefix or "")
    below = pc.starts_with(pc.field("uri"), start.rstrip("/") + "/")
    videos = find_videos(lake, pc.field("uri") == start if uri else below)
    later = later_names(lake, videos)
    if prefix and later:
        example = next(iter(later.values()))
        raise UsageError(
            f"{len(later)} videos below {start!r} have moved, one of them to {example!r}; erase them there, or by --uri"
        )
    videos |= later
    if videos:
        record_erasure(lake, videos, erasure_id, getpass.getuser(), reason)
    elif not (uri and Tombstones.of(lake.root).ids_of(start)):  # else it is gone already, or nearly so
        raise SourceMissing(
            f"the lake knows no video {'named' if uri else 'below'} {start!r}; `shotlake status` counts"
        )
    done = finish_erasures(lake, config, wait_s, set(videos.values()))
    return asdict(replace(done, erasure_id=erasure_id, n_videos=len(videos)))


def finish_erasures(lake: Lake, config: Config, wait_s: float = 0.0, words: Collection[str] = ()) -> Erased:
    """Sweep what there is of erased videos until a search finds nothing, for up to `wait_s` seconds.

    `words`: their names, where they are known, which are then searched for in every byte as well.
    """
    run_id = new_run_id()
    if not (number := _newest(lake)):
        return Erased("done")
    writers = Writers(lake, number, run_id, config.table.lease_s)
    deadline = time.monotonic() + wait_s
    total, names = Erased("pending"), set(words)
    for _ in _until(deadline):
        waits_for = tuple(writers.left())  # asked before the sweep, so that it meets whatever they have written
        if copied := record_copies(lake, new_run_id()):  # asked behind them, for the same reason
            number = _newest(lake)
            writers = Writers(lake, number, run_id, config.table.lease_s)
            waits_for = tuple(writers.left())
            names.update(copied.values())
            total = replace(total, n_copies=total.n_copies + len(copied))
        total = _swept(lake, config, run_id, replace(total, waits_for=waits_for, traces=()))
        if total.waits_for:
            continue
        total = _searched(lake, total, names)
        if not total.traces:
            close_erasures(lake, number, Swept(total.n_rows, total.n_files))
            return replace(total, status="done")
    log.info("erasure=%d pending waits_for=%s traces=%d", number, ",".join(total.waits_for), len(total.traces))
    return total


def unerase_video(uri: str, config: Config) -> dict[str, Any]:
    """Let an object that was erased come back: the next backfill that lists it embeds it again.

    Errors: SourceMissing if nothing of that name was erased, LeaseHeld while maintenance is at work.
    """
    lake, run_id, name = Lake.open(config.lake), new_run_id(), storage.normalise(uri)
    with Lease.acquire(lake.root, LEASE_KEY, "/", run_id, config.table.lease_s):
        n_videos = unerase(lake, name, run_id)
    if not n_videos:
        raise SourceMissing(f"nothing named {name!r} was erased from {config.lake!r}; give the uri as it was erased")
    return {"videos": n_videos}


def _newest(lake: Lake) -> int:
    """The number of the newest erasure of which something may be left; 0 if there is none."""
    return max((erasure.number for erasure in Tombstones.of(lake.root).pending), default=0)


def _until(deadline: float) -> Iterator[None]:
    """At once, then every PAUSE_S until the deadline is over."""
    yield
    while time.monotonic() < deadline:
        time.sleep(min(PAUSE_S, max(0.0, deadline - time.monotonic())))
        yield


def _swept(lake: Lake, config: Config, run_id: str, total: Erased) -> Erased:
    """One sweep of tables and index; a maintenance at work is waited for like a run."""
    try:
        with Lease.acquire(lake.root, LEASE_KEY, "/", run_id, config.table.lease_s):
            swept = sweep(lake, run_id)
    except LeaseHeld as error:
        log.info("erasure waits: %s", error)
        return replace(total, waits_for=(*total.waits_for, "maintenance"))
    n_files, held = _forget_in_index(lake, config)
    builders = [holder.owner.run_id for holder in live_holders(lake.root) if holder.key.startswith("index/")]
    return replace(
        total,
        waits_for=(*total.waits_for, *(builders if held else ())),
        n_rows=total.n_rows + swept.n_rows,
        n_files=total.n_files + swept.n_files,
        index_files=total.index_files + n_files,
        traces=tuple(f"index/{key}: {why}" for key, why in held.items()),
    )


def _forget_in_index(lake: Lake, config: Config) -> tuple[int, dict[str, str]]:
    ids = sorted(sought_now(lake).video_ids)
    n_files, held = forget_videos(lake, ids, config)
    if held and (space := open_space(config)).key in held:
        with suppress(LeaseHeld):  # whoever builds it looks at erasures
            build_index(config, space)
            more, held = forget_videos(lake, ids, config)
            n_files += more
    return n_files, held


def _searched(lake: Lake, total: Erased, words: Collection[str]) -> Erased:
    sought = sought_now(lake)
    n_read, found = search_traces(lake.root, sought, words)
    indexed = index_traces(lake, sorted(sought.video_ids))
    return replace(total, objects_read=n_read, traces=(*total.traces, *found, *indexed))
