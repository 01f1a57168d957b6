"""Scene and video vectors, derived from the segments that are in the lake; made again for a video that got more.

Every call brings `pooled` up to date, so what a run that died has left undone is done by the next run or maintenance.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake.embed.pooling import Floats, cut_scenes, pool
from shotlake.errors import LeaseHeld
from shotlake.flow.pools import answer
from shotlake.records import SPACES, Space, Usage
from shotlake.report.meter import Meter
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import delete_videos
from shotlake.table.readers import UriRange, live_segments, retired_videos, sampled_uris
from shotlake.table.rows import table_of
from shotlake.table.schemas import POOLED

log = logging.getLogger(__name__)

SEGMENTS_A_SCAN = 50_000  # what is held in memory at a time: 0.2 GB of two spaces of 512 values
UNITS_A_RANGE = 100_000  # of which it is looked up together what is behind
_SAMPLED = 1_000  # one URI of so many tells where ranges end
_ROWS_A_COMMIT = 20_000
_ROWS_AS_DICTS = 1_000
_RETRIES = 3


def pool_videos(lake: Lake, embed_key: str, run_id: str, lease_s: float) -> int:
    """Make the rows of every video of a space whose number of segments is not that of its row; how many videos.

    While another process is at it, nothing is done: what it does not see, the next call will. Memory does not grow with
    the lake: it is gone through by ranges of URIs.
    """
    n_videos = 0
    try:
        for within in _ranges(lake, embed_key):
            if len(_behind(lake, embed_key, within)):
                with Lease.acquire(lake.root, f"pooled-{embed_key}", "/", run_id, lease_s):
                    n_videos += _pool(lake, embed_key, within, run_id)
    except LeaseHeld as error:
        log.info("run_id=%s embed_key=%s not pooled: %s", run_id, embed_key, error)
    return n_videos


def pool_in_ray(lake: Lake, embed_key: str, run_id: str, lease_s: float) -> Usage:
    """`pool_videos` as a task of the cluster, because the driver should not have to hold what it holds; what it used.

    It may begin anew on another node: what is done already is not behind any more.
    """
    import ray

    task = ray.remote(_pool_metered).options(num_cpus=1, max_retries=_RETRIES)
    used: Usage = answer(task.remote(lake, embed_key, run_id, lease_s))
    return used


def _pool_metered(lake: Lake, embed_key: str, run_id: str, lease_s: float) -> Usage:
    with Meter() as meter:
        pool_videos(lake, embed_key, run_id, lease_s)
    return meter.usage


def _ranges(lake: Lake, embed_key: str) -> list[UriRange]:
    """All URIs, cut so that about UNITS_A_RANGE units lie in each range."""
    step = max(1, UNITS_A_RANGE // _SAMPLED)
    cuts = sampled_uris(lake, "units", _written(embed_key), _SAMPLED)[step::step]
    return [UriRange(start, end) for start, end in zip(["", *cuts], [*cuts, None], strict=True)]


def _pool(lake: Lake, embed_key: str, within: UriRange, run_id: str) -> int:
    behind = _behind(lake, embed_key, within)
    outdated = behind.filter(pc.is_valid(behind["n_segments"]))
    delete_videos(lake, "pooled", pc.unique(outdated["video_id"].combine_chunks()), embed_key, run_id)
    app = f"{run_id}/pooled"  # a commit whose answer is lost is made again, and once
    numbers = count(lake.transaction_version("pooled", app) + 1)
    for rows in _commits(lake, behind, {"embed_key": embed_key, "run_id": run_id}):
        lake.append("pooled", rows, (app, next(numbers)))
    if len(behind):
        log.info("run_id=%s embed_key=%s pooled_videos=%d", run_id, embed_key, len(behind))
    return len(behind)


def _commits(lake: Lake, behind: pa.Table, same: dict[str, Any]) -> Iterator[pa.Table]:
    """The rows of the videos, about _ROWS_A_COMMIT together; few of them as dicts, which take ten times as much."""
    waiting: list[pa.Table] = []
    few: list[dict[str, Any]] = []
    for lot in _lots(behind):
        for video_id, rows in _videos_of(lake, same["embed_key"], lot):
            few += _pooled_rows(video_id, rows, same)
            if len(few) >= _ROWS_AS_DICTS:
                waiting.append(table_of(POOLED, few))
                few = []
            if sum(map(len, waiting)) >= _ROWS_A_COMMIT:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting or few:
        yield pa.concat_tables([*waiting, table_of(POOLED, few)])


def _behind(lake: Lake, embed_key: str, within: UriRange) -> pa.Table:
    """video_id, uri, written_sum, n_segments of live videos whose row is missing or of another number, by uri."""
    units = lake.read("units", ["video_id", "uri", "written"], _written(embed_key) & within.filter)
    units = units.filter(pc.invert(pc.is_in(units["video_id"], retired_videos(lake, embed_key))))
    there = units.group_by(["video_id", "uri"], use_threads=False).aggregate([("written", "sum")])
    mine = (pc.field("embed_key") == embed_key) & (pc.field("kind") == "video") & within.filter
    pooled = lake.read("pooled", ["video_id", "n_segments"], mine)
    at = pc.index_in(there["video_id"], pooled["video_id"].combine_chunks())
    both = there.append_column("n_segments", pooled["n_segments"].combine_chunks().take(at.combine_chunks()))
    return both.filter(pc.not_equal(pc.fill_null(both["n_segments"], -1), both["written_sum"])).sort_by("uri")


def _written(embed_key: str) -> pc.Expression:
    return (pc.field("embed_key") == embed_key) & (pc.field("written") > 0)


def _lots(behind: pa.Table) -> Iterator[pa.Table]:
    """The videos in lots of about SEGMENTS_A_SCAN segments."""
    sizes = np.asarray(behind["written_sum"].to_numpy(), np.int64)
    numbers = np.cumsum(sizes) // SEGMENTS_A_SCAN
    for number in np.unique(numbers):
        yield behind.filter(pa.array(numbers == number))


def _videos_of(lake: Lake, embed_key: str, lot: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The segments of each video of a lot, in the order of their times; runs and URIs say which files are opened."""
    within = UriRange.between(lot["uri"][0].as_py(), lot["uri"][-1].as_py())  # a run writes in the order of URIs
    of_lot = pc.field("video_id").isin(lot["video_id"].combine_chunks()) & within.filter
    runs = pc.unique(lake.read("units", ["run_id"], _written(embed_key) & of_lot)["run_id"].combine_chunks())
    wanted = pc.field("run_id").isin(runs) & of_lot
    columns = ["video_id", "uri", "collection", "start_us", "end_us", *SPACES]
    batches = list(live_segments(lake, embed_key, columns, wanted))
    if not batches:
        return
    rows = pa.Table.from_batches(batches).sort_by([("video_id", "ascending"), ("start_us", "ascending")])
    ids = rows["video_id"].combine_chunks()
    edges = [0, *(np.flatnonzero(np.asarray(pc.not_equal(ids[1:], ids[:-1]))) + 1).tolist(), len(rows)]
    for first, last in pairwise(edges):
        yield ids[first].as_py(), rows.slice(first, last - first)


