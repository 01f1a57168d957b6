"""Live rows as Arrow batches become matrices, blocks of bounded size, and a uniform sample.

Vectors are `list<float32>`, nullable; a missing vector is a row of zeros. Values are rounded to float16, which is what
is stored and re-ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.errors import IndexingError
from shotlake.index.sizing import IndexPlan
from shotlake.records import Space

BLOCK_ROWS = 8_192  # rows that are handled together; bounds memory

SEGMENT_QUERIES = 500  # the truth costs as much as so many more lists to assign to

RowSource = Callable[[], Iterator[pa.RecordBatch]]


def blocks(batches: Iterator[pa.RecordBatch], rows_per_shard: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(shard number, at most BLOCK_ROWS rows of it) in the order of the stream."""
    row = 0
    for batch in batches:
        offset = 0
        while offset < len(batch):
            size = min(BLOCK_ROWS, rows_per_shard - row % rows_per_shard, len(batch) - offset)
            yield row // rows_per_shard, batch.slice(offset, size)
            row, offset = row + size, offset + size


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


class SmallestIds:
    """The `size` vectors with the smallest segment ids: uniform, since ids are hashes, whatever the order of the rows.

    With `largest` the other end, which shares no row with the first while both fit into the table.
    """

    def __init__(self, size: int, dim: int, largest: bool = False) -> None:
        self._size = size
        self._order = "descending" if largest else "ascending"
        self._passes = pc.greater if largest else pc.less
        self._ids = [pa.array([], pa.string())]
        self._rows = [np.empty((0, dim), dtype=np.float16)]
        self._n_pending = 0
        self._last: str | None = None  # what an id has to be ahead of, once there are enough

    def add(self, ids: pa.StringArray, rows: NDArray[np.float16]) -> None:
        """Look at B more rows [B, dim]."""
        if self._last is not None:
            ahead = self._passes(ids, self._last)
            ids, rows = ids.filter(ahead), rows[np.asarray(ahead)]
        self._ids.append(ids)
        self._rows.append(rows)
        self._n_pending += len(ids)
        if self._n_pending >= self._size:
            self._settle()

    def result(self) -> tuple[list[str], NDArray[np.float32]]:
        """Segment ids of the sample and its vectors [size, dim], in the order of the ids."""
        self._settle()
        return self._ids[0].to_pylist(), self._rows[0].astype(np.float32)

    def _settle(self) -> None:
        ids = pa.concat_arrays(self._ids)
        best = pc.array_sort_indices(ids, order=self._order)[: self._size]
        self._ids, self._rows = [ids.take(best)], [np.concatenate(self._rows)[np.asarray(best)]]
        self._n_pending = 0
        if len(best) == self._size:
            self._last = self._ids[0][-1].as_py()


Sample = tuple[list[str], NDArray[np.float32]]


def sample_rows(
    rows: RowSource, plan: IndexPlan, spaces: tuple[Space, ...]
) -> tuple[dict[Space, Sample], dict[Space, Sample]]:
    """What to train on and which segments to ask for, of every space that has vectors. Errors: IndexingError."""
    training = {space: SmallestIds(plan.train_rows, plan.dim) for space in spaces}
    queries = {space: SmallestIds(SEGMENT_QUERIES, plan.dim, largest=True) for space in spaces}
    for _, block in blocks(rows(), plan.n_rows):
        for space in spaces:
            vectors, present = vectors_of(block, space, plan.dim)
            ids = block.column("segment_id").cast(pa.string()).filter(present)
            training[space].add(ids, vectors[present])
            queries[space].add(ids, vectors[present])
    samples = {space: sample.result() for space, sample in training.items()}
    filled = [space for space in spaces if samples[space][0]]
    if not filled:
        raise IndexingError(f"no row has a vector in the spaces {list(spaces)}; verify the lake")
    return {space: samples[space] for space in filled}, {space: queries[space].result() for space in filled}
