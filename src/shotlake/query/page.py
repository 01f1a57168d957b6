"""Which of the moments make the page: above a threshold, so many a video, none that repeats a better one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from shotlake.query.budget import Budget
from shotlake.query.live import Rows, Vector
from shotlake.query.moments import Moment
from shotlake.query.request import SearchRequest

BLOCK = 256  # moments that are compared with each other at once


def choose_moments(
    rounds: Iterable[Sequence[Moment]], request: SearchRequest, vectors: Callable[[Rows], Vector], budget: Budget
) -> Iterator[Moment]:
    """The moments that a request wants to see, in their order, while its budget lasts.

    `vectors(rows [K])` gives unit vectors [K, D].
    """
    per_video = 1 if request.group_by else request.per_video
    seen: Counter[str] = Counter()
    unlike = Unlike(request.dedupe) if request.dedupe is not None else None
    for moments in rounds:
        chosen = moments
        if request.score_threshold is not None:
            chosen = [moment for moment in chosen if moment.best.score >= request.score_threshold]
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK]
            if unlike is not None:
                if not budget.allows():
                    return
                block = [block[k] for k in unlike.choose(vectors(np.array([moment.best.row for moment in block])))]
            for moment in block:
                seen[moment.best.video_id] += 1
                if per_video is None or seen[moment.best.video_id] <= per_video:
                    yield moment


class Unlike:
    """Chooses vectors that have a cosine below `likeness` with every one that it chose before."""

    def __init__(self, likeness: float) -> None:
        self._likeness = likeness
        self._kept: list[Vector] = []  # full blocks, then one that is not

    def choose(self, vectors: Vector) -> list[int]:
        """Indices of the chosen ones of [K, D], ascending. Memory grows with those that were chosen, not with pairs."""
        new = np.ones(len(vectors), np.bool_)
        for kept in self._kept:
            new[new] = (vectors[new] @ kept.T).max(axis=1) < self._likeness
        left = np.flatnonzero(new)
        within = vectors[left] @ vectors[left].T
        chosen: list[int] = []
        for number in range(len(left)):
            if not chosen or within[number, chosen].max() < self._likeness:
                chosen.append(number)
        self._keep(vectors[left[chosen]])
        return [int(number) for number in left[chosen]]

    def _keep(self, vectors: Vector) -> None:
        if self._kept and len(self._kept[-1]) < BLOCK:
            vectors = np.concatenate([self._kept.pop(), vectors])
        if len(vectors):
            self._kept.append(vectors)
