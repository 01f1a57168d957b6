"""Which lists are dense: those in which two rows have so many close ones that their codes do not tell them apart.

A few rows of every full list are looked at, as they are stored and as their codes have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from shotlake.index.exact import Rows, Scores
from shotlake.index.manifest import DenseList
from shotlake.index.scan import SpaceVectors

CLOSE_ROWS = 256  # so many rows around one may be too many to be re-ranked
CLOSE = 0.25  # of the squared distance that two rows of a list have elsewhere
MAX_ROWS = 500_000  # of a list that is scored row by row; a longer one is left to its codes
LEAST_SAMPLE, SAMPLED, MOST_SAMPLED = 16, 64, 256  # rows of a list that are looked at: one of SAMPLED, within limits
TYPICAL_LISTS = 256  # that say how far apart two rows of a list are
NEIGHBOURS = 1_024  # lists beside a dense one that are looked at
SHARE = 0.1  # of the rows of a list, so that it counts as one of theirs
NEAREST = 0.1  # of a list's rows, which say how far from its centroid the close ones stand


def dense_lists(space: SpaceVectors) -> tuple[DenseList, ...]:
    """Those of an index with codes, by their numbers."""
    if space.exact:
        return ()
    sizes = space.list_sizes()
    full = np.flatnonzero((sizes >= CLOSE_ROWS) & (sizes <= MAX_ROWS))
    usual = _usual_distance(space, sizes)
    found = {
        number: DenseList(number=number, radius=_radius(space, number))
        for number in full.tolist()
        if _is_dense(space, number, int(sizes[number]), usual)
    }
    return tuple(found.values()) + tuple(_beside(space, found, sizes))


def _beside(space: SpaceVectors, found: Mapping[int, DenseList], sizes: NDArray[np.int64]) -> Iterator[DenseList]:
    """Smaller lists that hold rows of the same kind: their centroids are as near to a query."""
    known = set(found)
    for dense in found.values():
        centroid = space.quantiser.reconstruct(dense.number)
        near = space.quantiser.search(centroid[None, :], min(NEIGHBOURS, space.nlist))[1][0]
        for number in near[near >= 0].tolist():
            distance = float(np.linalg.norm(space.quantiser.reconstruct(number) - centroid))
            if distance > 2 * dense.radius:
                break
            if number not in known and 0 < sizes[number] < CLOSE_ROWS:
                known.add(number)
                yield DenseList(number=number, radius=dense.radius)


def lists_of(space: SpaceVectors, rows: Rows) -> tuple[DenseList, ...]:
    """The lists, not dense by now, in which a share of the rows is of these (ascending)."""
    known = {dense.number for dense in space.dense.found}
    found = []
    for number, size in enumerate(space.list_sizes().tolist()):
        mine = len(np.intersect1d(space.rows_of(number), rows, assume_unique=True)) if size else 0
        if number not in known and mine >= SHARE * size and mine:
            found.append(DenseList(number=number, radius=_radius(space, number)))
    return tuple(found)


def _usual_distance(space: SpaceVectors, sizes: NDArray[np.int64]) -> float:
    """The squared distance of two rows that share a list: the median of some lists."""
    filled = np.flatnonzero(sizes >= 2)
    some = filled[np.linspace(0, len(filled) - 1, min(TYPICAL_LISTS, len(filled))).astype(np.int64)]
    found = [np.median(_distances(space.sample_list(number, LEAST_SAMPLE)[0])) for number in some.tolist()]
    return float(np.median(found)) if found else 0.0


def _is_dense(space: SpaceVectors, number: int, size: int, usual: float) -> bool:
    """Whether two rows of a sample, or more, have so many close ones: closer than what their codes say of them is to
    the rows themselves, or than rows usually are.
    """
    rows, decoded = space.sample_list(number, min(MOST_SAMPLED, max(LEAST_SAMPLE, size // SAMPLED)))
    error = ((rows - decoded) ** 2).sum(axis=1)
    distances = _distances(rows)
    limit = np.maximum(np.minimum(error[:, None] + error, usual), CLOSE * usual)
    _, same = np.unique(rows, axis=0, return_inverse=True)
    close = ((distances < limit) & (same[:, None] != same)).sum(axis=1)
    return int((close * size >= CLOSE_ROWS * (len(rows) - 1)).sum()) >= 2


def _radius(space: SpaceVectors, number: int) -> float:
    """How far the rows that are nearest to the centroid of a list stand from it."""
    rows = space.sample_list(number, MOST_SAMPLED)[0]
    centroid = space.quantiser.reconstruct(number)[: space.dim]
    return float(np.quantile(np.linalg.norm(rows - centroid, axis=1), NEAREST))


def _distances(rows: Scores) -> NDArray[np.float32]:
    """Squared, of each two of the rows [N, D]: [N, N]."""
    squares = (rows**2).sum(axis=1)
    return np.asarray(squares[:, None] + squares - 2 * rows @ rows.T)
