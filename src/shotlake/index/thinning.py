"""A sample to train on in which no one picture outweighs the rest: a wall, a test card, black frames.

Where a large part of the rows are nearly one, centroids and codebook would be spent on what tells these apart, and the
others be coded badly. Some are as good for training as all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PIVOTS = 1_024  # rows by which such parts are found: those of a hundredth of the rows or more
LEAST_SHARE = 0.01
CLOSE = 0.05  # of the squared distance that two rows of a sample have
KEPT = 256  # rows of each such part
BLOCK_ROWS = 16_384

Vectors = NDArray[np.float32]


def thinned(vectors: Vectors, least: int) -> Vectors:
    """The sample [N, D], a hash of which decides the order, without most of the rows that are nearly one; `least` rows
    or more, or all of them.
    """
    repeated = _repeated(vectors)
    more = [np.flatnonzero(repeated == picture)[KEPT:] for picture in range(int(repeated.max(initial=-1)) + 1)]
    removed = np.sort(np.concatenate([np.empty(0, np.int64), *more]))[: max(0, len(vectors) - least)]
    return np.delete(vectors, removed, axis=0) if len(removed) else vectors


def _repeated(vectors: Vectors) -> NDArray[np.int64]:
    """Which of the repeated pictures each row [N] is close to; -1: none."""
    nearest = np.full(len(vectors), -1, np.int64)
    pivots = vectors[np.linspace(0, len(vectors) - 1, min(PIVOTS, len(vectors))).astype(np.int64)]
    distance = 2 - 2 * pivots @ pivots.T
    limit = CLOSE * float(np.mean(distance))
    close = distance < limit
    chosen = []
    while (counts := close.sum(axis=1)).max() > max(1, LEAST_SHARE * len(pivots)):
        best = int(counts.argmax())
        chosen.append(best)
        close[:, close[best]] = False
    if not chosen:
        return nearest
    centres = pivots[chosen].T
    for start in range(0, len(vectors), BLOCK_ROWS):
        scores = vectors[start : start + BLOCK_ROWS] @ centres
        best_scores = scores.max(axis=1)
        nearest[start : start + BLOCK_ROWS] = np.where(2 - 2 * best_scores < limit, scores.argmax(axis=1), -1)
    return nearest
