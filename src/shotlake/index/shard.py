"""Writing one shard: codes with the shared quantiser, float16 rows, columns and statistics, in one pass over its rows.

A row has the same offset in every space; where a space has no vector the row file holds zeros and the index nothing.
Memory is the codes of the shard and one batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, repeat
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shotlake.index.columns import COLUMNS, IDS_ONLY, ColumnWriter, select_columns
from shotlake.index.gpu import n_gpus, on_gpus
from shotlake.index.manifest import COLUMNS_NAME, INDEX_NAME, ROWS_NAME, STATS_NAME, Shard, SpaceShard
from shotlake.index.rows import vectors_of
from shotlake.index.training import decoded, padded, wide_quantiser
from shotlake.index.truth import Truth
from shotlake.records import Space

ERROR_SAMPLE = 16  # rows of each batch whose reconstruction is measured


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Which shard is written where: `folder` is the generation's, on this machine, and is named like it."""

    folder: Path
    number: int
    first_row: int

    @property
    def name(self) -> str:
        """How the shard's folder is called."""
        return f"{self.number:05d}"

    def path(self, space: Space) -> str:
        """Where the files of a space stand, relative to the folder of the embed_key."""
        return f"{self.folder.name}/{space}/shards/{self.name}"


@dataclass(slots=True)
class SeenRows:
    """What is known of a shard's rows so far."""

    n_rows: int = 0
    collections: set[str] = field(default_factory=set)
    recorded: list[datetime] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at more rows."""
        self.n_rows += len(batch)
        self.collections |= {name for name in batch.column("collection").unique().to_pylist() if name is not None}
        times = batch.column("recorded_at").drop_null()
        if len(times):
            earliest_latest = pa.compute.min_max(times).as_py()
            times = [*self.recorded, earliest_latest["min"], earliest_latest["max"]]
            self.recorded = [min(times), max(times)]

    def entry(self, place: ShardPlace) -> Shard:
        """What the manifest says of the shard."""
        return Shard(
            name=place.name,
            first_row=place.first_row,
            n_rows=self.n_rows,
            collections=tuple(sorted(self.collections)),
            recorded_from=self.recorded[0] if self.recorded else None,
            recorded_to=self.recorded[1] if self.recorded else None,
        )


class ShardFiles:
    """The files of one space of a shard while they are written."""

    def __init__(self, root: Path, path: str, schema: pa.Schema) -> None:
        self._path, self._directory = path, root / path
        self._directory.mkdir(parents=True, exist_ok=True)
        self._rows = (self._directory / ROWS_NAME).open("wb")
        self._columns = ColumnWriter(self._directory / COLUMNS_NAME, schema)

    def write(self, columns: pa.RecordBatch, rows: NDArray[np.float16]) -> None:
        """Append B rows as they are stored, [B, D]."""
        rows.tofile(self._rows)
        self._columns.add(columns)

    def close(self, index: faiss.IndexIVF, shard: Shard, error: float, cpu_s: float) -> SpaceShard:
        """Write the codes, and what is known of them; `error`: of quantisation, the mean."""
        self._rows.close()
        self._columns.close()
        faiss.write_index(index, str(self._directory / INDEX_NAME))
        entry = SpaceShard(
            shard=shard.name,
            path=self._path,
            n_vectors=index.ntotal,
            imbalance=float(index.invlists.imbalance_factor()) if index.ntotal else 1.0,
            quantisation_error=error,
        )
        stats = {**shard.model_dump(mode="json"), **entry.model_dump(exclude={"shard", "path"}), "cpu_s": cpu_s}
        (self._directory / STATS_NAME).write_text(json.dumps(stats, indent=1))
        return entry


class _Encoder:
    """The codes of one space while they are made, with float32 centroids in the place of the stored ones."""

    def __init__(self, index: faiss.IndexIVF) -> None:
        self.index = index
        self._compact, self._wide = index.quantizer, wide_quantiser(index.quantizer)
        self._owned = bool(index.own_fields)
        index.own_fields, index.quantizer = False, self._wide
        self._assigner = assigner(index)
        self._errors: list[NDArray[np.float32]] = []

    def add(self, rows: NDArray[np.float16], present: NDArray[np.bool_], offset: int) -> None:
        """Of B rows, the vectors of the `present` ones are assigned once and encoded."""
        ids = np.flatnonzero(present) + offset
        if not len(ids):
            return
        vectors = padded(rows[present], self.index.d)
        add_rows(self.index, vectors, ids, self._assigner)
        sample = vectors[:ERROR_SAMPLE]
        self._errors.append(((sample - decoded(self.index, sample)) ** 2).sum(axis=1))

    def finish(self) -> tuple[faiss.IndexIVF, float]:
        """The index with the centroids that it is stored with, and the mean quantisation error."""
        self.index.quantizer, self.index.own_fields = self._compact, self._owned
        return self.index, float(np.concatenate(self._errors).mean()) if self._errors else 0.0


def assigner(index: faiss.IndexIVF) -> faiss.Index | None:
    """What assigns rows to lists on the GPUs; None without GPUs, and where `add_core` does not work (codec `pqfs`)."""
    return on_gpus(flat_centroids(index)) if n_gpus() and isinstance(index, faiss.IndexIVFPQ) else None


def flat_centroids(index: faiss.IndexIVF) -> faiss.IndexFlatIP:
    """The centroids of the quantiser, whatever its kind, to be searched exactly."""
    flat = faiss.IndexFlatIP(index.d)
    flat.add(index.quantizer.reconstruct_n(0, index.nlist))
    return flat


def add_rows(
    index: faiss.IndexIVF, vectors: NDArray[np.float32], ids: NDArray[np.int64], assigner: faiss.Index | None
) -> None:
    """Encode and append rows; the lists are those that `assigner` finds, or the quantiser of the index."""
    if assigner is None:
        index.add_with_ids(vectors, ids)
        return
    lists = np.ascontiguousarray(assigner.search(vectors, 1)[1][:, 0])
    index.add_core(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(lists))


def build_shard(
    place: ShardPlace,
    dim: int,
    batches: Iterable[pa.RecordBatch],
    trained: Mapping[Space, Path],
    truths: Mapping[Space, list[Truth]],
) -> tuple[Shard, dict[Space, SpaceShard]]:
    """Write a shard from its rows and show them to the `truths`.

    Errors: IndexingError for vectors of another length or missing columns.
    """
    started = time.process_time()
    files = open_files(place, trained)
    encoders = {space: _Encoder(faiss.read_index(str(path))) for space, path in trained.items()}
    seen = SeenRows()
    for batch in batches:
        columns = select_columns(batch)
        for space, encoder in encoders.items():
            rows, present = vectors_of(batch, space, dim)
            files[space].write(columns, rows)
            encoder.add(rows, present, seen.n_rows)
            if truths.get(space):
                block = rows.astype(np.float32)
                for truth in truths[space]:
                    truth.add(place.first_row + seen.n_rows, columns.column("segment_id"), block)
        seen.add(columns)
    shard = seen.entry(place)
    cpu_s = round(time.process_time() - started, 3)
    entries = {}
    for space, encoder in encoders.items():
        index, error = encoder.finish()
        entries[space] = files[space].close(index, shard, error, cpu_s)
    return shard, entries


def open_files(place: ShardPlace, spaces: Iterable[Space]) -> dict[Space, ShardFiles]:
    """New files for every space; the first one's have all columns."""
    schemas = chain([COLUMNS], repeat(IDS_ONLY))
    return {space: ShardFiles(place.folder.parent, place.path(space), schema) for space, schema in zip(spaces, schemas)}
