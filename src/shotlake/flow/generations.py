"""The generations of a lake: how the current one stands, how two differ, and those that are made of another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shotlake.config import Config, IndexConfig
from shotlake.errors import QueryError
from shotlake.flow.index_lease import PublishCheck, indexing
from shotlake.flow.index_source import IndexSource, current_generation, index_root, newer_units, text_queries
from shotlake.flow.space import open_space
from shotlake.index.advice import advise, drift
from shotlake.index.diff import compare, tuned_queries
from shotlake.index.draft import GenerationTarget
from shotlake.index.manifest import Manifest, SpaceEntry, Tuning
from shotlake.index.publish import (
    current,
    find_generation,
    list_generations,
    publish,
    rollback,
    stored_generation,
)
from shotlake.index.rewrite import Plan, rewrite_generation
from shotlake.index.searcher import Searcher
from shotlake.table.lake import Lake


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
    """Make an earlier generation the current one again, or the one before; gives its name.

    One that has rows of erased videos is refused. Errors: IndexingError, CorruptGeneration, LeaseHeld.
    """
    lake, space = Lake.open(config.lake), open_space(config)
    with indexing(lake, space.key, config) as lease:
        rollback(index_root(lake), space.key, generation, PublishCheck(lake, lease, config))
        return current(index_root(lake), space.key).generation


def publish_stored(config: Config, generation: str) -> int:
    """Make a generation that was only built the current one, once every byte of it was read; the pointer's number.

    One that has rows of erased videos, hidden ones too, is refused and left as it is.
    Errors: NoIndex (it is not stored), CorruptGeneration, RecallTooLow, IndexingError, LeaseHeld.
    """
    lake, space = Lake.open(config.lake), open_space(config)
    with indexing(lake, space.key, config) as lease:
        manifest = stored_generation(index_root(lake), space.key, generation)
        Searcher.load(index_root(lake), manifest, cache_bytes=config.index.cache_bytes)
        return publish(index_root(lake), manifest, PublishCheck(lake, lease, config))


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
        "by_collection": [each.model_dump() for each in tuning.by_collection],
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


def remake(
    lake: Lake, parent: Manifest, plan: Plan, config: IndexConfig, removed: Sequence[str], mark: str = ""
) -> Manifest:
    """Store the generation that `plan` makes of another one, without the rows of the `removed` videos.

    `mark`: of the erasures that are among them, as `erasure_mark` gives it.
    """
    target = GenerationTarget(
        index_root=index_root(lake),
        embed_key=parent.embed_key,
        fingerprint=parent.fingerprint,
        table_uri=parent.table_uri,
        table_version=parent.table_version,
        mark=mark,
    )
    return rewrite_generation(parent, target, plan, config, removed)
