"""The generations of a lake: how the current one stands, how two differ, and those that are made of another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np

from shotlake import storage
from shotlake.config import Config, IndexConfig
from shotlake.errors import IndexingError, QueryError, RecallTooLow
from shotlake.flow.index_source import IndexSource, current_generation, index_root, newer_units, text_queries
from shotlake.flow.space import open_space
from shotlake.index.advice import advise, drift
from shotlake.index.default import DEFAULTS
from shotlake.index.diff import compare, tuned_queries
from shotlake.index.draft import GenerationTarget
from shotlake.index.manifest import Manifest, SpaceEntry, Tuning
from shotlake.index.prune import prune
from shotlake.index.publish import (
    POINTERS,
    current,
    find_generation,
    list_embed_keys,
    list_generations,
    publish,
    rollback,
    stored_generation,
)
from shotlake.index.rewrite import Plan, rewrite_generation, without_gone
from shotlake.index.searcher import Searcher
from shotlake.table.lake import Lake
from shotlake.table.readers import retired_videos


def published(config: Config) -> list[dict[str, Any]]:
    """What `shotlake index list` prints: one row a generation, the newest pointer last."""
    lake, space = Lake.open(config.lake), open_space(config)
    now = current_generation(lake, space.key)
    return [
        {
            "generation": manifest.generation,
            "current": "*" if now and manifest.generation == now.generation else "",
            "table_version": manifest.table_version,
            "rows": manifest.table_rows,
            "codec": manifest.plan.codec,
            "shards": len(manifest.shards),
            "spaces": ",".join(manifest.spaces),
        }
        for manifest in list_generations(index_root(lake), space.key)
    ]


def roll_back(config: Config, generation: str = "") -> str:
    """Make an earlier generation the current one again, or the one before; gives its name. Errors: IndexingError."""
    lake, space = Lake.open(config.lake), open_space(config)
    rollback(index_root(lake), space.key, generation)
    return current(index_root(lake), space.key).generation


def publish_stored(config: Config, generation: str) -> int:
    """Make a generation that was only built the current one, once every byte of it was read; the pointer's number.

    Errors: NoIndex (it is not stored), CorruptGeneration, RecallTooLow, IndexingError.
    """
    lake, space = Lake.open(config.lake), open_space(config)
    manifest = stored_generation(index_root(lake), space.key, generation)
    Searcher.load(index_root(lake), manifest, cache_bytes=config.index.cache_bytes)
    return publish(index_root(lake), manifest)


def standing(config: Config) -> dict[str, Any]:
    """What `shotlake index status` prints: the current generation beside the table, and what to do about it.

    Errors: NoIndex, SourceMissing.
    """
    source = IndexSource(config, open_space(config))
    manifest = current(index_root(source.lake), source.space.key)
    advice = advise(manifest, source.n_rows, source.version, source.section)
    newer = source.rows(newer_units(source.lake, source.space.key, manifest.table_version))
    files = {file.path: file.size_bytes for file in manifest.files}
    return {
        "generation": manifest.generation,
        "parent": manifest.parent,
        "embed_key": manifest.embed_key,
        "built_at": manifest.built_at.isoformat(timespec="seconds"),
        "table_version": manifest.table_version,
        "table_version_now": source.version,
        "rows": manifest.n_rows,
        "retired_rows": manifest.retired_rows,
        "live_rows_now": source.n_rows,
        "unindexed_rows": len(newer.segments),
        "codec": manifest.codec,
        "nlist": manifest.plan.nlist,
        "shards": len(manifest.shards),
        "ram_bytes": manifest.plan.ram_bytes * len(manifest.spaces),
        "disk_bytes": sum(files.values()),
        "spaces": {space: _standing_of(entry, manifest) for space, entry in manifest.spaces.items()},
        "advice": asdict(advice),
    }


def _standing_of(entry: SpaceEntry, manifest: Manifest) -> dict[str, Any]:
    recall = {kind: _recall(tuning) for kind, tuning in entry.tuning.items()}
    return {"vectors": entry.n_vectors, "recall_at_10": recall, "drift": drift(entry, manifest.plan)}


def _recall(tuning: Tuning) -> dict[str, Any]:
    point = tuning.chosen
    return {
        "recall": point.recall,
        "lower_bound": point.lower_bound,
        "target": tuning.target,
        "nprobe": point.nprobe,
        "rerank": point.rerank,
        "ms": point.ms,
        "queries": tuning.n_queries,
        "source": tuning.source,
    }


def differences(config: Config, first: str, second: str, query_file: str = "") -> dict[str, Any]:
    """What `shotlake index diff` prints of two generations; asked are the queries of a file, or those that the second
    was tuned with. Errors: NoIndex (one of them is not known), QueryError (they have no space in common).
    """
    lake, space = Lake.open(config.lake), open_space(config)
    root = index_root(lake)
    manifests = [find_generation(root, space.key, name) for name in (first, second)]
    old, new = (Searcher.load(root, manifest, cache_bytes=config.index.cache_bytes) for manifest in manifests)
    common = [name for name in old.spaces if name in new.spaces]
    if not common:
        raise QueryError(f"{first} has the spaces {list(old.spaces)}, {second} {list(new.spaces)}; none is in both")
    asked = config.model_copy(update={"index": config.index.model_copy(update={"query_file": query_file})})
    given = text_queries(asked, space) if query_file else None
    source = given.source if given else new.manifest.spaces[common[0]].tuning["text"].source
    found = {
        name: asdict(compare(old, new, name, given.vectors[name] if given else tuned_queries(new, name)))
        for name in common
    }
    rows = {"first": old.manifest.table_rows, "second": new.manifest.table_rows}
    return {"first": first, "second": second, "rows": rows, "queries": source, "spaces": found}


def remake(lake: Lake, parent: Manifest, plan: Plan, config: IndexConfig, removed: Sequence[str]) -> Manifest:
    """Store the generation that `plan` makes of another one, without the rows of the `removed` videos."""
    target = GenerationTarget(
        index_root=index_root(lake),
        embed_key=parent.embed_key,
        fingerprint=parent.fingerprint,
        table_uri=parent.table_uri,
        table_version=parent.table_version,
    )
    return rewrite_generation(parent, target, plan, config, removed)


def forget_videos(lake: Lake, videos: Sequence[str], config: IndexConfig) -> tuple[int, dict[str, str]]:
    """Write every shard that holds rows of erased videos anew without them; remove all other generations and drafts.

    In every space of the lake, without its encoder. Gives how many stored files were removed, and the spaces that hold
    rows still, each with what hinders: their recall could not be measured to their targets any more.
    """
    published, held = list_embed_keys(index_root(lake)), dict[str, str]()
    all_keys = {name.split("/")[0] for name in storage.names(index_root(lake))} - {DEFAULTS}
    n_files = sum(remove_index(lake, key) for key in all_keys.difference(published))  # drafts that may hold rows
    for key in published:
        manifest = current(index_root(lake), key)
        searcher = Searcher.load(index_root(lake), manifest, cache_bytes=config.cache_bytes)
        rows = searcher.find("video_id", videos)
        hidden = searcher.find("video_id", retired_videos(lake, key))
        if len(rows) and len(np.union1d(hidden, searcher.tombstones)) == manifest.n_rows:
            n_files += remove_index(lake, key)
            continue
        if len(rows):
            try:
                made = remake(lake, manifest, without_gone, _as_before(manifest, config), videos)
                publish(index_root(lake), made)
            except (RecallTooLow, IndexingError) as error:
                held[key] = str(error)
                continue
        n_files += len(prune(index_root(lake), key, keep=1, grace=timedelta(0)))
    return n_files, held


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
