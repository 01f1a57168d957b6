"""Building a generation: sample, train, fill shards, measure, store; or adding fresh shards to the epoch of another.

Nothing that is stored is visible before `publish` names it; the manifest is written last and never replaced.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from shotlake import storage
from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.files import file_entry
from shotlake.index.fill import Truths, fill_shards, map_shards, train_epoch
from shotlake.index.manifest import Cost, File, Manifest, QueryKind, Shard, SpaceEntry, SpaceShard, Tuning
from shotlake.index.rows import RowSource, sample_rows
from shotlake.index.scan import SpaceVectors, load_trained
from shotlake.index.searcher import Searcher
from shotlake.index.shard import ShardPlace
from shotlake.index.sizing import IndexPlan, plan_index
from shotlake.index.truth import Truth
from shotlake.index.tuning import tune
from shotlake.index.wheel import check_one_faiss
from shotlake.records import Fingerprint, QueryVectors, Space, stable_id

log = logging.getLogger(__name__)


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
    log.info(
        "index_plan rows=%d dim=%d codec=%s nlist=%d train_rows=%d shards=%d ram_bytes=%d disk_bytes=%d",
        *(
            plan.n_rows,
            plan.dim,
            plan.codec,
            plan.nlist,
            plan.train_rows,
            plan.n_shards,
            plan.ram_bytes,
            plan.disk_bytes,
        ),
    )
    with _draft(target) as draft:
        training, held_out = sample_rows(rows, plan, config.spaces)
        trained = {space: train_epoch(draft.epoch / space, sample, plan) for space, sample in training.items()}
        truths: Truths = {
            space: {"text": Truth(text_queries.vectors[space]), "segment": Truth(vectors, ids)}
            for space, (ids, vectors) in held_out.items()
        }
        filled = fill_shards(rows, plan, ShardPlace(draft.generation, 0, 0), trained, truths)
        spaces = {}
        for space, path in trained.items():
            vectors = SpaceVectors(load_trained(path), map_shards(draft.folder, filled, space, plan.dim))
            spaces[space] = SpaceEntry(
                epoch=draft.name,
                trained=path.relative_to(draft.folder).as_posix(),
                n_vectors=_count(filled.spaces[space]),
                shards=filled.spaces[space],
                tuning=_tune_kinds(vectors, truths[space], text_queries.source, config),
                truths=_save_truths(draft, space, truths[space]),
            )
        return draft.store(plan, filled.shards, spaces, config)


def update_generation(
    rows: RowSource, change: TableChange, parent: Manifest, target: GenerationTarget, config: IndexConfig
) -> Manifest:
    """Store a generation that has the shards of `parent`, unchanged, and fresh ones of the same epoch for the new rows.

    `rows()`: the live rows that the parent has not; called once. The recall is measured again, with the queries and the
    truth of the parent, from which retired rows are taken. Errors: IndexingError, CorruptGeneration.
    """
    searcher = Searcher.load(target.index_root, parent)
    hidden = searcher.find("video_id", change.retired_videos)
    plan = replace(parent.plan, n_rows=change.table_rows)
    n_fresh = max(0, change.table_rows - (parent.n_rows - len(hidden)))
    with _draft(replace(target, parent=parent.generation)) as draft:
        trained = {space: searcher.files[entry.trained] for space, entry in parent.spaces.items()}
        truths: Truths = {
            space: {kind: Truth.load(searcher.files[path]).without(hidden) for kind, path in entry.truths.items()}
            for space, entry in parent.spaces.items()
        }
        fresh_plan = replace(plan, n_rows=n_fresh, n_shards=max(1, -(-n_fresh // config.rows_per_shard)))
        start = ShardPlace(draft.generation, len(parent.shards), parent.n_rows)
        fresh = fill_shards(rows, fresh_plan, start, trained, truths)
        spaces = {}
        for space, entry in parent.spaces.items():
            shards = [*searcher.spaces[space].shards, *map_shards(draft.folder, fresh, space, plan.dim)]
            vectors = SpaceVectors(load_trained(trained[space]), shards, hidden)
            entries = (*entry.shards, *fresh.spaces[space])
            tuning = _tune_kinds(vectors, truths[space], entry.tuning["text"].source, config)
            saved = _save_truths(draft, space, truths[space])
            changed = {"n_vectors": _count(entries), "shards": entries, "tuning": tuning, "truths": saved}
            spaces[space] = entry.model_copy(update=changed)
        earlier = parent.model_copy(update={"retired_rows": len(hidden)})
        return draft.store(plan, (*parent.shards, *fresh.shards), spaces, config, earlier)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A generation while it is made, in a scratch folder that is laid out like the lake's."""

    target: GenerationTarget
    folder: Path
    name: str
    wheel: str
    built_at: datetime
    cpu_from_s: float
    wall_from_s: float

    @property
    def generation(self) -> Path:
        """Where its shards stand."""
        return self.folder / self.name

    @property
    def epoch(self) -> Path:
        """Where its trained spaces stand, if it has its own."""
        return self.folder / "epochs" / self.name

    def store(
        self,
        plan: IndexPlan,
        shards: tuple[Shard, ...],
        spaces: dict[Space, SpaceEntry],
        config: IndexConfig,
        earlier: Manifest | None = None,
    ) -> Manifest:
        """Upload every file, then the manifest, which refers to the files of an `earlier` generation as well."""
        files = _upload(self.folder, self.target.folder)
        target = self.target
        manifest = Manifest(
            generation=self.name,
            parent=target.parent,
            embed_key=target.embed_key,
            fingerprint=target.fingerprint,
            faiss=self.wheel,
            table_uri=target.table_uri,
            table_version=target.table_version,
            built_at=self.built_at,
            plan=plan,
            min_queries=config.min_queries,
            retired_rows=earlier.retired_rows if earlier else 0,
            shards=shards,
            spaces=spaces,
            files=(*_kept_files(earlier, spaces), *files) if earlier else files,
            cost=Cost(cpu_s=time.process_time() - self.cpu_from_s, wall_s=time.monotonic() - self.wall_from_s),
        )
        storage.create(storage.join(target.folder, manifest.path), manifest.to_bytes())
        log.info("index_built generation=%s rows=%d cpu_s=%.1f", self.name, manifest.n_rows, manifest.cost.cpu_s)
        return manifest


