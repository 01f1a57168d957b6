"""Which pictures need not be decoded: those that nothing refers to and that no clip would show.

Packets are held back until the neighbours of the first one in presentation order are known; no frame that is nearest to
a wanted time, or on display at a cell's edge, is left out, so clips are the same as if every frame were decoded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from shotlake.decode.picker import wanted_times
from shotlake.records import ClipSpec, cell_range

_LONGEST_QUEUE = 64
_JUMP_US = 10_000_000


class Sieve:
    """A short queue of video packets with their times on the clock. `duration_us` cuts the last cell."""

    def __init__(self, spec: ClipSpec, duration_us: int) -> None:
        self._spec, self._duration_us = spec, duration_us
        self._queue: deque[tuple[Any, int | None]] = deque()
        self._times_us: list[int] = []  # sorted, of the queue and of what left it a moment ago
        self._newest_us: int | None = None  # decoding time: everything that comes later is shown later
        self._open = False
        self._looks = lru_cache(maxsize=4)(self._looks_of)

    def open_up(self) -> None:
        """Let everything pass from now on: the times of packets can no longer be trusted."""
        self._open = True

    def push(self, packet: Any, shown_us: int | None, decoded_us: int | None) -> Iterator[tuple[Any, bool]]:
        """Take one packet; give those that are decided, in decoding order, and whether they are wanted."""
        if decoded_us is None or (self._newest_us is not None and abs(decoded_us - self._newest_us) > _JUMP_US):
            self._open = True
        else:
            self._newest_us = decoded_us
        if shown_us is not None:
            insort(self._times_us, shown_us)
        self._queue.append((packet, shown_us))
        while self._queue:
            wanted = True if self._open or len(self._queue) > _LONGEST_QUEUE else self._decide(self._queue[0][1])
            if wanted is None:
                return
            yield self._queue.popleft()[0], wanted
            del self._times_us[: max(0, len(self._times_us) - 2 * _LONGEST_QUEUE)]

    def flush(self) -> Iterator[tuple[Any, bool]]:
        """The rest, all of it wanted: nothing follows that could be nearer."""
        while self._queue:
            yield self._queue.popleft()[0], True

    def _decide(self, at_us: int | None) -> bool | None:
        """True or False, None as long as a packet could still come that is shown right after this one."""
        if at_us is None or self._newest_us is None:
            return True
        before, after = bisect_left(self._times_us, at_us), bisect_right(self._times_us, at_us)
        if after == len(self._times_us) or self._newest_us < self._times_us[after]:
            return None
        if before == 0:
            return True
        return self._is_looked_at(self._times_us[before - 1], at_us, self._times_us[after])

    def _is_looked_at(self, previous_us: int, at_us: int, next_us: int) -> bool:
        """True if a wanted time is nearest to the frame between these neighbours, or a cell's edge falls on it."""
        low_us, high_us = (previous_us + at_us) // 2, (at_us + next_us) // 2 + 1
        for cell in self._cells(low_us, next_us):
            wanted_us, start_us, end_us = self._looks(cell)
            if at_us <= start_us <= next_us or at_us <= end_us <= next_us:
                return True
            place = bisect_left(wanted_us, low_us)
            if place < len(wanted_us) and wanted_us[place] <= high_us:
                return True
        return False

    def _cells(self, low_us: int, high_us: int) -> range:
        first = -(-(low_us - self._spec.window_us) // self._spec.stride_us)
        return range(max(0, first), max(0, high_us // self._spec.stride_us + 1))

    def _looks_of(self, cell: int) -> tuple[list[int], int, int]:
        start_us, end_us = cell_range(cell, max(self._duration_us, 1 + cell * self._spec.stride_us), self._spec)
        return wanted_times(start_us, end_us, self._spec), start_us, end_us
