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
from shotlake.index.draft import Contents, Draft, GenerationTarget, check_disk, kept_files, open_draft
from shotlake.index.fill import Truths, fill_shards, map_shards, segment_ids, train_epoch
from shotlake.index.manifest import Manifest, QueryKind, SpaceEntry, SpaceShard, Tuning
from shotlake.index.rows import RowSource, sample_rows
from shotlake.index.scan import SpaceVectors, load_trained
from shotlake.index.searcher import Searcher
from shotlake.index.shard import ShardPlace
from shotlake.index.sizing import plan_index
from shotlake.index.truth import Truth
from shotlake.index.tuning import tune
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
    rows: RowSource, n_rows: int, target: GenerationTarget, text_queries: TextQueries, config: IndexConfig
) -> Manifest:
    """Build and store a generation from the live rows of a table version; `rows` is called twice.

    `rows()`: batches with the columns of `columns.COLUMNS` and a nullable `list<float32>` a space of `config.spaces`.
    `n_rows`: how many rows the table has, which `publish` holds the shards to. Errors: IndexingError.
    """
    plan = plan_index(n_rows, _dimension(text_queries, config.spaces), config)
    log.info("index_plan %s", " ".join(f"{name}={value}" for name, value in asdict(plan).items()))
    check_disk(plan.scratch_bytes(len(config.spaces)))
    with open_draft(target) as draft:
        training, held_out = sample_rows(rows, plan, config.spaces)
        trained = {space: train_epoch(draft.epoch / space, sample, plan) for space, sample in training.items()}
        truths: Truths = {
            space: {"text": Truth(text_queries.vectors[space]), "segment": Truth(vectors.astype(np.float32), ids)}
            for space, (ids, vectors) in held_out.items()
        }
        filled = fill_shards(rows, plan, ShardPlace(draft.generation, 0, 0), trained, truths)
        spaces = {}
        for space, path in trained.items():
            vectors = SpaceVectors(load_trained(path), map_shards(draft.folder, filled, space, plan.dim))
            spaces[space] = SpaceEntry(
                epoch=draft.name,
                trained=draft.stored(path),
                n_vectors=_count(filled.spaces[space]),
                shards=filled.spaces[space],
                tuning=_tune_kinds(vectors, truths[space], text_queries.source, config),
                truths=_save_truths(draft, space, truths[space]),
            )
        return draft.store(Contents(plan, filled.shards, spaces), config)


def update_generation(
    rows: RowSource, change: TableChange, parent: Manifest, target: GenerationTarget, config: IndexConfig
) -> Manifest:
    """Store a generation that has the shards of `parent`, unchanged, and fresh ones of the same epoch for the new rows.

    `rows()`: the live rows that the parent has not; called once. The recall is measured again, with the queries and the
    truth of the parent, from which rows that are gone are taken: of retired videos, and segments that are new again.
    Errors: IndexingError, CorruptGeneration.
    """
    searcher = Searcher.load(target.index_root, parent)
    retired = np.union1d(searcher.tombstones, searcher.find("video_id", change.retired_videos))
    plan = replace(parent.plan, n_rows=change.table_rows)
    n_fresh = max(0, change.table_rows - (parent.n_rows - len(retired)))
    fresh_plan = replace(plan, n_rows=n_fresh, n_shards=max(1, -(-n_fresh // config.rows_per_shard)))
    check_disk(fresh_plan.scratch_bytes(len(parent.spaces)))
    with open_draft(replace(target, parent=parent.generation)) as draft:
        trained = {space: searcher.files[entry.trained] for space, entry in parent.spaces.items()}
        truths: Truths = {
            space: {kind: Truth.load(searcher.files[path]).without(retired) for kind, path in entry.truths.items()}
            for space, entry in parent.spaces.items()
        }
        start = ShardPlace(draft.generation, len(parent.shards), parent.n_rows)
        fresh = fill_shards(rows, fresh_plan, start, trained, truths)
        replaced = searcher.find("segment_id", segment_ids(draft.folder, fresh))
        gone = np.union1d(retired, replaced)
        spaces = {}
        for space, entry in parent.spaces.items():
            shards = [*searcher.spaces[space].shards, *map_shards(draft.folder, fresh, space, plan.dim)]
            vectors = SpaceVectors(load_trained(trained[space]), shards, gone)
            known = {kind: truth.without(replaced) for kind, truth in truths[space].items()}
            entries = (*entry.shards, *fresh.spaces[space])
            spaces[space] = SpaceEntry(
                epoch=entry.epoch,
                trained=entry.trained,
                n_vectors=_count(entries),
                shards=entries,
                tuning=_tune_kinds(vectors, known, entry.tuning["text"].source, config),
                truths=_save_truths(draft, space, known),
            )
        kept = kept_files(parent, spaces)
        return draft.store(Contents(plan, (*parent.shards, *fresh.shards), spaces, kept, gone), config)


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


def _tune_kinds(
    vectors: SpaceVectors, truths: dict[QueryKind, Truth], text_source: str, config: IndexConfig
) -> dict[QueryKind, Tuning]:
    return {
        "text": tune(vectors, truths["text"], text_source, config.target_recall),
        "segment": tune(vectors, truths["segment"], "rows of the table", config.target_recall_segment),
    }


def _save_truths(draft: Draft, space: Space, truths: dict[QueryKind, Truth]) -> dict[QueryKind, str]:
    paths: dict[QueryKind, str] = {}
    for kind, truth in truths.items():
        path = draft.generation / space / f"truth-{kind}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        truth.save(path)
        paths[kind] = draft.stored(path)
    return paths


def _count(shards: Iterable[SpaceShard]) -> int:
    return sum(shard.n_vectors for shard in shards)
