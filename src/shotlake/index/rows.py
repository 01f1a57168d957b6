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
from shotlake.records import Space

BLOCK_ROWS = 8_192  # rows that are handled together; bounds memory

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
        self.size, self.largest = size, largest
        self._ids = np.empty(0, dtype=object)
        self._rows = np.empty((0, dim), dtype=np.float16)

    def add(self, ids: pa.StringArray, rows: NDArray[np.float16]) -> None:
        """Look at B more rows [B, dim]."""
        names = np.asarray(ids.to_numpy(zero_copy_only=False), dtype=object)
        if len(self._ids) == self.size:
            last = self._ids[-1]
            close = names > last if self.largest else names < last
            names, rows = names[close], rows[close]
        if not len(names):
            return
        names, rows = np.concatenate([self._ids, names]), np.concatenate([self._rows, rows])
        order = np.argsort(names)
        order = order[::-1][: self.size] if self.largest else order[: self.size]
        self._ids, self._rows = names[order], rows[order]

    @property
    def ids(self) -> list[str]:
        """Segment ids of the sample, in order."""
        return list(self._ids)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The sample, [size, dim]."""
        return self._rows.astype(np.float32)
