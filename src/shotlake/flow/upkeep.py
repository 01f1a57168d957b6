"""What a lake needs beside runs: maintenance, a moved archive, columns of a later version. Each under its lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from shotlake import storage
from shotlake.catalog.changes import match_moved
from shotlake.catalog.listing import default_collection, list_archive, videos_in
from shotlake.config import Config
from shotlake.errors import SourceMissing
from shotlake.flow.erasure import finish_erasures
from shotlake.flow.forget import tidy_indexes
from shotlake.flow.pooled import pool_videos
from shotlake.flow.run_id import new_run_id
from shotlake.flow.space import open_space
from shotlake.table.committer import Committer
from shotlake.table.erase import record_erasure
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import maintain
from shotlake.table.migrate import migrate
from shotlake.table.outcomes import recover
from shotlake.table.readers import erased_videos, latest_videos, written_fingerprints
from shotlake.table.relocate import Move, relocate
from shotlake.table.tombstones import Tombstones


def maintain_lake(config: Config) -> dict[str, Any]:
    """Delete retired rows, join small files, checkpoint, remove what no version refers to; pool what is not pooled yet.

    Of the index of every space `index.keep_generations` are left; `index_skipped` says which spaces were left to
    another call, and why. Pending erasures are finished, if they can be. Errors: LeaseHeld.
    """
    lake, run_id = Lake.open(config.lake), new_run_id()
    done = asdict(maintain(lake, run_id, config.table))
    pooled = sum(pool_videos(lake, key, run_id, config.table.lease_s) for key in written_fingerprints(lake))
    removed, skipped = tidy_indexes(lake, config)
    why = "; ".join(f"{key}: {reason}" for key, reason in skipped.items())
    erasures = finish_erasures(lake, config).status
    done |= {"videos_pooled": pooled, "index_files_removed": removed, "index_skipped": why}
    return {**done, "erasures": erasures}


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
    with Lease.acquire(lake.root, space.key, new, run_id, config.table.lease_s) as lease:
        recover(lake, lease)
        pairs = [Move(*pair) for pair in match_moved(listed, known, new, old)]
        signs, erased = Tombstones.of(lake.root).signs, set(erased_videos(lake).to_pylist())
        moves = [move for move in pairs if move.old_video_id not in erased and not signs.is_erased(move.new.uri)]
        totals = relocate(lake, Committer(lake, lease, run_id, config.table), moves, space.key, new)
    if late := _half_erased(lake, pairs, known):
        record_erasure(lake, late, run_id, reason="erased while its archive moved")
        finish_erasures(lake, config)
    return {"listed": len(listed), "moved": len(moves), "units": totals.units, "rows": totals.rows}


def _half_erased(lake: Lake, pairs: Sequence[Move], known: pa.Table) -> dict[str, str]:
    """uri by video_id of videos that were erased under the other of their two names."""
    erased = set(erased_videos(lake).to_pylist())
    uris = dict(zip(known["video_id"].to_pylist(), known["uri"].to_pylist()))
    late = {move.new.video_id: move.new.uri for move in pairs if move.old_video_id in erased}
    late |= {move.old_video_id: uris[move.old_video_id] for move in pairs if move.new.video_id in erased}
    return {video_id: uri for video_id, uri in late.items() if video_id not in erased}


def migrate_lake(config: Config) -> dict[str, Any]:
    """Give a lake of an earlier version the columns that it lacks; nothing is rewritten. Errors: LeaseHeld."""
    added = migrate(Lake.open(config.lake), new_run_id(), config.table)
    return {"added": ", ".join(added) or "nothing"}
