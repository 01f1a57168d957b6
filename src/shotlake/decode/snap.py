"""Moving a cell's edges to the shot boundaries near them, and choosing its frames again.

A cell that may move is sampled POOL times as densely as its clip needs; the denser times contain the clip's own, so a
cell that does not move gets the frames it would have had. The number of cells never changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shotlake.decode.picker import Cell, wanted_times
from shotlake.decode.shots import LATENCY_US, ShotDetector
from shotlake.records import ClipSpec

POOL = 3
REACH = 0.15  # of the window


def pool_spec(spec: ClipSpec) -> ClipSpec:
    """The same grid, sampled more densely."""
    return replace(spec, n_frames=POOL * spec.n_frames, fps=POOL * spec.fps)


def reach_us(spec: ClipSpec) -> int:
    """How far an edge may move."""
    return round(REACH * spec.window_us)


def waits_us(spec: ClipSpec) -> int:
    """How long after a cell's end its edges are known."""
    return reach_us(spec) + LATENCY_US


def snapped(cell: Cell, neighbours: list[Cell], shots: ShotDetector, spec: ClipSpec, is_last: bool) -> Cell:
    """The cell between the boundaries near its edges, with frames of its own pool and its neighbours'."""
    start_us = shots.nearest(cell.start_us, reach_us(spec)) if cell.index else cell.start_us
    end_us = cell.end_us if is_last else shots.nearest(cell.end_us, reach_us(spec))
    if end_us <= start_us:
        start_us, end_us = cell.start_us, cell.end_us
    moved = Cell(cell.index, start_us, end_us, wanted_times(start_us, end_us, spec))
    pool = {at: pixels for c in [*neighbours, cell] if c.frames is not None for at, pixels in zip(c.frame_us, c.frames)}
    times = np.array(sorted(at for at in pool if at < end_us), np.int64)
    times = times[max(0, int(np.searchsorted(times, start_us, side="right")) - 1) :]
    if cell.frames is None or not len(times):
        return moved
    nearest = [int(times[np.abs(times - wanted).argmin()]) for wanted in moved.wanted_us]
    moved.frames = np.zeros((spec.n_frames, *cell.frames.shape[1:]), np.uint8)
    moved.frames[: len(nearest)] = [pool[at] for at in nearest]
    moved.frame_us = nearest
    return moved
