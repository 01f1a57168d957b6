"""Which pictures need not be decoded: those that no clip would show, and to which nothing refers that it would.

Packets are held back until the neighbours of the first one in presentation order are known; no frame that is nearest to
a wanted time, or on display at a cell's edge, is left out, so clips are the same as if every frame were decoded. Behind
the last wanted picture before a key frame with which everything begins anew, all pictures are left out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any

from shotlake.decode.keys import BeginsAnew
from shotlake.decode.picker import wanted_times
from shotlake.records import ClipSpec, cell_range

_LONGEST_QUEUE = 64
_JUMP_US = 10_000_000
_MOST_HELD, _MOST_HELD_BYTES, _HELD_US = 1024, 8 << 20, 4_000_000  # before a key frame must have come


class Fate(Enum):
    """What becomes of a packet."""

    DECODE = "decode"
    IF_REFERRED = "decode if others refer to it"
    LEAVE_OUT = "leave out"


class Sieve:
    """A short queue of video packets with their times on the clock. `duration_us` cuts the last cell."""

    def __init__(self, spec: ClipSpec, duration_us: int, begins_anew: BeginsAnew) -> None:
        self._spec, self._duration_us, self._begins_anew = spec, duration_us, begins_anew
        self._held: list[tuple[Any, int | None]] = []  # unwanted since the last wanted one
        self._held_bytes = 0
        self._queue: deque[tuple[Any, int | None]] = deque()
        self._times_us: list[int] = []  # sorted, of the queue and of what left it a moment ago
        self._newest_us: int | None = None  # decoding time: everything that comes later is shown later
        self._open = False
        self._looks = lru_cache(maxsize=4)(self._looks_of)

    def open_up(self) -> None:
        """Let everything pass from now on: the times of packets can no longer be trusted."""
        self._open = True

    def push(self, packet: Any, shown_us: int | None, decoded_us: int | None) -> Iterator[tuple[Any, Fate]]:
        """Take one packet; give those that are decided, in decoding order, each with its fate."""
        if decoded_us is None:
            self._open |= self._newest_us is not None  # the first packets of a Matroska file have none, and are wanted
        elif self._newest_us is not None and abs(decoded_us - self._newest_us) > _JUMP_US:
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
            yield from self._settle(*self._queue.popleft(), wanted)
            del self._times_us[: max(0, len(self._times_us) - 2 * _LONGEST_QUEUE)]

    def flush(self) -> Iterator[tuple[Any, Fate]]:
        """The rest, all of it wanted that is not decided: nothing follows that could be nearer."""
        while self._queue:
            yield from self._settle(*self._queue.popleft(), True)
        yield from self._release(Fate.IF_REFERRED)

    def _settle(self, packet: Any, shown_us: int | None, wanted: bool) -> Iterator[tuple[Any, Fate]]:
        """What is decided now that this packet is wanted or not."""
        if self._held and not self._open and self._begins_anew(packet):
            yield from self._release(Fate.LEAVE_OUT)
        if wanted:
            yield from self._release(Fate.IF_REFERRED)
            yield packet, Fate.DECODE
            return
        self._held.append((packet, shown_us))
        self._held_bytes += packet.size
        since_us = self._held[0][1]
        waits_us = 0 if shown_us is None or since_us is None else shown_us - since_us
        if len(self._held) > _MOST_HELD or self._held_bytes > _MOST_HELD_BYTES or waits_us > _HELD_US:
            yield from self._release(Fate.IF_REFERRED)

    def _release(self, fate: Fate) -> Iterator[tuple[Any, Fate]]:
        held, self._held, self._held_bytes = self._held, [], 0
        yield from ((packet, fate) for packet, _ in held)

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
