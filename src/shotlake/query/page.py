"""Which of the moments make the page: above a threshold, so many a video, none that repeats a better one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from shotlake.query.live import Rows, Vector
from shotlake.query.moments import Moment
from shotlake.query.request import SearchRequest


def choose_page(moments: Sequence[Moment], request: SearchRequest, vectors: Callable[[Rows], Vector]) -> list[Moment]:
    """The moments that a request wants to see, in their order. `vectors(rows [K])` gives unit vectors [K, D]."""
    chosen = list(moments)
    if request.score_threshold is not None:
        chosen = [moment for moment in chosen if moment.best.score >= request.score_threshold]
    if request.dedupe is not None and chosen:
        rows = np.array([moment.best.row for moment in chosen])
        chosen = [chosen[k] for k in unlike(vectors(rows), request.dedupe)]
    if request.per_video is not None:
        seen: Counter[str] = Counter()
        kept = []
        for moment in chosen:
            seen[moment.best.video_id] += 1
            if seen[moment.best.video_id] <= request.per_video:
                kept.append(moment)
        chosen = kept
    return chosen


def unlike(vectors: Vector, likeness: float) -> list[int]:
    """Indices of the vectors [K, D] that have a cosine below `likeness` with every one kept before them."""
    cosines = vectors @ vectors.T
    kept: list[int] = []
    for number in range(len(vectors)):
        if not kept or cosines[number, kept].max() < likeness:
            kept.append(number)
    return kept
