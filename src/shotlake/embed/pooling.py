"""Vectors of scenes and whole videos, from those of segments: means by duration, of length one.

A mean says what a video is about on the whole; what happens in it is found by its segments. A scene is a run of
segments without a gap between them, cut where neighbours are less alike than is usual in their video.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Micros = NDArray[np.int64]

_CUT_DEVIATIONS = 1.0  # neighbours this many standard deviations below the mean likeness are of two scenes
_LEAST_DEVIATION = 0.02  # under it a video is all alike


def pool(vectors_ND: Floats, durations_us: Micros) -> Floats | None:
    """[D] the normalised mean, weighted by duration; rows of NaN are left out, None if no row is left."""
    there = np.isfinite(vectors_ND).all(axis=1)
    mean = durations_us[there].astype(np.float64) @ vectors_ND[there].astype(np.float64)
    length = np.linalg.norm(mean)
    return (mean / length).astype(np.float32) if length > 0 else None


def cut_scenes(vectors_ND: Floats, start_us: Micros, end_us: Micros) -> list[slice]:
    """Runs of the N segments of a video, which are in the order of their times; together they are all of them."""
    if not len(start_us):
        return []
    likeness = np.nan_to_num((vectors_ND[1:] * vectors_ND[:-1]).sum(axis=1), nan=1.0)
    apart = start_us[1:] > end_us[:-1]
    if len(likeness) and likeness.std() > _LEAST_DEVIATION:
        apart |= likeness < likeness.mean() - _CUT_DEVIATIONS * likeness.std()
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(start_us)]
    return [slice(first, last) for first, last in pairwise(edges)]
