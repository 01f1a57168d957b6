"""A generation made of another one: shards without rows that are gone, neighbours as one shard, the rest by reference.

Codes are copied and never computed again. Row numbers close up where rows are dropped, and the truth moves with them,
so that the recall is measured again with the same queries. Memory is that of a shard while it is filled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.columns import RowColumns, ShardColumns, select_columns
from shotlake.index.draft import Contents, Draft, GenerationTarget, check_room, kept_files, open_draft
from shotlake.index.exact import ShardVectors
from shotlake.index.fill import Filled, maker, map_shards, store_shard
from shotlake.index.lists import join_lists
from shotlake.index.manifest import COLUMNS_NAME, ROWS_NAME, File, Manifest, Shard, SpaceShard
from shotlake.index.measure import measure
from shotlake.index.receipts import FilledShard
from shotlake.index.scan import SpaceVectors
from shotlake.index.searcher import Searcher
from shotlake.index.shard import SeenRows, ShardPlace, open_files
from shotlake.index.stored import load_trained, read_rows
from shotlake.index.truth import Truth, close_up
from shotlake.records import Space

SMALL = 0.5  # of index.rows_per_shard: shards with fewer rows are worth being joined with others
MANY_GONE = 0.2  # of its rows: a shard that lost more is worth being written again without them

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Join:
    """Shards [first, end), which become one without the rows that are gone, or a single one that stays as it is."""

    first: int
    end: int
    stays: bool


Plan = Callable[[Manifest, Rows], Sequence[Join]]  # from a generation and its rows that are gone to all of its shards


def without_gone(parent: Manifest, gone: Rows) -> list[Join]:
    """Every shard for itself; those that hold rows that are gone are written again."""
    return [Join(k, k + 1, stays=not lost) for k, lost in enumerate(_lost(parent, gone))]


def as_it_is(parent: Manifest, gone: Rows) -> list[Join]:
    """Every shard stays: only the recall is measured again."""
    return [Join(k, k + 1, stays=True) for k in range(len(parent.shards))]


def compacted(rows_per_shard: int) -> Plan:
    """Small neighbours become shards of up to `rows_per_shard` rows; a large one stays unless it lost many rows.

    Shards that the epoch was trained on are not joined with later ones: how they differ is the drift.
    """

    def plan(parent: Manifest, gone: Rows) -> list[Join]:
        border = next(iter(parent.spaces.values())).first_shards
        joins: list[Join] = []
        room = 0  # rows that the last join has place for
        for k, (shard, lost) in enumerate(zip(parent.shards, _lost(parent, gone))):
            live = shard.n_rows - lost
            if live >= SMALL * rows_per_shard and lost <= MANY_GONE * shard.n_rows:
                joins.append(Join(k, k + 1, stays=True))
                room = 0
            elif joins and k != border and live <= room:
                joins[-1] = Join(joins[-1].first, k + 1, stays=False)
                room -= live
            else:
                joins.append(Join(k, k + 1, stays=not lost))
                room = rows_per_shard - live
        return joins

    return plan


def rewrite_generation(
    parent: Manifest, target: GenerationTarget, plan: Plan, config: IndexConfig, removed: Sequence[str] = ()
) -> Manifest:
    """Store a generation of the rows of `parent`, less those of the `removed` videos, in the shards of `plan`.

    Rows that are gone are dropped from the shards that are written again, and hidden in the others. The recall is
    measured with the parent's queries, to the targets of `config`. Errors: IndexingError if no row is left,
    CorruptGeneration.
    """
    source = Searcher.load(target.index_root, parent, cache_bytes=config.cache_bytes)
    gone = np.union1d(source.tombstones, source.find("video_id", removed))
    if len(gone) == parent.n_rows:
        raise IndexingError(f"no row of generation {parent.generation} is left; build the index again")
    joins = plan(parent, gone)
    sizes = replace(parent.plan, n_rows=parent.n_rows - len(gone))
    written = [sum(parent.shards[k].n_rows for k in range(join.first, join.end)) for join in joins if not join.stays]
    largest = replace(sizes, n_rows=max(written, default=0), n_shards=1)  # one after the other is staged and stored
    check_room(largest.scratch_bytes(len(parent.spaces)), largest.filling_bytes(len(parent.spaces), 0))
    target = replace(target, parent=parent.generation)
    asked = {"joins": repr(joins).encode(), "gone": gone.tobytes()}
    with open_draft(target, sizes, asked, config.cache_bytes) as draft:
        rewrite = _Rewrite(draft, source, joins, gone)
        parts = rewrite.parts()
        local = draft.receipts.fetch(file for part in parts for file in part.files)
        spaces, measured, columns = {}, list[File](), rewrite.columns(parts, local)
        for space, entry in parent.spaces.items():
            truths = {kind: Truth.load(source.files[path]) for kind, path in entry.truths.items()}
            left = {kind: truth.without(gone).closed_up(rewrite.dropped) for kind, truth in truths.items()}
            shards = rewrite.vectors(space, parts, local)
            vectors = SpaceVectors(load_trained(source.files[entry.trained]), shards, rewrite.hidden)
            found = measure(draft, space, vectors, left, columns, entry.tuning["text"].source, config)
            measured += found.files
            spaces[space] = entry.model_copy(update=rewrite.entry(space, parts) | found.entry())
        files = (*kept_files(parent, spaces), *(file for part in parts for file in part.files), *measured)
        elsewhere_s = sum(part.cpu_s for part in parts if part.maker != maker())
        shards_of_all = tuple(part.shard for part in parts)
        return draft.finish(Contents(sizes, shards_of_all, spaces, files, elsewhere_s, rewrite.hidden), config)


class _Rewrite:
    """What becomes of each shard. `dropped` rows of the old generation are not in the new one; there `hidden` ones are
    gone as well.
    """

    def __init__(self, draft: Draft, source: Searcher, joins: Sequence[Join], gone: Rows) -> None:
        self._draft, self._source = draft, source
        written = [gone[slice(*np.searchsorted(gone, self._rows(join)))] for join in joins if not join.stays]
        self.dropped: Rows = np.concatenate([np.empty(0, np.int64), *written])
        self.hidden = close_up(np.setdiff1d(gone, self.dropped), self.dropped)
        self._joins = [join for join in joins if join.stays or self._n_left(join)]

    def parts(self) -> list[FilledShard]:
        """The shards of the new generation, written or as they were."""
        return [self._kept(k, j) if j.stays else self._written(k, j) for k, j in enumerate(self._joins)]

    def vectors(self, space: Space, parts: Sequence[FilledShard], local: Mapping[str, Path]) -> list[ShardVectors]:
        """The shards of a space, in their new places; `local`: the files of the written ones."""
        found, dim = [], self._source.manifest.plan.dim
        for join, part in zip(self._joins, parts):
            old = self._source.spaces[space].shards[join.first]
            moved = [replace(old, first_row=part.shard.first_row)]
            found += moved if join.stays else map_shards(local, Filled.of([part], [space]), space, dim)
        return found

    def columns(self, parts: Sequence[FilledShard], local: Mapping[str, Path]) -> RowColumns:
        """Those of the shards of the new generation."""
        first_space = next(iter(self._source.manifest.spaces))
        shards = [
            self._source.shard_columns[join.first]
            if join.stays
            else ShardColumns(local[f"{part.spaces[first_space].path}/{COLUMNS_NAME}"])
            for join, part in zip(self._joins, parts)
        ]
        return RowColumns(shards, [part.shard.first_row for part in parts])

    def entry(self, space: Space, parts: Sequence[FilledShard]) -> dict[str, object]:
        """What the manifest says of a space, but for its recall."""
        entries = tuple(part.spaces[space] for part in parts)
        border = self._source.manifest.spaces[space].first_shards
        first = sum(join.first < border for join in self._joins)
        return {"shards": entries, "n_vectors": sum(e.n_vectors for e in entries), "first_shards": first}

    def _rows(self, join: Join) -> tuple[int, int]:
        """The rows [first, end) of the old generation that are in the shards of a join."""
        shards = self._source.manifest.shards
        return shards[join.first].first_row, shards[join.end - 1].first_row + shards[join.end - 1].n_rows

    def _n_left(self, join: Join) -> int:
        first, end = close_up(np.array(self._rows(join)), self.dropped).tolist()
        return int(end - first)

    def _place(self, number: int, join: Join, folder: Path) -> ShardPlace:
        first_row = close_up(np.array(self._rows(join)[:1]), self.dropped)
        return ShardPlace(folder / self._draft.name, number, int(first_row[0]))

    def _lost(self, number: int) -> Rows:
        """Offsets of the rows that an old shard loses."""
        shard = self._source.manifest.shards[number]
        first, end = np.searchsorted(self.dropped, (shard.first_row, shard.first_row + shard.n_rows))
        return self.dropped[first:end] - shard.first_row

    def _kept(self, number: int, join: Join) -> FilledShard:
        manifest, place = self._source.manifest, self._place(number, join, Path())
        shard = manifest.shards[join.first].model_copy(update={"name": place.name, "first_row": place.first_row})
        spaces = {
            space: entry.shards[join.first].model_copy(update={"shard": place.name})
            for space, entry in manifest.spaces.items()
        }
        return FilledShard(shard, spaces, (), {}, maker(), 0.0)

    def _written(self, number: int, join: Join) -> FilledShard:
        receipts = self._draft.receipts
        if found := receipts.shard(number, {}):
            return found
        return store_shard(receipts, number, lambda folder: self._write(self._place(number, join, folder), join), {})

    def _write(self, place: ShardPlace, join: Join) -> tuple[Shard, dict[Space, SpaceShard]]:
        """Copy rows, columns and codes to local files."""
        started = time.process_time()
        files, seen = open_files(place, self._source.spaces), SeenRows()
        for number in range(join.first, join.end):
            start, left = 0, np.ones(self._source.manifest.shards[number].n_rows, dtype=np.bool_)
            left[self._lost(number)] = False
            with ExitStack() as stack:
                stored = {space: stack.enter_context(self._row_file(space, number).open("rb")) for space in files}
                for batch in self._source.shard_columns[number].batches():
                    mine = left[start : start + len(batch)]
                    columns = select_columns(batch).filter(pa.array(mine))
                    for space, out in files.items():
                        out.write(columns, read_rows(stored[space], len(batch), self._source.manifest.plan.dim)[mine])
                    seen.add(columns)
                    start += len(batch)
        shard, cpu_s = seen.entry(place), round(time.process_time() - started, 3)
        return shard, {
            space: out.close(self._codes(space, join), shard, self._error(space, join), cpu_s)
            for space, out in files.items()
        }

    def _row_file(self, space: Space, number: int) -> Path:
        path = self._source.manifest.spaces[space].shards[number].path
        return self._source.files[f"{path}/{ROWS_NAME}"]

    def _codes(self, space: Space, join: Join) -> faiss.IndexIVF:
        numbers, entry = range(join.first, join.end), self._source.manifest.spaces[space]
        shards = [self._source.spaces[space].shards[k] for k in numbers]
        trained = load_trained(self._source.files[entry.trained])
        lost = [self._lost(k) for k in numbers]
        return join_lists(trained, [shard.index for shard in shards], [len(shard.rows) for shard in shards], lost)

    def _error(self, space: Space, join: Join) -> float:
        """Of quantisation, as it was measured when the codes were made."""
        entries = self._source.manifest.spaces[space].shards[join.first : join.end]
        total = sum(entry.n_vectors for entry in entries)
        return sum(entry.quantisation_error * entry.n_vectors for entry in entries) / max(total, 1)


def _lost(parent: Manifest, gone: Rows) -> list[int]:
    """How many rows of each shard are gone."""
    edges = [(shard.first_row, shard.first_row + shard.n_rows) for shard in parent.shards]
    return [int(np.diff(np.searchsorted(gone, edge))[0]) for edge in edges]
