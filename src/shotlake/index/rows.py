"""Live rows as Arrow batches become matrices, blocks of bounded size, and a uniform sample.

Vectors are `list<float32>`, nullable; a missing vector is a row of zeros. Values are rounded to float16, which is what
is stored and re-ranked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.errors import IndexingError
from shotlake.index.sizing import BLOCK_ROWS, IndexPlan
from shotlake.index.strata import COLLECTIONS, QUERIES, LargestByCollection
from shotlake.records import Space

SEGMENT_QUERIES = 500  # drawn from all rows; the truth costs as much as so many more lists to assign to
MOST_SEGMENT_QUERIES = SEGMENT_QUERIES + COLLECTIONS * QUERIES  # with those of large collections

RowSource = Callable[[int], Iterator[pa.RecordBatch]]  # the live rows from a row number on, in the same order always


def skip_rows(batches: Iterable[pa.RecordBatch], first: int) -> Iterator[pa.RecordBatch]:
    """The batches from row `first` on."""
    for batch in batches:
        if first < len(batch):
            yield batch.slice(first)
        first = max(0, first - len(batch))


def blocks(batches: Iterator[pa.RecordBatch], n_rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """At most BLOCK_ROWS rows at a time, and `n_rows` in all, or all there are."""
    left = n_rows if n_rows is not None else sys.maxsize
    for batch in batches:
        batch = batch.slice(0, left)
        left -= len(batch)
        yield from (batch.slice(start, BLOCK_ROWS) for start in range(0, len(batch), BLOCK_ROWS))
        if not left:
            return


def vectors_of(batch: pa.RecordBatch, space: Space, dim: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """(rows [B, dim], present [B]) of a space. Errors: IndexingError if a vector has another length."""
    column = batch.column(space)
    present = np.asarray(pc.is_valid(column))
    lengths = np.asarray(pc.list_value_length(column).drop_null())
    if np.any(lengths != dim):
        odd = int(lengths[lengths != dim][0])
        raise IndexingError(
            f"a {space} vector has {odd} values, the encoder of the queries gives {dim}; use the model of the lake"
        )
    rows = np.zeros((len(batch), dim), dtype=np.float16)
    rows[present] = np.asarray(pc.list_flatten(column)).reshape(-1, dim)
    return rows, present


Sample = tuple[pa.StringArray, NDArray[np.float16]]


class SmallestIds:
    """The `size` vectors with the smallest segment ids: uniform, since ids are hashes, whatever the order of the rows.

    With `largest` the other end, which shares no row with the first while both fit into the table. Memory is a quarter
    more than what is kept, since rows that fall out give their places to those that come in.
    """

    def __init__(self, size: int, dim: int, largest: bool = False) -> None:
        self._size = size
        self._order = "descending" if largest else "ascending"
        self._passes = pc.greater if largest else pc.less
        self._ids = [pa.array([], pa.string())]
        self._n = 0
        self._rows = np.empty((size + size // 4 + BLOCK_ROWS, dim), dtype=np.float16)
        self._last: str | None = None  # what an id has to be ahead of, once there are enough

    def add(self, ids: pa.StringArray, rows: NDArray[np.float16]) -> None:
        """Look at B more rows [B, dim], B at most BLOCK_ROWS."""
        if self._last is not None:
            ahead = self._passes(ids, self._last)
            ids, rows = ids.filter(ahead), rows[np.asarray(ahead)]
        if self._n + len(ids) > len(self._rows):
            self._settle()
        self._rows[self._n : self._n + len(ids)] = rows
        self._ids.append(ids)
        self._n += len(ids)

    def result(self) -> Sample:
        """Segment ids of the sample and its vectors [size, dim], in the order of the ids."""
        ids, best = self._best()
        return ids.take(pa.array(best)), self._rows[best]

    def _best(self) -> tuple[pa.StringArray, NDArray[np.int64]]:
        """All ids that are held, and where the best of them stand."""
        ids = pa.concat_arrays(self._ids)
        return ids, np.asarray(pc.array_sort_indices(ids, order=self._order)[: self._size]).astype(np.int64)

    def _settle(self) -> None:
        ids, best = self._best()
        kept = np.zeros(self._n, dtype=np.bool_)
        kept[best] = True
        free = np.flatnonzero(~kept[: self._size])
        places = np.arange(self._size)
        places[free] = self._size + np.flatnonzero(kept[self._size :])
        self._rows[free] = self._rows[places[free]]
        self._ids, self._n = [ids.take(pa.array(places))], self._size
        self._last = ids[int(best[-1])].as_py()


def sample_rows(
    rows: RowSource, plan: IndexPlan, spaces: tuple[Space, ...]
) -> tuple[dict[Space, Sample], dict[Space, Sample]]:
    """What to train on and which segments to ask for, of every space that has vectors. Errors: IndexingError."""
    training = {space: SmallestIds(plan.train_rows, plan.dim) for space in spaces}

    def seen() -> Iterator[pa.RecordBatch]:
        for block in blocks(rows(0)):
            for space, sample in training.items():
                vectors, present = vectors_of(block, space, plan.dim)
                sample.add(block.column("segment_id").cast(pa.string()).filter(present), vectors[present])
            yield block

    asked = query_rows(seen(), spaces, plan.dim)
    samples = {space: training.pop(space).result() for space in spaces}
    filled = [space for space in spaces if len(samples[space][0])]
    if not filled:
        raise IndexingError(f"no row has a vector in the spaces {list(spaces)}; verify the lake")
    return {space: samples[space] for space in filled}, {space: asked[space].result() for space in filled}


class SegmentQueries:
    """Which segments of a space to ask for: a sample of all rows, and some of each large collection."""

    def __init__(self, dim: int) -> None:
        self._drawn, self._of_collections = SmallestIds(SEGMENT_QUERIES, dim, largest=True), LargestByCollection(dim)

    def add(self, collections: pa.StringArray, ids: pa.StringArray, vectors: NDArray[np.float16]) -> None:
        """Look at B more rows [B, dim], B at most BLOCK_ROWS."""
        self._drawn.add(ids, vectors)
        self._of_collections.add(collections, ids, vectors)

    def result(self) -> Sample:
        """All of them, the largest id first: those that were drawn from all rows stand ahead."""
        return _together(self._drawn.result(), self._of_collections.result())

    def names(self) -> dict[str, str]:
        """The collections of those that are there for their collection, by their ids."""
        return self._of_collections.names()


def query_rows(stream: Iterator[pa.RecordBatch], spaces: tuple[Space, ...], dim: int) -> dict[Space, SegmentQueries]:
    """What to ask for in each space, after a look at all blocks of rows."""
    asked = {space: SegmentQueries(dim) for space in spaces}
    for block in stream:
        for space in spaces:
            vectors, present = vectors_of(block, space, dim)
            ids = block.column("segment_id").cast(pa.string()).filter(present)
            asked[space].add(block.column("collection").filter(present), ids, vectors[present])
    return asked


def _together(drawn: Sample, others: Sample) -> Sample:
    """Both, each row once, the largest id first."""
    new = np.flatnonzero(~np.asarray(pc.is_in(others[0], value_set=drawn[0])))
    ids = pa.concat_arrays([drawn[0], others[0].take(pa.array(new))])
    order = np.asarray(pc.array_sort_indices(ids, order="descending")).astype(np.int64)
    return ids.take(pa.array(order)), np.concatenate([drawn[1], others[1][new]])[order]
