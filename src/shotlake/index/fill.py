"""From a stream of rows to stored epochs and shards, in this process or any other; a finished one leaves a receipt."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa

from shotlake.index.columns import RowColumns, ShardColumns
from shotlake.index.exact import ShardVectors
from shotlake.index.gpu import n_gpus
from shotlake.index.manifest import COLUMNS_NAME, INDEX_NAME, ROWS_NAME, File, Shard, SpaceShard
from shotlake.index.receipts import FilledShard, Receipts, Trained
from shotlake.index.rows import SEGMENT_QUERIES, RowSource, Sample, blocks, sample_rows
from shotlake.index.shard import ShardPlace, build_shard
from shotlake.index.sizing import IndexPlan
from shotlake.index.stored import load_index, map_rows
from shotlake.index.training import train_space
from shotlake.index.truth import Truth, Truths
from shotlake.index.wheel import check_one_faiss
from shotlake.records import Space

log = logging.getLogger(__name__)

TRAINED_NAME, REPORT_NAME = "trained.faiss", "report.json"


@dataclass(frozen=True, slots=True)
class FillTask:
    """What the shards of a generation have in common; plain values, so that any process can fill one."""

    receipts: Receipts
    generation: str
    dim: int
    trained: dict[Space, File]
    truths: Truths  # queries that have seen no row
    memory_bytes: int  # to fill a shard


@dataclass(frozen=True, slots=True)
class ShardRun:
    """Rows [offset, offset + n_rows) of the source, or all from there on, become those from `first_row` on."""

    number: int
    first_row: int
    offset: int
    n_rows: int | None


Train = Callable[[RowSource, IndexPlan, tuple[Space, ...], Receipts, str], Trained]
Fill = Callable[[FillTask, Sequence[ShardRun], RowSource], Iterable[FilledShard | None]]


@dataclass(frozen=True, slots=True)
class Filled:
    """Shards in row order, their entries a space, and their files."""

    shards: tuple[Shard, ...]
    spaces: dict[Space, tuple[SpaceShard, ...]]
    files: tuple[File, ...]

    @classmethod
    def of(cls, parts: Sequence[FilledShard], spaces: Iterable[Space]) -> Filled:
        """All of `parts`, each of which has every space."""
        entries = {space: tuple(part.spaces[space] for part in parts) for space in spaces}
        return cls(tuple(part.shard for part in parts), entries, tuple(file for part in parts for file in part.files))


def maker() -> str:
    """This process, as receipts name it."""
    return f"{os.uname().nodename}-{os.getpid()}"


def train_here(
    rows: RowSource, plan: IndexPlan, spaces: tuple[Space, ...], receipts: Receipts, generation: str
) -> Trained:
    """Train every space on a sample of the rows and store the empty indexes, unless an earlier build has.

    Errors: IndexingError; PreflightError where not exactly one faiss is installed.
    """
    if found := receipts.trained():
        return found
    started = time.process_time()
    training, held_out = sample_rows(rows, plan, spaces)
    with tempfile.TemporaryDirectory(prefix="shotlake-epoch-") as scratch:
        written = {space: _train(Path(scratch) / space, training.pop(space), plan) for space in list(training)}
        files = {
            space: [receipts.store(path, f"epochs/{generation}/{space}/{path.name}") for path in paths]
            for space, paths in written.items()
        }
    indexes = {space: stored[0] for space, stored in files.items()}
    everything = tuple(file for stored in files.values() for file in stored)
    return receipts.keep_trained(
        Trained(indexes, everything, held_out, maker(), round(time.process_time() - started, 3))
    )


def _train(folder: Path, sample: Sample, plan: IndexPlan) -> tuple[Path, Path]:
    """Write the empty index of a space, and a report."""
    started, wheel = time.process_time(), check_one_faiss()
    ids, vectors = sample
    index = train_space(vectors, plan)
    folder.mkdir()
    faiss.write_index(index, str(folder / TRAINED_NAME))
    cpu_s = round(time.process_time() - started, 3)
    device = "gpu" if n_gpus() and plan.codec != "exact" else "cpu"  # that clustered
    report = {"codec": plan.codec, "nlist": plan.nlist, "train_rows": len(ids), "cpu_s": cpu_s}
    described = {**report, "device": device, "faiss": wheel}
    (folder / REPORT_NAME).write_text(json.dumps(described, indent=1))
    return folder / TRAINED_NAME, folder / REPORT_NAME


def shard_runs(plan: IndexPlan, number: int = 0, first_row: int = 0) -> list[ShardRun]:
    """The shards of `plan`, numbered from `number` and `first_row` on; the last one takes whatever rows are left."""
    size = plan.rows_per_shard
    starts = range(0, max(1, plan.n_rows), size)
    return [
        ShardRun(number + k, first_row + start, start, size if start + size < plan.n_rows else None)
        for k, start in enumerate(starts)
    ]


def fill_here(task: FillTask, runs: Sequence[ShardRun], rows: RowSource) -> Iterator[FilledShard | None]:
    """One shard after the other in this process."""
    yield from (fill_shard(task, run, rows) for run in runs)


@dataclass(frozen=True, slots=True)
class Workers:
    """Where epochs are trained and shards are filled."""

    fill: Fill = fill_here
    train: Train = train_here


HERE = Workers()


def fill_shard(task: FillTask, run: ShardRun, rows: RowSource) -> FilledShard | None:
    """Fill and store a shard, unless an earlier build has; None if there are no rows for it. Errors: IndexingError."""
    if found := task.receipts.shard(run.number, _blank(task.truths)):
        return found
    stream = blocks(rows(run.offset), run.n_rows)
    if (first := next(stream, None)) is None:
        return None
    truths, trained = _blank(task.truths), task.receipts.fetch(task.trained.values())

    def write(folder: Path) -> tuple[Shard, dict[Space, SpaceShard]]:
        return build_shard(
            ShardPlace(folder / task.generation, run.number, run.first_row),
            task.dim,
            chain([first], stream),
            {space: trained[file.path] for space, file in task.trained.items()},
            {space: list(kinds.values()) for space, kinds in truths.items()},
        )

    return store_shard(task.receipts, run.number, write, truths)


def store_shard(
    receipts: Receipts, number: int, write: Callable[[Path], tuple[Shard, dict[Space, SpaceShard]]], truths: Truths
) -> FilledShard:
    """Store what `write(folder)` leaves below a scratch folder, and the receipt."""
    started = time.process_time()
    with tempfile.TemporaryDirectory(prefix="shotlake-shard-") as scratch:
        shard, parts = write(Path(scratch))
        written = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
        names = [path.relative_to(scratch).as_posix() for path in written]
        files = tuple(receipts.store(path, name) for path, name in zip(written, names))
    cpu_s = round(time.process_time() - started, 3)
    log.info("index_shard number=%d rows=%d cpu_s=%.1f", number, shard.n_rows, cpu_s)
    return receipts.keep_shard(number, FilledShard(shard, parts, files, truths, maker(), cpu_s))


def map_shards(files: Mapping[str, Path], filled: Filled, space: Space, dim: int) -> list[ShardVectors]:
    """The shards of one space, mapped from local `files` by their stored paths."""
    return [
        ShardVectors(
            load_index(files[f"{part.path}/{INDEX_NAME}"]),
            map_rows(files[f"{part.path}/{ROWS_NAME}"], dim),
            shard.first_row,
        )
        for part, shard in zip(filled.spaces[space], filled.shards)
    ]


def columns_of(files: Mapping[str, Path], filled: Filled) -> RowColumns:
    """What is known of all rows but their vectors, from local `files`."""
    described = next(iter(filled.spaces.values()))
    shards = [ShardColumns(files[f"{part.path}/{COLUMNS_NAME}"]) for part in described]
    return RowColumns(shards, [shard.first_row for shard in filled.shards])


def segment_ids(files: Mapping[str, Path], filled: Filled) -> pa.Array:
    """The ids of all rows, in their order."""
    described = next(iter(filled.spaces.values()))
    columns = [ShardColumns(files[f"{part.path}/{COLUMNS_NAME}"]) for part in described]
    ids = [batch.column("segment_id") for shard in columns for batch in shard.batches()]
    return pa.concat_arrays([pa.array([], pa.string()), *ids])


def _blank(truths: Truths) -> Truths:
    return {space: {kind: truth.blank() for kind, truth in kinds.items()} for space, kinds in truths.items()}


def truths_of(text: Mapping[Space, np.ndarray], held_out: Mapping[Space, Sample]) -> Truths:
    """Text queries [Q, D] and held-out segments of every space that was trained, without answers."""
    return {
        space: {
            "text": Truth(text[space]),
            "segment": Truth(vectors.astype(np.float32), ids, np.arange(len(ids)) < SEGMENT_QUERIES),
        }
        for space, (ids, vectors) in held_out.items()
    }
