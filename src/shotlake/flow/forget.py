"""The index forgets erased videos: in every space, under its lease, and as often as it is asked.

A space that somebody builds at the moment is left to a later call; the build itself looks at erasures before and after
it publishes. Where nothing of the videos is held, nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config, IndexConfig
from shotlake.errors import CorruptGeneration, IndexingError, LakeFormat, LeaseHeld, LeaseLost, NoIndex, ShotlakeError
from shotlake.flow.generations import remake
from shotlake.flow.index_lease import PublishCheck, indexing
from shotlake.flow.index_source import erasure_mark, index_root
from shotlake.index import forget as stored
from shotlake.index.manifest import Manifest
from shotlake.index.prune import prune
from shotlake.index.publish import POINTERS, current, pointer_numbers, publish
from shotlake.index.rewrite import without_gone
from shotlake.index.searcher import Searcher
from shotlake.records import segment_id
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.readers import erased_videos, retired_videos


def forget_videos(lake: Lake, videos: Sequence[str], config: Config) -> tuple[int, dict[str, str]]:
    """Write every shard that holds rows of erased videos anew without them; remove whatever else may hold some.

    In every space of the lake, without its encoder. Gives how many stored files were removed, and the spaces that may
    hold rows still, each with what hinders: a build is at work, or the recall could not be measured any more. It may be
    called again and again.
    """
    n_files, held = 0, dict[str, str]()
    for key in sorted(stored.stored_keys(index_root(lake)) | _written_keys(lake)):
        try:
            with indexing(lake, key, config) as lease:
                removed, why = forget_space(lake, key, pa.array(videos, pa.string()), config, lease)
        except (LeaseHeld, LeaseLost) as error:
            removed, why = 0, error.message
        n_files += removed
        if why:
            held[key] = why
    return n_files, held


def forget_space(lake: Lake, key: str, videos: pa.Array, config: Config, lease: Lease) -> tuple[int, str]:
    """The same of one space, whose lease is held; what hinders is "" if nothing does."""
    root, mark, why, n_files = index_root(lake), erasure_mark(erased_videos(lake)), "", 0
    try:
        n_files = _rewrite_current(lake, key, videos, config, PublishCheck(lake, lease, config))
    except (IndexingError, LakeFormat) as error:
        why = error.message
    lease.check()
    try:
        n_files += len(stored.forget(root, key, videos, mark, config.index.cache_bytes))
    except LakeFormat as error:
        why = error.message
    return n_files, why


def index_traces(lake: Lake, videos: Sequence[str]) -> list[str]:
    """Files below the index, and copies on this machine, that hold rows of the videos, or may do."""
    column = pc.field("video_id").isin(pa.array(videos, pa.string())) & (pc.field("written") > 0)
    units = lake.read("units", ["video_id", "embed_key", "first_cell", "n_cells"], column).to_pylist()
    segments = [
        segment_id(unit["video_id"], cell, unit["embed_key"])
        for unit in units
        for cell in range(unit["first_cell"], unit["first_cell"] + unit["n_cells"])
    ]
    return stored.index_traces(index_root(lake), videos, segments)


def _written_keys(lake: Lake) -> set[str]:
    """The spaces that a first build may be working on, although nothing is stored of it yet."""
    return {key for key in pc.unique(lake.read("runs", ["embed_key"])["embed_key"]).to_pylist() if key}


def _rewrite_current(lake: Lake, key: str, videos: pa.Array, config: Config, check: PublishCheck) -> int:
    """Publish the current generation without the videos; gives how many files were removed, of an index without rows.

    Errors: RecallTooLow, IndexingError, CorruptGeneration, LakeFormat.
    """
    root = index_root(lake)
    try:
        manifest = current(root, key)
    except NoIndex:
        return 0
    if not stored.holds(root, manifest, videos, config.index.cache_bytes):
        return 0
    searcher = Searcher.load(root, manifest, cache_bytes=config.index.cache_bytes)
    hidden = searcher.find("video_id", retired_videos(lake, key))
    if len(np.union1d(hidden, searcher.tombstones)) == manifest.n_rows:
        return remove_index(lake, key)
    mark = erasure_mark(erased_videos(lake))
    made = remake(lake, manifest, without_gone, _as_before(manifest, config.index), videos.to_pylist(), mark)
    try:
        publish(root, made, check)
    except ShotlakeError:
        storage.delete(storage.join(root, key, made.path))  # its files are nobody's then
        raise
    return 0


def remove_index(lake: Lake, key: str) -> int:
    """Delete every file of a space's index, its pointers first; gives how many."""
    folder = storage.join(index_root(lake), key)
    names = sorted(storage.names(folder), key=lambda name: not name.startswith(POINTERS))
    for name in names:
        storage.delete(storage.join(folder, name))
    return len(names)


def _as_before(manifest: Manifest, config: IndexConfig) -> IndexConfig:
    """The settings that a generation was published with, whatever they are now."""
    tuning = next(iter(manifest.spaces.values())).tuning
    return config.model_copy(
        update={
            "spaces": manifest.spaces_asked,
            "min_queries": manifest.min_queries,
            "target_recall": tuning["text"].target,
            "target_recall_segment": tuning["segment"].target,
        }
    )


def tidy_indexes(lake: Lake, config: Config) -> tuple[int, dict[str, str]]:
    """Leave `index.keep_generations` of every space, and nothing of what was erased.

    Gives how many files were removed, and the spaces that were left as they are, or may hold erased rows, with why.
    """
    root, erased, n_files, skipped = index_root(lake), erased_videos(lake), 0, dict[str, str]()
    for key in sorted(stored.stored_keys(root)):
        try:
            with indexing(lake, key, config) as lease:
                why = ""
                if len(erased):
                    removed, why = forget_space(lake, key, erased, config, lease)
                    n_files += removed
                lease.check()
                if pointer_numbers(root, key):
                    n_files += len(prune(root, key, config.index.keep_generations))
        except (LeaseHeld, LeaseLost, CorruptGeneration, LakeFormat) as error:
            why = error.message
        if why:
            skipped[key] = why
    return n_files, skipped
