"""Segments to ask for, of every large collection: a small one is hardly met by a sample of all rows.

Of each collection those with the largest ids are taken. Ids are hashes, so that they are a sample of it; and the sample
of all rows, which is taken from the same end, holds the same ones of it, or more.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

COLLECTIONS = 32  # the largest; what the others have is told of all of them together
QUERIES = 24  # of each
_PENDING_ROWS = 16_384

_NAME, _ID, _PLACE = "collection", "segment_id", "place"


class LargestByCollection:
    """The QUERIES vectors with the largest ids of each of the COLLECTIONS that have the most rows."""

    def __init__(self, dim: int) -> None:
        self._n_rows: Counter[str] = Counter()
        self._held = pa.table({_NAME: pa.array([], pa.string()), _ID: pa.array([], pa.string())})
        self._rows = np.empty((0, dim), np.float16)

    def add(self, collections: pa.StringArray, ids: pa.StringArray, rows: NDArray[np.float16]) -> None:
        """Look at B more rows [B, dim], which may be of no collection."""
        names = pc.fill_null(collections, "")
        for found in pc.value_counts(names):
            self._n_rows[found["values"].as_py()] += found["counts"].as_py()
        places = _largest(names, ids)
        taken = pa.table({_NAME: names.take(pa.array(places)), _ID: ids.take(pa.array(places))})
        self._held, self._rows = pa.concat_tables([self._held, taken]), np.concatenate([self._rows, rows[places]])
        if len(self._rows) > _PENDING_ROWS:
            self._settle(2 * COLLECTIONS)

    def result(self) -> tuple[pa.StringArray, NDArray[np.float16]]:
        """Segment ids and vectors [N, dim]."""
        self._settle(COLLECTIONS)
        return self._held[_ID].combine_chunks(), self._rows

    def names(self) -> dict[str, str]:
        """The collection of each row of the result, by its id."""
        self._settle(COLLECTIONS)
        return dict(zip(self._held[_ID].to_pylist(), self._held[_NAME].to_pylist()))

    def _settle(self, n_collections: int) -> None:
        largest = [name for name, _ in self._n_rows.most_common(n_collections)]
        of_large = np.flatnonzero(np.asarray(pc.is_in(self._held[_NAME], value_set=pa.array(largest, pa.string()))))
        held = self._held.take(pa.array(of_large)).combine_chunks()
        best = _largest(held[_NAME], held[_ID])
        self._held, self._rows = held.take(pa.array(best)).combine_chunks(), self._rows[of_large[best]]


def _largest(names: pa.Array, ids: pa.Array) -> NDArray[np.int64]:
    """Where the rows with the QUERIES largest ids of each collection stand."""
    table = pa.table({_NAME: names, _ID: ids, _PLACE: np.arange(len(ids))})
    ordered = table.sort_by([(_NAME, "ascending"), (_ID, "descending")])
    codes = np.asarray(ordered[_NAME].combine_chunks().dictionary_encode().indices)
    rank = np.arange(len(codes)) - np.searchsorted(codes, codes)  # codes ascend, in the order of the names
    return np.asarray(ordered[_PLACE])[rank < QUERIES].astype(np.int64)