def _pooled_rows(video_id: str, rows: pa.Table, same: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for the video and one for each of its scenes."""
    start_us, end_us = (np.asarray(rows[name].to_numpy(), np.int64) for name in ("start_us", "end_us"))
    vectors: dict[Space, Floats] = {space: found for space in SPACES if (found := _matrix(rows[space])) is not None}
    named = {"video_id": video_id, "uri": rows["uri"][0].as_py(), "collection": rows["collection"][0].as_py()}
    whole = [("video", slice(0, len(rows)))]
    scenes = [("scene", part) for part in cut_scenes(vectors["fused"], start_us, end_us)]
    return [
        {
            **same,
            **named,
            "kind": kind,
            "start_us": int(start_us[part].min()),
            "end_us": int(end_us[part].max()),
            "n_segments": len(start_us[part]),
            "at": datetime.now(UTC),
            **{space: _rounded(pool(found[part], (end_us - start_us)[part])) for space, found in vectors.items()},
        }
        for kind, part in [*whole, *scenes]
    ]


def _rounded(vector: Floats | None) -> Floats | None:
    """As every vector of the lake is."""
    return None if vector is None else vector.astype(np.float16).astype(np.float32)


def _matrix(column: pa.ChunkedArray) -> Floats | None:
    """[N, D] with NaN where a segment has no vector; None if none has one."""
    lists = column.combine_chunks()
    there = np.asarray(pc.is_valid(lists))
    values = pc.list_flatten(lists.drop_null()).to_numpy()
    if not there.any():
        return None
    full = np.full((len(lists), len(values) // int(there.sum())), np.nan, np.float32)
    full[there] = values.reshape(int(there.sum()), -1)
    return full
