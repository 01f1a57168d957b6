"""From a stream of rows to trained epochs and filled shards on this machine; what is stored where is not known here."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import pyarrow as pa

from shotlake.index.columns import ShardColumns
from shotlake.index.manifest import COLUMNS_NAME, INDEX_NAME, ROWS_NAME, QueryKind, Shard, SpaceShard
from shotlake.index.rows import RowSource, Sample, blocks
from shotlake.index.scan import ShardVectors, load_index, map_rows
from shotlake.index.shard import ShardPlace, build_shard
from shotlake.index.sizing import IndexPlan
from shotlake.index.training import train_space
from shotlake.index.truth import Truth
from shotlake.records import Space

TRAINED_NAME, REPORT_NAME = "trained.faiss", "report.json"

Truths = dict[Space, dict[QueryKind, Truth]]


@dataclass(frozen=True, slots=True)
class Filled:
    """Shards in row order, and their entries a space."""

    shards: tuple[Shard, ...]
    spaces: dict[Space, tuple[SpaceShard, ...]]


def train_epoch(folder: Path, sample: Sample, plan: IndexPlan) -> Path:
    """Train a space and write the empty index with a report into `folder`; returns the index file."""
    started = time.process_time()
    ids, vectors = sample
    index = train_space(vectors, plan)
    folder.mkdir(parents=True)
    faiss.write_index(index, str(folder / TRAINED_NAME))
    cpu_s = round(time.process_time() - started, 3)
    report = {"codec": plan.codec, "nlist": plan.nlist, "train_rows": len(ids), "cpu_s": cpu_s}
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1))
    return folder / TRAINED_NAME


def fill_shards(
    rows: RowSource, plan: IndexPlan, start: ShardPlace, trained: Mapping[Space, Path], truths: Truths
) -> Filled:
    """Cut the stream into shards of `plan.rows_per_shard`, in its order from `start` on; the truths see every row."""
    shards: list[Shard] = []
    entries: dict[Space, list[SpaceShard]] = {space: [] for space in trained}
    collectors = {space: list(kinds.values()) for space, kinds in truths.items()}
    place = start
    for _, run in itertools.groupby(blocks(rows(), plan.rows_per_shard), key=lambda numbered: numbered[0]):
        shard, parts = build_shard(place, plan.dim, (block for _, block in run), trained, collectors)
        shards.append(shard)
        for space, part in parts.items():
            entries[space].append(part)
        place = replace(place, number=place.number + 1, first_row=place.first_row + shard.n_rows)
    return Filled(tuple(shards), {space: tuple(parts) for space, parts in entries.items()})


def map_shards(root: Path, filled: Filled, space: Space, dim: int) -> list[ShardVectors]:
    """The shards of one space, mapped from below `root`."""
    return [
        ShardVectors(load_index(directory / INDEX_NAME), map_rows(directory / ROWS_NAME, dim), shard.first_row)
        for directory, shard in zip([root / part.path for part in filled.spaces[space]], filled.shards)
    ]


def segment_ids(root: Path, filled: Filled) -> pa.Array:
    """The ids of all rows, in their order."""
    described = next(iter(filled.spaces.values()))
    columns = [ShardColumns(root / part.path / COLUMNS_NAME) for part in described]
    ids = [batch.column("segment_id") for shard in columns for batch in shard.batches()]
    return pa.concat_arrays([pa.array([], pa.string()), *ids])
