"""Building a generation: sample, train, fill shards, measure, store; or adding fresh shards to the epoch of another.

Nothing that is stored is visible before `publish` names it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.draft import Contents, GenerationTarget, check_room, kept_files, open_draft
from shotlake.index.effort import effort
from shotlake.index.fill import (
    HERE,
    Fill,
    Filled,
    FillTask,
    Workers,
    columns_of,
    fill_here,
    maker,
    map_shards,
    segment_ids,
    shard_runs,
    truths_of,
)
from shotlake.index.fresh_queries import with_fresh
from shotlake.index.manifest import File, Manifest, SpaceEntry, SpaceShard
from shotlake.index.measure import measure
from shotlake.index.receipts import FilledShard, Trained
from shotlake.index.rows import MOST_SEGMENT_QUERIES, RowSource, blocks, query_rows
from shotlake.index.scan import SpaceVectors
from shotlake.index.searcher import Searcher
from shotlake.index.sizing import IndexPlan, check_budget, plan_index
from shotlake.index.stored import load_trained
from shotlake.index.truth import Truth, Truths
from shotlake.records import QueryVectors, Space

__all__ = ["GenerationTarget", "TableChange", "TextQueries", "build_generation", "update_generation"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TextQueries:
    """Text queries that the recall is measured with: [Q, D] a space, and where the words come from."""

    source: str
    vectors: QueryVectors


@dataclass(frozen=True, slots=True)
class TableChange:
    """A later version of the table: so many live rows now, and of these videos no row is live any more."""

    table_rows: int
    retired_videos: Sequence[str] = ()


def build_generation(
    rows: RowSource,
    n_rows: int,
    target: GenerationTarget,
    text_queries: TextQueries,
    config: IndexConfig,
    workers: Workers = HERE,
) -> Manifest:
    """Build and store a generation from the live rows of a table version, or go on where a killed build ended.

    `rows(n)`: from row n on, batches with the columns of `columns.COLUMNS` and a nullable `list<float32>` a space of
    `config.spaces`. `n_rows`: how many rows the table has, which `publish` holds the shards to. `workers`: where
    epochs are trained and shards filled. Errors: IndexingError.
    """
    plan = plan_index(n_rows, _dimension(text_queries, config.spaces), config)
    n_queries = max(len(text_queries.vectors[space]) for space in config.spaces) + MOST_SEGMENT_QUERIES
    memory_bytes = plan.build_bytes(len(config.spaces), n_queries)
    log.info("index_plan %s", " ".join(f"{name}={value}" for name, value in asdict(plan).items()))
    log.info(
        "index_plan factory=%s memory_bytes=%d scratch_bytes=%d cpu_s=%.0f",
        plan.factory,
        memory_bytes,
        plan.scratch_bytes(len(config.spaces)),
        effort(plan, len(config.spaces), n_queries).cpu_s,
    )
    check_budget(plan, len(config.spaces), config)
    check_room(plan.scratch_bytes(len(config.spaces)), memory_bytes)
    asked: dict[str, bytes] = {space: text_queries.vectors[space].tobytes() for space in config.spaces}
    with open_draft(target, plan, asked, config.cache_bytes) as draft:
        trained = workers.train(rows, plan, config.spaces, draft.receipts, draft.name)
        truths = truths_of(text_queries.vectors, trained.held_out)
        needed = plan.filling_bytes(len(truths), n_queries)
        task = FillTask(draft.receipts, draft.name, plan.dim, trained.indexes, truths, needed)
        parts = [part for part in workers.fill(task, shard_runs(plan), rows) if part]
        _merge(truths, parts)
        filled = Filled.of(parts, trained.indexes)
        files = draft.receipts.fetch((*trained.files, *filled.files))
        spaces, measured, columns = {}, list[File](), columns_of(files, filled)
        for space, index in trained.indexes.items():
            vectors = SpaceVectors(load_trained(files[index.path]), map_shards(files, filled, space, plan.dim))
            found = measure(draft, space, vectors, truths[space], columns, text_queries.source, config)
            measured += found.files
            spaces[space] = SpaceEntry(
                epoch=index.path.split("/")[1],
                trained=index.path,
                n_vectors=_count(filled.spaces[space]),
                shards=filled.spaces[space],
                first_shards=len(filled.shards),
                **found.entry(),
            )
        elsewhere = _elsewhere_s([trained, *parts])
        everything = (*trained.files, *filled.files, *measured)
        return draft.finish(Contents(plan, filled.shards, spaces, everything, elsewhere), config)


def update_generation(
    rows: RowSource,
    change: TableChange,
    parent: Manifest,
    target: GenerationTarget,
    config: IndexConfig,
    fill: Fill = fill_here,
) -> Manifest:
    """Store a generation that has the shards of `parent`, unchanged, and fresh ones of the same epoch for the new rows.

    `rows(n)`: from the n-th on, the live rows that the parent has not. The recall is measured again, with the queries
    and the truth of the parent, from which rows that are gone are taken: of retired videos, and segments that are new
    again. Errors: IndexingError, CorruptGeneration.
    """
    check_budget(updated_plan(parent, change.table_rows), len(parent.spaces), config)
    searcher = Searcher.load(target.index_root, parent, cache_bytes=config.cache_bytes)
    retired = np.union1d(searcher.tombstones, searcher.find("video_id", change.retired_videos))
    plan = replace(parent.plan, n_rows=change.table_rows)
    n_fresh = max(0, change.table_rows - (parent.n_rows - len(retired)))
    fresh_plan = replace(plan, n_rows=n_fresh, n_shards=max(1, -(-n_fresh // config.rows_per_shard)))
    check_budget(updated_plan(parent, parent.n_rows + n_fresh), len(parent.spaces), config)
    check_room(fresh_plan.scratch_bytes(len(parent.spaces)), 0)
    truths: Truths = {
        space: {kind: Truth.load(searcher.files[path]).without(retired) for kind, path in entry.truths.items()}
        for space, entry in parent.spaces.items()
    }
    new = query_rows(blocks(rows(0)), tuple(parent.spaces), plan.dim)
    for space, kinds in truths.items():
        older = searcher.spaces[space].without(retired)
        kinds["segment"] = with_fresh(
            kinds["segment"], new[space], searcher.row_columns, older, parent.spaces[space].tuning["segment"]
        )
    target, asked = replace(target, parent=parent.generation), {"retired": retired.tobytes()}
    asked |= {space: kinds["segment"].queries.tobytes() for space, kinds in truths.items()}
    with open_draft(target, fresh_plan, asked, config.cache_bytes) as draft:
        known = {file.path: file for file in parent.files}
        trained = {space: known[entry.trained] for space, entry in parent.spaces.items()}
        blank: Truths = {space: {kind: truth.blank() for kind, truth in truths[space].items()} for space in truths}
        n_queries = sum(len(truth.queries) for truth in blank[next(iter(blank))].values())
        needed = fresh_plan.filling_bytes(len(blank), n_queries)
        task = FillTask(draft.receipts, draft.name, plan.dim, trained, blank, needed)
        parts = [part for part in fill(task, shard_runs(fresh_plan, len(parent.shards), parent.n_rows), rows) if part]
        _merge(truths, parts)
        fresh = Filled.of(parts, trained)
        files = draft.receipts.fetch(fresh.files)
        replaced = searcher.find("segment_id", segment_ids(files, fresh))
        gone = np.union1d(retired, replaced)
        columns = searcher.row_columns.followed_by(columns_of(files, fresh))
        spaces, measured = {}, list[File]()
        for space, entry in parent.spaces.items():
            shards = [*searcher.spaces[space].shards, *map_shards(files, fresh, space, plan.dim)]
            vectors = SpaceVectors(load_trained(searcher.files[entry.trained]), shards, gone)
            left = {kind: truth.without(replaced) for kind, truth in truths[space].items()}
            entries = (*entry.shards, *fresh.spaces[space])
            found = measure(draft, space, vectors, left, columns, entry.tuning["text"].source, config)
            measured += found.files
            sizes = {"n_vectors": _count(entries), "shards": entries}
            spaces[space] = entry.model_copy(update=sizes | found.entry())
        elsewhere = _elsewhere_s(parts)
        everything = (*kept_files(parent, spaces), *fresh.files, *measured)
        return draft.finish(
            Contents(plan, (*parent.shards, *fresh.shards), spaces, everything, elsewhere, gone), config
        )


def updated_plan(parent: Manifest, n_rows: int) -> IndexPlan:
    """The generation that `parent` becomes with `n_rows` in its shards; it has no fewer than those that it has."""
    return replace(parent.plan, n_rows=max(parent.n_rows, n_rows), n_shards=len(parent.shards) + 1)


def _elsewhere_s(parts: Sequence[Trained | FilledShard]) -> float:
    """CPU seconds of other processes, be it of an earlier build."""
    return sum(part.cpu_s for part in parts if part.maker != maker())


def _merge(truths: Truths, parts: Iterable[FilledShard]) -> None:
    """Add what the shards found, in their order."""
    for part in parts:
        for space, kinds in truths.items():
            for kind, truth in kinds.items():
                truth.merge(part.truths[space][kind])


def _dimension(queries: TextQueries, spaces: tuple[Space, ...]) -> int:
    """Length of the vectors, which the encoder of the text queries decides."""
    for space in spaces:
        vectors = queries.vectors.get(space)
        if vectors is None or not len(vectors):
            raise IndexingError(
                f"no text queries for the space {space!r} (source: {queries.source}); "
                "name a file of queries in index.query_file or take the space out of index.spaces"
            )
    return int(queries.vectors[spaces[0]].shape[1])


def _count(shards: Iterable[SpaceShard]) -> int:
    return sum(shard.n_vectors for shard in shards)
