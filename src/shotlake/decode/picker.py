"""Which frame a clip gets for each of its wanted times: the nearest PTS among those on display within the cell.

A frame is on display until the next one, unless something was damaged between them or the gap is longer than a still
can explain; then until its own duration is over. A cell with any picture has all its frames: where a time lies beyond
the last frame, that frame is repeated, and `frame_us` says which it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shotlake.records import ClipSpec, cell_range

STILL_US = 60_000_000  # a frame without a declared duration is held so long at the most
FOREVER_US = 1 << 62


@dataclass(slots=True, eq=False)
class Cell:
    """A grid cell while it is filled. `frame_us` is -1 for times that have no frame yet."""

    index: int
    start_us: int
    end_us: int
    wanted_us: list[int]
    frames: NDArray[np.uint8] | None = None
    frame_us: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Held:
    """The latest frame; it is judged when the next one comes. `pixels` is made at most once."""

    frame: Any
    at_us: int
    until_us: int
    pixels: NDArray[np.uint8] | None = None


def wanted_times(start_us: int, end_us: int, spec: ClipSpec) -> list[int]:
    """The times that `spec` wants to see of [start_us, end_us)."""
    if spec.sampling == "uniform":
        span, parts = end_us - start_us, 2 * spec.n_frames
        return [start_us + (2 * k + 1) * span // parts for k in range(spec.n_frames)]
    times = (start_us + round((k + 0.5) * 1_000_000 / spec.fps) for k in range(spec.n_frames))
    return [time for time in times if time < end_us] or [(start_us + end_us) // 2]


def new_cell(index: int, duration_us: int, spec: ClipSpec) -> Cell:
    """An empty cell; `duration_us` cuts the last one."""
    start_us, end_us = cell_range(index, max(duration_us, index * spec.stride_us + 1), spec)
    return Cell(index, start_us, end_us, wanted_times(start_us, end_us, spec))


class FramePicker:
    """Fills cells from frames that come in the order of their times. `fit` makes pixels of a frame, None if it cannot.

    `reached_us`: nothing that comes later can change a cell that ends here or before.
    """

    def __init__(self, fit: Callable[[Any], NDArray[np.uint8] | None], n_frames: int) -> None:
        self._fit, self._n_frames = fit, n_frames
        self._cells: deque[Cell] = deque()
        self._held: _Held | None = None
        self.reached_us = -FOREVER_US

    @property
    def is_fresh(self) -> bool:
        """True before the first frame."""
        return self._held is None

    def open(self, cell: Cell) -> None:
        """Take a cell; cells come in the order of their starts, before the frames that follow them."""
        self._cells.append(cell)

    def close(self, cell: Cell) -> None:
        """The cell goes out as it is; where the picture has ended within it, its last frame is repeated."""
        if cell in self._cells:
            self._cells.remove(cell)
            if self._held and self._held.at_us < cell.end_us and self._held.until_us > cell.start_us:
                self._give(self._held, cell, FOREVER_US)

    def add(self, frame: Any, at_us: int, until_us: int, intact: bool) -> None:
        """The next frame and its own end. `intact` is False if something between it and the one before was damaged."""
        if at_us <= self.reached_us:
            return  # a time stamp that goes back: its place is taken
        self._settle(at_us, intact)
        self._held = _Held(frame, at_us, until_us)
        self.reached_us = at_us

    def finish(self, until_us: int) -> None:
        """No frame comes any more; the last one is on display until `until_us`."""
        if self._held:
            self._held.until_us = max(self._held.until_us, until_us)
        self._settle(FOREVER_US, intact=False)
        self.reached_us = FOREVER_US

    def _settle(self, next_us: int, intact: bool) -> None:
        """Give the held frame to the times that are nearer to it than to the frame at `next_us`."""
        held = self._held
        if held is None:
            return
        is_held = intact and (next_us - held.at_us <= STILL_US or held.until_us >= next_us - 1)
        until_us = next_us if is_held else min(next_us, held.until_us)
        middle_us = (held.at_us + next_us) // 2
        for cell in self._cells:
            if cell.start_us < until_us and held.at_us < cell.end_us:
                self._give(held, cell, middle_us if next_us < cell.end_us else FOREVER_US)
        while self._cells and self._cells[0].end_us <= next_us:
            self._cells.popleft()

    def _give(self, held: _Held, cell: Cell, last_us: int) -> None:
        while len(cell.frame_us) < len(cell.wanted_us) and cell.wanted_us[len(cell.frame_us)] <= last_us:
            if held.pixels is None:
                held.pixels = self._fit(held.frame)
            if held.pixels is None:
                return  # the next frame is nearest now
            if cell.frames is None:
                cell.frames = np.zeros((self._n_frames, *held.pixels.shape), np.uint8)
            cell.frames[len(cell.frame_us)] = held.pixels
            cell.frame_us.append(held.at_us)
