"""An epoch: the coarse quantiser and the codebook of a space, trained once and shared by all of its shards.

What comes out is an empty, trained `faiss.IndexIVF`; the exact index is the case of one list of float16 codes. A flat
quantiser is kept in float16 and multiplied in float32: rows are assigned to the very centroids that queries meet.
"""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.errors import IndexingError
from shotlake.index.centroids import find_centroids
from shotlake.index.sizing import HNSW_FROM_LISTS, PQ_CENTROIDS, IndexPlan
from shotlake.index.thinning import thinned


def padded(vectors: NDArray[np.floating], index_dim: int) -> NDArray[np.float32]:
    """Contiguous float32 [N, index_dim], with zeros behind the last value; the same array if nothing is to be done."""
    if vectors.shape[1] == index_dim:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    out = np.zeros((len(vectors), index_dim), dtype=np.float32)
    out[:, : vectors.shape[1]] = vectors
    return out


def train_space(sample: NDArray[np.floating], plan: IndexPlan) -> faiss.IndexIVF:
    """The trained, empty index from a sample [N, dim]. Deterministic on one thread. Errors: IndexingError."""
    vectors = padded(sample, plan.index_dim)
    if plan.codec != "exact":
        vectors = thinned(vectors, max(plan.nlist, PQ_CENTROIDS))
    compact = _coarse_quantiser(_centroids(vectors, plan), plan)
    index = _empty_index(wide_quantiser(compact), plan)
    if isinstance(index, faiss.IndexIVFPQ | faiss.IndexIVFPQFastScan):
        if len(vectors) < PQ_CENTROIDS:
            raise IndexingError(
                f"a product quantiser needs {PQ_CENTROIDS} vectors to train, this space has {len(vectors)}; "
                f"set index.exact_below to {plan.n_rows} or leave the space out of index.spaces"
            )
        index.pq.cp.min_points_per_centroid = 1  # the sample is as large as the table allows
    index.train(vectors)
    index.quantizer = compact
    faiss.add_to_referenced_objects(index, compact)
    return index


def wide_quantiser(compact: faiss.Index) -> faiss.Index:
    """The same centroids as float32, for rows that are assigned in blocks: only those are multiplied as matrices."""
    compact = faiss.downcast_index(compact)
    if not isinstance(compact, faiss.IndexScalarQuantizer):
        return compact
    wide = faiss.IndexFlatIP(compact.d)
    wide.add(compact.reconstruct_n(0, compact.ntotal))
    return wide


def decoded(index: faiss.IndexIVF, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is left of the vectors [N, index_dim] in the codes of the index."""
    if isinstance(index, faiss.IndexIVFPQFastScan):  # its own sa_decode reads behind its tables (1.15)
        return index.pq.decode(index.pq.compute_codes(vectors))
    return index.sa_decode(index.sa_encode(vectors))


def _centroids(vectors: NDArray[np.float32], plan: IndexPlan) -> NDArray[np.float32]:
    """[nlist, index_dim] unit vectors; the one list of the exact index has none."""
    if plan.codec == "exact":
        return np.zeros((1, plan.index_dim), dtype=np.float32)
    return find_centroids(vectors, plan.nlist)


def _coarse_quantiser(centroids: NDArray[np.float32], plan: IndexPlan) -> faiss.Index:
    if plan.nlist >= HNSW_FROM_LISTS:
        quantiser = faiss.IndexHNSWFlat(plan.index_dim, 32, faiss.METRIC_INNER_PRODUCT)
    else:
        half = faiss.ScalarQuantizer.QT_fp16
        quantiser = faiss.IndexScalarQuantizer(plan.index_dim, half, faiss.METRIC_INNER_PRODUCT)
    quantiser.add(centroids)
    return quantiser


def _empty_index(quantiser: faiss.Index, plan: IndexPlan) -> faiss.IndexIVF:
    dim, metric = plan.index_dim, faiss.METRIC_INNER_PRODUCT
    match plan.codec:
        case "exact":
            half = faiss.ScalarQuantizer.QT_fp16
            return faiss.IndexIVFScalarQuantizer(quantiser, dim, 1, half, metric, False)
        case "pq":
            return faiss.IndexIVFPQ(quantiser, dim, plan.nlist, dim // 8, 8, metric)
        case "pqfs":
            return faiss.IndexIVFPQFastScan(quantiser, dim, plan.nlist, dim // 4, 4, metric)
        case "rabitq":
            return faiss.IndexIVFRaBitQ(quantiser, dim, plan.nlist, metric)
