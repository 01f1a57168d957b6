"""Neighbouring segments of a video become one moment. Pure arithmetic over the candidates of one query.

A moment grows from its best segment to both sides, over segments that overlap or touch it, as long as their scores are
within `drop` of the best. Every candidate is in exactly one moment; a moment's score is its best segment's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment with its score; `row` is what the caller knows it by."""

    row: int
    score: float
    segment_id: str
    video_id: str
    uri: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Segments of one video in time order, of which `best` decided the score."""

    best: Candidate
    segments: tuple[Candidate, ...]

    @property
    def start_us(self) -> int:
        """Start of the first segment."""
        return self.segments[0].start_us

    @property
    def end_us(self) -> int:
        """End of the segment that ends last."""
        return max(segment.end_us for segment in self.segments)


def merge_moments(candidates: Sequence[Candidate], drop: float) -> list[Moment]:
    """Moments, best first; equal scores in the order of uri and time. `drop`: score, not negative."""
    videos: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: (c.start_us, c.end_us)):
        videos[candidate.video_id].append(candidate)
    moments = [moment for segments in videos.values() for moment in _moments_of_video(segments, drop)]
    return sorted(moments, key=lambda m: (-m.best.score, m.best.uri, m.best.start_us))


def _moments_of_video(segments: list[Candidate], drop: float) -> list[Moment]:
    moments: list[Moment] = []
    taken = [False] * len(segments)
    for seed in sorted(range(len(segments)), key=lambda k: (-segments[k].score, k)):
        if taken[seed]:
            continue
        floor = segments[seed].score - drop

        def joins(earlier: int, later: int, other: int, floor: float = floor) -> bool:
            near = segments[later].start_us <= segments[earlier].end_us
            return near and not taken[other] and segments[other].score >= floor

        first = last = seed
        while first > 0 and joins(first - 1, first, first - 1):
            first -= 1
        while last + 1 < len(segments) and joins(last, last + 1, last + 1):
            last += 1
        for k in range(first, last + 1):
            taken[k] = True
        moments.append(Moment(segments[seed], tuple(segments[first : last + 1])))
    return moments
