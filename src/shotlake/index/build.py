"""Building a generation: sample, train, fill shards, tune, store. `build_generation` reads top to bottom.

Nothing that is stored is visible before `publish` names it; the manifest is written last and never replaced.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np

from shotlake import storage
from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.files import file_entry
from shotlake.index.manifest import (
    INDEX_NAME,
    ROWS_NAME,
    Cost,
    File,
    Manifest,
    QueryKind,
    Shard,
    SpaceEntry,
    SpaceShard,
    Tuning,
)
from shotlake.index.rows import RowSource, SmallestIds, blocks, vectors_of
from shotlake.index.scan import ShardVectors, SpaceVectors, load_index, load_trained, map_rows
from shotlake.index.shard import ShardPlace, build_shard
from shotlake.index.sizing import IndexPlan, plan_index
from shotlake.index.training import train_space
from shotlake.index.truth import Truth
from shotlake.index.tuning import tune
from shotlake.index.wheel import check_one_faiss
from shotlake.records import Fingerprint, QueryVectors, Space, stable_id

SEGMENT_QUERIES = 1_000
TRAINED_NAME, REPORT_NAME = "trained.faiss", "report.json"

Truths = Mapping[Space, dict[QueryKind, Truth]]


@dataclass(frozen=True, slots=True)
class GenerationTarget:
    """What a generation is built of and where it goes; `index_root` is "<lake>/index"."""

    index_root: str
    embed_key: str
    fingerprint: Fingerprint
    table_uri: str
    table_version: int
    parent: str | None = None

    @property
    def folder(self) -> str:
        """Where everything of this embed_key stands."""
        return storage.join(self.index_root, self.embed_key)


@dataclass(frozen=True, slots=True)
class TextQueries:
    """Text queries that the recall is measured with: [Q, D] a space, and where the words come from."""

    source: str
    vectors: QueryVectors


@dataclass(frozen=True, slots=True)
class _Filled:
    """The shards as they stand on this machine, with paths as they will be stored."""

    shards: tuple[Shard, ...]
    spaces: dict[Space, tuple[SpaceShard, ...]]


def build_generation(
    rows: RowSource, n_rows: int, target: GenerationTarget, text_queries: TextQueries, config: IndexConfig
) -> Manifest:
    """Build and store a generation from the live rows of a table version; `rows` is called twice.

    `rows()`: batches with the columns of `columns.COLUMNS` and a nullable `list<float32>` a space of `config.spaces`.
    `n_rows`: how many rows the table has, which `publish` holds the shards to. Errors: IndexingError.
    """
    wheel, built_at = check_one_faiss(), datetime.now(UTC)
    started, cpu_started = time.monotonic(), time.process_time()
    plan = plan_index(n_rows, _dimension(text_queries, config.spaces), config)
    name = f"{target.table_version:08d}-{stable_id(built_at.isoformat(), socket.gethostname(), os.getpid())[:8]}"
    with tempfile.TemporaryDirectory(prefix="shotlake-index-") as scratch:
        work = Path(scratch)
        training, held_out = _sample(rows, plan, config.spaces)
        trained = {space: _train(work, name, space, sample, plan) for space, sample in training.items()}
        truths = {space: _truths(text_queries, space, held_out[space]) for space in trained}
        filled = _fill(rows, plan, work / name, trained, truths)
        spaces = {
            space: SpaceEntry(
                epoch=name,
                trained=path.relative_to(work).as_posix(),
                n_vectors=sum(shard.n_vectors for shard in filled.spaces[space]),
                shards=filled.spaces[space],
                tuning=_tune(_load(work, path, filled, space, plan), truths[space], text_queries, plan, config),
            )
            for space, path in trained.items()
        }
        files = _upload(work, target.folder)
    manifest = Manifest(
        generation=name,
        parent=target.parent,
        embed_key=target.embed_key,
        fingerprint=target.fingerprint,
        faiss=wheel,
        table_uri=target.table_uri,
        table_version=target.table_version,
        built_at=built_at,
        plan=plan,
        min_queries=config.min_queries,
        shards=filled.shards,
        spaces=spaces,
        files=files,
        cost=Cost(cpu_s=time.process_time() - cpu_started, wall_s=time.monotonic() - started),
    )
    storage.create(storage.join(target.folder, manifest.path), manifest.to_bytes())
    return manifest


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


def _sample(
    rows: RowSource, plan: IndexPlan, spaces: tuple[Space, ...]
) -> tuple[dict[Space, SmallestIds], dict[Space, SmallestIds]]:
    """First pass: what to train on and which segments to ask for, of every space that has vectors."""
    training = {space: SmallestIds(plan.train_rows, plan.dim) for space in spaces}
    held_out = {space: SmallestIds(SEGMENT_QUERIES, plan.dim, largest=True) for space in spaces}
    for _, block in blocks(rows(), plan.n_rows):
        for space in spaces:
            vectors, present = vectors_of(block, space, plan.dim)
            ids = block.column("segment_id").filter(present)
            training[space].add(ids, vectors[present])
            held_out[space].add(ids, vectors[present])
    training = {space: sample for space, sample in training.items() if sample.ids}
    if not training:
        raise IndexingError(f"no row has a vector in the spaces {list(spaces)}; verify the lake")
    return training, held_out


def _train(work: Path, epoch: str, space: Space, sample: SmallestIds, plan: IndexPlan) -> Path:
    """Train a space and write the empty index with a report; returns the index file."""
    started = time.process_time()
    index = train_space(sample.rows, plan)
    path = work / "epochs" / epoch / space / TRAINED_NAME
    path.parent.mkdir(parents=True)
    faiss.write_index(index, str(path))
    cpu_s = round(time.process_time() - started, 3)
    report = {"codec": plan.codec, "nlist": plan.nlist, "train_rows": len(sample.ids), "cpu_s": cpu_s}
    path.with_name(REPORT_NAME).write_text(json.dumps(report, indent=1))
    return path


def _truths(queries: TextQueries, space: Space, held_out: SmallestIds) -> dict[QueryKind, Truth]:
    texts = np.ascontiguousarray(queries.vectors[space], dtype=np.float32)
    return {"text": Truth(texts), "segment": Truth(held_out.rows, held_out.ids)}


def _fill(rows: RowSource, plan: IndexPlan, folder: Path, trained: Mapping[Space, Path], truths: Truths) -> _Filled:
    """Second pass: cut the stream into shards of even size, in its order."""
    shards: list[Shard] = []
    entries: dict[Space, list[SpaceShard]] = {space: [] for space in trained}
    rows_per_shard = -(-plan.n_rows // plan.n_shards)
    collectors = {space: list(kinds.values()) for space, kinds in truths.items()}
    for number, run in itertools.groupby(blocks(rows(), rows_per_shard), key=lambda numbered: numbered[0]):
        place = ShardPlace(folder, f"{number:05d}", number * rows_per_shard)
        shard, parts = build_shard(place, trained, plan.dim, (block for _, block in run), collectors)
        shards.append(shard)
        for space, part in parts.items():
            path = place.directory(space).relative_to(folder.parent).as_posix()
            entries[space].append(part.model_copy(update={"path": path}))
    return _Filled(tuple(shards), {space: tuple(parts) for space, parts in entries.items()})


def _load(work: Path, trained: Path, filled: _Filled, space: Space, plan: IndexPlan) -> SpaceVectors:
    shards = [
        ShardVectors(load_index(directory / INDEX_NAME), map_rows(directory / ROWS_NAME, plan.dim), shard.first_row)
        for directory, shard in zip([work / part.path for part in filled.spaces[space]], filled.shards)
    ]
    return SpaceVectors(load_trained(trained), shards)


def _tune(
    vectors: SpaceVectors, truths: dict[QueryKind, Truth], queries: TextQueries, plan: IndexPlan, config: IndexConfig
) -> dict[QueryKind, Tuning]:
    exact = plan.codec == "exact"
    return {
        "text": tune(vectors, truths["text"], queries.source, config.target_recall, exact),
        "segment": tune(vectors, truths["segment"], "rows of the table", config.target_recall_segment, exact),
    }


def _upload(work: Path, folder: str) -> tuple[File, ...]:
    """Store every file of the scratch folder under the same relative path."""
    entries = []
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        entry = file_entry(path, path.relative_to(work).as_posix())
        storage.upload(path, storage.join(folder, entry.path))
        entries.append(entry)
    return tuple(entries)
