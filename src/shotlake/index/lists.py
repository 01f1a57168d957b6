"""The inverted lists of several shards as those of one: codes are copied, rows that are gone are left out.

Shards of one epoch share their quantiser, so that a list means the same in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.index.truth import close_up


def join_lists(
    trained: faiss.IndexIVF,
    shards: Sequence[faiss.IndexIVF],
    n_rows: Sequence[int],
    lost: Sequence[NDArray[np.int64]] | None = None,
) -> faiss.IndexIVF:
    """The codes of shards of `n_rows` rows each, behind one another, in memory; ids are offsets in the whole.

    `lost`: offsets of rows that are left out, ascending, one array a shard; the rows behind them close up.
    """
    joined, n = _like(trained), 0
    for number, shard in enumerate(shards):
        part = _copy(shard, trained, n_rows[number])
        gone = lost[number] if lost is not None else np.empty(0, np.int64)
        if len(gone):
            part.remove_ids(gone)
            _renumber(part, gone)
        joined.merge_from(part, n)
        n += n_rows[number] - len(gone)
    return joined


def share_quantiser(index: faiss.IndexIVF, trained: faiss.IndexIVF) -> None:
    """Let the index use the quantiser of its epoch: a scan looks up centroids, and each would keep a copy hot."""
    if index.own_fields:
        faiss.Index.__swig_destroy__(index.quantizer)
    index.quantizer, index.own_fields = trained.quantizer, False
    faiss.add_to_referenced_objects(index, trained)


def _like(trained: faiss.IndexIVF) -> faiss.IndexIVF:
    """An empty index of the epoch."""
    empty = faiss.clone_index(trained)
    share_quantiser(empty, trained)
    return empty


def _copy(shard: faiss.IndexIVF, trained: faiss.IndexIVF, n_rows: int) -> faiss.IndexIVF:
    """The lists of a shard in memory of their own; those of a mapped file would be views of it in a clone."""
    if isinstance(shard, faiss.IndexIVFPQFastScan):  # is never mapped; copy_subset_to mixes up its blocks (1.15)
        part = faiss.clone_index(shard)
        share_quantiser(part, trained)
        return part
    part = _like(trained)
    shard.copy_subset_to(part, faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, 0, n_rows)
    return part


def _renumber(index: faiss.IndexIVF, gone: NDArray[np.int64]) -> None:
    lists = index.invlists
    for number in range(lists.nlist):
        if size := lists.list_size(number):
            ids = faiss.rev_swig_ptr(lists.get_ids(number), size)
            ids[:] = close_up(ids, gone)