@contextmanager
def _draft(target: GenerationTarget) -> Iterator[_Draft]:
    """A new name and an empty scratch folder, which is gone afterwards."""
    wheel, built_at = check_one_faiss(), datetime.now(UTC)
    started = time.process_time(), time.monotonic()
    name = f"{target.table_version:08d}-{stable_id(built_at.isoformat(), socket.gethostname(), os.getpid())[:8]}"
    with tempfile.TemporaryDirectory(prefix="shotlake-index-") as scratch:
        yield _Draft(target, Path(scratch), name, wheel, built_at, *started)


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


def _save_truths(draft: _Draft, space: Space, truths: dict[QueryKind, Truth]) -> dict[QueryKind, str]:
    paths: dict[QueryKind, str] = {}
    for kind, truth in truths.items():
        path = draft.generation / space / f"truth-{kind}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        truth.save(path)
        paths[kind] = path.relative_to(draft.folder).as_posix()
    return paths


def _kept_files(earlier: Manifest, spaces: dict[Space, SpaceEntry]) -> list[File]:
    """The files of an earlier generation that the entries still name: epochs and shards, not its truth."""
    folders = [f"{shard.path}/" for entry in spaces.values() for shard in entry.shards]
    folders += [entry.trained.rsplit("/", 1)[0] + "/" for entry in spaces.values()]
    return [file for file in earlier.files if file.path.startswith(tuple(folders))]


def _count(shards: Iterable[SpaceShard]) -> int:
    return sum(shard.n_vectors for shard in shards)


def _upload(work: Path, folder: str) -> tuple[File, ...]:
    """Store every file of the scratch folder under the same relative path."""
    entries = []
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        entry = file_entry(path, path.relative_to(work).as_posix())
        storage.upload(path, storage.join(folder, entry.path))
        entries.append(entry)
    return tuple(entries)
