"""What a lake needs beside runs: maintenance, a moved archive, the erasure of videos. Each under its lease."""

from __future__ import annotations

import getpass
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.catalog.changes import match_moved
from shotlake.catalog.listing import default_collection, list_archive, videos_in
from shotlake.config import Config
from shotlake.errors import LeaseHeld, SourceMissing, UsageError
from shotlake.flow.build_index import build_index
from shotlake.flow.forget import forget_videos, tidy_indexes
from shotlake.flow.pooled import pool_videos
from shotlake.flow.run import new_run_id
from shotlake.flow.space import open_space
from shotlake.table.committer import Committer, recover
from shotlake.table.erase import erase, find_videos
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import maintain
from shotlake.table.migrate import migrate
from shotlake.table.readers import latest_videos, written_fingerprints
from shotlake.table.relocate import Move, relocate


def maintain_lake(config: Config) -> dict[str, Any]:
    """Delete retired rows, join small files, checkpoint, remove what no version refers to; pool what is not pooled yet.

    Of the index of every space `index.keep_generations` are left, and nothing erased; `index_skipped` says which were
    left to another call, and why. Errors: LeaseHeld.
    """
    lake, run_id = Lake.open(config.lake), new_run_id()
    done = asdict(maintain(lake, run_id, config.table))
    pooled = sum(pool_videos(lake, key, run_id, config.table.lease_s) for key in written_fingerprints(lake))
    removed, skipped = tidy_indexes(lake, config)
    why = "; ".join(f"{key}: {reason}" for key, reason in skipped.items())
    return {**done, "videos_pooled": pooled, "index_files_removed": removed, "index_skipped": why}


def relocate_archive(old_root: str, new_root: str, config: Config) -> dict[str, Any]:
    """Give the rows of videos that lie under another root now their new names; nothing is embedded again.

    Videos are matched by etag and size. Errors: SourceMissing (no lake, no new root, nothing known of the old one).
    """
    old, new = storage.normalise(old_root), storage.normalise(new_root)
    lake, space, run_id = Lake.open(config.lake), open_space(config), new_run_id()
    known = latest_videos(lake, old)
    if not len(known):
        raise SourceMissing(f"the lake knows nothing of {old!r}; give the root as it was backfilled")
    found = pa.Table.from_batches(list_archive(new, config.catalog, lake.root), storage.OBJECTS)
    listed = videos_in(found, default_collection(new), config.catalog)
    moves = [Move(old_id, video) for old_id, video in match_moved(listed, known, new, old)]
    with Lease.acquire(lake.root, space.key, new, run_id, config.table.lease_s) as lease:
        recover(lake, lease)
        totals = relocate(lake, Committer(lake, lease, run_id, config.table), moves, space.key, new)
    return {"listed": len(listed), "moved": len(moves), "units": totals.units, "rows": totals.rows}


def erase_videos(uri: str | None, prefix: str | None, reason: str, config: Config) -> dict[str, Any]:
    """Remove every trace of an object, or of all objects under a prefix, and search the tables for what is left.

    In the index of every space the shards that held them are written again without them, and earlier generations and
    unfinished builds are removed. Where the recall cannot be measured any more (too few queries are left), the index of
    the configured space is built again; another one is named among the traces.
    Errors: UsageError (neither or both given), SourceMissing (nothing of it in the lake).
    """
    if (uri is None) == (prefix is None):
        raise UsageError("give --uri or --prefix: which video, or below which prefix")
    lake = Lake.open(config.lake)
    start = storage.normalise(uri or prefix or "")
    below = pc.starts_with(pc.field("uri"), start.rstrip("/") + "/")
    videos = find_videos(lake, pc.field("uri") == start if uri else below)
    if not videos:
        raise SourceMissing(
            f"the lake knows no video {'named' if uri else 'below'} {start!r}; `shotlake status` counts"
        )
    done = erase(lake, videos, new_run_id(), getpass.getuser(), reason, config.table)
    n_files, held = forget_videos(lake, list(videos), config)
    if held and (space := open_space(config)).key in held:
        with suppress(LeaseHeld):  # whoever builds it looks at erasures
            build_index(config, space)
            more, held = forget_videos(lake, list(videos), config)
            n_files += more
    traces = [*done.traces, *(f"index/{key}: {why}" for key, why in held.items())]
    return {**asdict(done), "traces": traces, "index_files": n_files}


def migrate_lake(config: Config) -> dict[str, Any]:
    """Give a lake of an earlier version the columns that it lacks; nothing is rewritten. Errors: LeaseHeld."""
    added = migrate(Lake.open(config.lake), new_run_id(), config.table)
    return {"added": ", ".join(added) or "nothing"}
