"""An epoch: the coarse quantiser and the codebook of a space, trained once and shared by all of its shards.

What comes out is an empty, trained `faiss.IndexIVF`; the exact index is the case of one list of float16 codes.
"""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.errors import IndexingError
from shotlake.index.sizing import HNSW_FROM_LISTS, PQ_CENTROIDS, IndexPlan

ITERATIONS = 12  # of k-means; more change recall by less than its noise
SEED = 20_11


def padded(vectors: NDArray[np.floating], index_dim: int) -> NDArray[np.float32]:
    """Contiguous float32 [N, index_dim], with zeros behind the last value; the same array if nothing is to be done."""
    if vectors.shape[1] == index_dim:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    out = np.zeros((len(vectors), index_dim), dtype=np.float32)
    out[:, : vectors.shape[1]] = vectors
    return out


def train_space(sample: NDArray[np.float32], plan: IndexPlan) -> faiss.IndexIVF:
    """The trained, empty index from a sample [N, dim]. Deterministic on one thread. Errors: IndexingError."""
    vectors = padded(sample, plan.index_dim)
    quantiser = _coarse_quantiser(vectors, plan)
    index = _empty_index(quantiser, plan)
    if plan.codec == "pq":
        if len(vectors) < PQ_CENTROIDS:
            raise IndexingError(
                f"a product quantiser needs {PQ_CENTROIDS} vectors to train, this space has {len(vectors)}; "
                f"set index.exact_below to {plan.n_rows} or leave the space out of index.spaces"
            )
        index.pq.cp.min_points_per_centroid = 1  # the sample is as large as the table allows
    index.train(vectors)
    return index


def _coarse_quantiser(vectors: NDArray[np.float32], plan: IndexPlan) -> faiss.Index:
    dim, nlist = plan.index_dim, plan.nlist
    if plan.codec == "exact":
        centroids = np.zeros((1, dim), dtype=np.float32)
    else:
        kmeans = faiss.Kmeans(
            dim,
            nlist,
            niter=ITERATIONS,
            seed=SEED,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=-(-len(vectors) // nlist),
        )
        kmeans.train(vectors)
        centroids = kmeans.centroids
    if nlist >= HNSW_FROM_LISTS:
        quantiser = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    else:
        quantiser = faiss.IndexFlatIP(dim)
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
        case "rabitq":
            return faiss.IndexIVFRaBitQ(quantiser, dim, plan.nlist, metric)
