"""Which rows of a shard a scan may find, and in which lists they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.index.training import decoded

Rows = NDArray[np.int64]


class Selection:
    """Which rows of a shard may be found; keeps the bitmap alive that faiss only points to."""

    def __init__(self, offsets: Rows | None = None, n_rows: int = 0, inverted: bool = False) -> None:
        self.selector: faiss.IDSelector | None = None
        self.bits: NDArray[np.bool_] | None = None  # of each row; None: all may be found
        self.empty = False
        if offsets is None or (inverted and not len(offsets)):
            return
        bits = np.zeros(n_rows, dtype=np.bool_)
        bits[offsets] = True
        if inverted:
            bits = ~bits
        self.bits, self.empty = None if inverted else bits, not bits.any()
        self._bitmap = np.packbits(bits, bitorder="little")
        self.selector = faiss.IDSelectorBitmap(self._bitmap)

    def of_list(self, index: faiss.IndexIVF, number: int) -> Rows:
        """Those rows of a list that may be found."""
        ids = ids_of(index, number)
        if self.selector is None:
            return ids
        return ids[(self._bitmap[ids >> 3] >> (ids & 7).astype(np.uint8) & 1).astype(np.bool_)]


def ids_of(index: faiss.IndexIVF, number: int) -> Rows:
    """The rows of a list, a copy."""
    inverted, size = index.invlists, int(index.invlists.list_size(number))
    return faiss.rev_swig_ptr(inverted.get_ids(number), size).copy() if size else np.empty(0, np.int64)


class ListCounts:
    """How many rows lists hold, and how many of them are selected; of each list that was asked for, counted once."""

    def __init__(self, scans: Sequence[faiss.IndexIVF], selections: Sequence[Selection]) -> None:
        self._parts = [(index.invlists, selection.bits) for index, selection in zip(scans, selections)]
        nlist = self._parts[0][0].nlist
        self._rows = np.full(nlist, -1, np.int64)
        self._allowed = np.full(nlist, -1, np.int64)

    def rows(self, lists: Rows) -> Rows:
        """Rows of each list, of lists of any shape."""
        return self._of(lists, self._rows, lambda inverted, _, number: inverted.list_size(number))

    def allowed(self, lists: Rows) -> Rows:
        """Selected rows of each list, of lists of any shape."""
        return self._of(lists, self._allowed, _count)

    def _of(self, lists: Rows, known: Rows, count: Callable[[Any, NDArray[np.bool_] | None, int], int]) -> Rows:
        for number in np.unique(lists[(lists >= 0) & (known[lists] < 0)]).tolist():
            known[number] = sum(count(*part, number) for part in self._parts)
        return np.where(lists >= 0, known[lists], 0)


def decoded_at(index: faiss.IndexIVF, number: int, places: Rows, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the codes at some places [N] of a list say of the `vectors` there, both [N, d]."""
    if isinstance(index, faiss.IndexIVFPQFastScan):  # which reads behind its blocks to say it (1.15)
        return decoded(index, vectors)
    found = np.empty((len(places), index.d), np.float32)
    for line, place in zip(found, places.tolist()):
        index.reconstruct_from_offset(number, place, faiss.swig_ptr(line))
    return found


def _count(inverted: Any, bits: NDArray[np.bool_] | None, number: int) -> int:
    """How many rows of an inverted list are selected."""
    size = int(inverted.list_size(number))
    if bits is None or not size:
        return size
    return int(np.count_nonzero(bits[faiss.rev_swig_ptr(inverted.get_ids(number), size)]))
