"""Neighbouring segments of a video become one moment, the same one however many candidates a query looks at.

A moment grows from its best segment to both sides, over segments that overlap or touch it, as long as their scores are
within `drop` of the best. Segments grow in the order of their scores, and each is in one moment at the most; a moment's
score is its best segment's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.query.live import Rows, Vector

BLOCK = 64  # segments of a video that are scored together

Score = Callable[[Rows], Vector]  # of rows [K]; -inf for those that no moment may hold


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment with its score; `row` is what the index knows it by."""

    row: int
    score: float
    segment_id: str
    video_id: str
    uri: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """From the start of the first segment to the end of the one that ends last; `rows` [S] in the order of time, of
    which `best` decided the score.
    """

    best: Segment
    start_us: int
    end_us: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Stretch:
    """Segments [first, last] of a timeline, of which `best` has the greatest score."""

    first: int
    last: int
    best: int


class Timeline:
    """All segments of one video in the order of time, scored where somebody looks. `rows` are given ascending."""

    def __init__(self, rows: Rows, starts_us: NDArray[np.int64], ends_us: NDArray[np.int64], score: Score) -> None:
        order = np.lexsort((ends_us, starts_us))
        self.rows, self.starts_us, self.ends_us = rows[order], starts_us[order], ends_us[order]
        self._ascending, self._places = rows, np.argsort(order)
        self._touches = self.starts_us[1:] <= self.ends_us[:-1]  # each the one behind it
        self._score = score
        self._scores = np.full(len(rows), np.nan, np.float32)
        self._taken = np.zeros(len(rows), np.bool_)

    def grow(self, row: int, drop: float, climbs: bool = True) -> list[Stretch]:
        """The moment of a row, which nothing else may take from now on; none if an earlier one has it.

        `climbs`: a neighbour with a greater score, which the index did not find, becomes the best one. If the row is
        not in its moment then, it has another one, which comes last.
        """
        found, place = list[Stretch](), int(self._places[np.searchsorted(self._ascending, row)])
        while not self._taken[place]:
            found.append(self._grown(place, drop, climbs))
        return found

    def _grown(self, best: int, drop: float, climbs: bool) -> Stretch:
        while True:
            floor = self._at(best) - drop
            if floor == -np.inf:  # found all the same: a rounding away from what the query excludes
                first = last = best
            else:
                first, last = self._reach(best, -1, floor), self._reach(best, 1, floor)
            found = first + int(np.argmax(self._scores[first : last + 1]))
            if not climbs or self._scores[found] <= self._scores[best]:
                break
            best = found
        self._taken[first : last + 1] = True
        return Stretch(first, last, best)

    def block_of(self, row: int) -> slice | None:
        """The places around a row that are scored together; None if they are already."""
        place = int(self._places[np.searchsorted(self._ascending, row)])
        return _block(place) if np.isnan(self._scores[place]) else None

    def put(self, block: slice, scores: Vector) -> None:
        """What the segments of a block score."""
        self._scores[block] = scores

    def score_of(self, place: int) -> float:
        """The score of the segment at a place."""
        return float(self._at(place))

    def _reach(self, place: int, step: int, floor: float) -> int:
        """How far a moment goes from a place to one side."""
        while 0 <= place + step < len(self.rows):
            other = place + step
            if not self._touches[min(place, other)] or self._taken[other] or self._at(other) < floor:
                break
            place = other
        return place

    def _at(self, place: int) -> float:
        if np.isnan(self._scores[place]):
            self.put(_block(place), self._score(self.rows[_block(place)]))
        return float(self._scores[place])


def _block(place: int) -> slice:
    start = place // BLOCK * BLOCK
    return slice(start, start + BLOCK)
