"""Centroids of the lists: k-means of unit vectors in one level, or in two where there are many lists.

In two levels the sample is cut into about sqrt(nlist) groups, every group gets lists by its share of the sample, and
then rows may change to lists of the groups nearby: a row is compared with a few times sqrt(nlist) centroids instead of
with all. Deterministic on one thread. A GPU multiplies with all of them, so there one level does for any number.
"""

from __future__ import annotations

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.errors import IndexingError
from shotlake.index.gpu import n_gpus
from shotlake.index.sizing import (
    GROUP_POINTS,
    ITERATIONS,
    NEAR_GROUPS,
    NEAR_ITERATIONS,
    PRUNED_FROM_LISTS,
    TWO_LEVELS_FROM_LISTS,
)

SEED = 20_11
_SHARED = {"seed": SEED, "spherical": True, "min_points_per_centroid": 1}


def find_centroids(vectors: NDArray[np.float32], nlist: int) -> NDArray[np.float32]:
    """[nlist, D] unit vectors from a sample [N, D] of unit vectors. Errors: IndexingError if N < nlist."""
    if len(vectors) < nlist:
        raise IndexingError(
            f"{nlist} lists need as many vectors to train, this space has {len(vectors)}; leave it out of index.spaces"
        )
    if nlist < TWO_LEVELS_FROM_LISTS or n_gpus():
        return in_one_level(vectors, nlist)
    return in_two_levels(vectors, nlist)


def in_one_level(vectors: NDArray[np.float32], n: int, points: int = 0) -> NDArray[np.float32]:
    """n centroids by k-means, of `points` rows a centroid, or of all rows; on the GPUs if there are any."""
    settings = {"niter": ITERATIONS, "max_points_per_centroid": points or -(-len(vectors) // n), **_SHARED}
    if n_gpus():
        kmeans = faiss.Kmeans(vectors.shape[1], n, gpu=True, **settings)
    else:
        kind = faiss.SuperKmeans if n >= PRUNED_FROM_LISTS else faiss.Kmeans
        kmeans = kind(vectors.shape[1], n, **settings)
    kmeans.train(vectors)
    return kmeans.centroids


def in_two_levels(vectors: NDArray[np.float32], nlist: int) -> NDArray[np.float32]:
    """nlist centroids: those of each group from its own rows, then moved by all rows."""
    groups = faiss.IndexFlatIP(vectors.shape[1])
    groups.add(in_one_level(vectors, math.isqrt(nlist), GROUP_POINTS))
    group = groups.search(vectors, 1)[1][:, 0]
    sizes = np.bincount(group)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    found = [in_one_level(vectors[rows], n) for rows, n in zip(members, shares(sizes, nlist)) if n]
    return _moved(np.concatenate(found), vectors, groups)


def shares(sizes: NDArray[np.int64], total: int) -> list[int]:
    """`total` lists over groups of these sizes: one at least where there are rows, never more than rows."""
    filled = sizes > 0
    spare = np.maximum(sizes - 1, 0)  # of each group one list and one row are set aside
    ends = np.cumsum(spare) * (total - filled.sum()) // max(1, int(spare.sum()))
    return (filled + np.diff(ends, prepend=0)).tolist()


def _moved(
    centroids: NDArray[np.float32], vectors: NDArray[np.float32], groups: faiss.IndexFlatIP
) -> NDArray[np.float32]:
    """A few iterations more, in which a row meets the centroids of the groups that are nearest to it.

    Its own group has some, since the mean of a group's rows lies in the group.
    """
    n, dim = centroids.shape
    near = faiss.IndexIVFFlat(groups, dim, groups.ntotal, faiss.METRIC_INNER_PRODUCT)
    near.nprobe = NEAR_GROUPS
    kmeans = faiss.Kmeans(dim, n, niter=NEAR_ITERATIONS, max_points_per_centroid=-(-len(vectors) // n), **_SHARED)
    kmeans.index = near
    kmeans.train(vectors, init_centroids=centroids)
    return kmeans.centroids
