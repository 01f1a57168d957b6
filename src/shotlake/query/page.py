"""Which of the moments make the page: above a threshold, so many a video, none that repeats a better one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from shotlake.query.live import Rows, Vector
from shotlake.query.moments import Moment
from shotlake.query.request import SearchRequest


def choose_moments(
    rounds: Iterable[Sequence[Moment]], request: SearchRequest, vectors: Callable[[Rows], Vector]
) -> Iterator[Moment]:
    """The moments that a request wants to see, in their order. `vectors(rows [K])` gives unit vectors [K, D]."""
    per_video = 1 if request.group_by else request.per_video
    seen: Counter[str] = Counter()
    unlike = Unlike(request.dedupe) if request.dedupe is not None else None
    for moments in rounds:
        chosen = moments
        if request.score_threshold is not None:
            chosen = [moment for moment in chosen if moment.best.score >= request.score_threshold]
        if unlike is not None and chosen:
            kept = unlike.choose(vectors(np.array([moment.best.row for moment in chosen])))
            chosen = [chosen[k] for k in kept]
        for moment in chosen:
            seen[moment.best.video_id] += 1
            if per_video is None or seen[moment.best.video_id] <= per_video:
                yield moment


class Unlike:
    """Chooses vectors that have a cosine below `likeness` with every one that it chose before."""

    def __init__(self, likeness: float) -> None:
        self._likeness = likeness
        self._kept: list[Vector] = []

    def choose(self, vectors: Vector) -> list[int]:
        """Indices of the chosen ones of [K, D], ascending."""
        within = vectors @ vectors.T
        before = [(vectors @ kept.T).max(axis=1) for kept in self._kept if len(kept)]
        new = (
            np.all([cosines < self._likeness for cosines in before], axis=0) if before else np.ones(len(vectors), bool)
        )
        chosen: list[int] = []
        for number in np.flatnonzero(new):
            if not chosen or within[number, chosen].max() < self._likeness:
                chosen.append(int(number))
        self._kept.append(vectors[chosen])
        return chosen
