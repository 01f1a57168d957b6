"""Where one shot ends and the next begins: cuts, and fades through black, from a small grey picture of each frame.

A cut is a change that stands out from the changes around it (so camera motion and flashes are none) and is the largest
within DEBOUNCE_US; a fade is the middle of a dark run. What is decided depends on the second around it only, so that a
pass that begins in the middle agrees with one from the start.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Grey = NDArray[np.float32]

DEBOUNCE_US = 400_000
LATENCY_US = 500_000  # a cut is known this long after it, if frames go on coming
_COLUMNS, _ROWS = 32, 18
_LEAST_CHANGE = 10.0  # mean grey levels
_PAIR = 1.5  # to the largest of the four around it: a flash changes the picture twice
_RATIO = 3.0  # to the mean of the two changes before and the two behind
_DARK_MEAN, _DARK_SPREAD = 34.0, 8.0
_KEPT_US = 60_000_000
_KEPT_CHANGES = 400


class ShotDetector:
    """Boundaries of a stream of frames that come in the order of their times."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._last: Grey | None = None
        self._changes: list[tuple[int, float]] = []  # (time, change to the frame before)
        self._unjudged = 0
        self._dark_from_us: int | None = None
        self._boundaries: list[int] = []

    def add(self, frame: Any, at_us: int) -> None:
        """The next frame."""
        grey = self._grey(frame)
        if self._last is not None:
            self._changes.append((at_us, float(np.abs(grey - self._last).mean())))
        self._last = grey
        self._follow_darkness(grey, at_us)
        self._decide(at_us)

    def finish(self) -> None:
        """No frame comes any more."""
        self._decide(1 << 62)

    def nearest(self, time_us: int, reach_us: int) -> int:
        """The nearest boundary within `reach_us` of `time_us`, the earlier of two; `time_us` if there is none."""
        place = bisect_left(self._boundaries, time_us)
        near = [b for b in self._boundaries[max(0, place - 1) : place + 1] if abs(b - time_us) <= reach_us]
        return min(near, key=lambda boundary: abs(boundary - time_us), default=time_us)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """What was found in the last minute."""
        return tuple(self._boundaries)

    def _grey(self, frame: Any) -> Grey:
        """[18, 32] luma; read in place where the first plane is 8-bit luma."""
        if frame.format.name in ("yuv420p", "yuvj420p", "nv12", "yuv422p", "yuv444p"):
            plane = frame.planes[0]
            luma = np.frombuffer(plane, np.uint8, plane.line_size * frame.height).reshape(frame.height, -1)
            rows = np.linspace(0, frame.height - 1, _ROWS * 2).astype(int)
            columns = np.linspace(0, frame.width - 1, _COLUMNS * 2).astype(int)
            points = luma[rows[:, None], columns].astype(np.float32)
            return points.reshape(_ROWS, 2, _COLUMNS, 2).mean(axis=(1, 3))
        small = self._reformatter.reformat(frame, _COLUMNS, _ROWS, "gray", threads=1)
        return np.asarray(small.to_ndarray(), np.float32)

    def _follow_darkness(self, grey: Grey, at_us: int) -> None:
        is_dark = bool(grey.mean() < _DARK_MEAN and grey.std() < _DARK_SPREAD)
        if is_dark and self._dark_from_us is None:
            self._dark_from_us = at_us
        elif not is_dark and self._dark_from_us is not None:
            self._insert((self._dark_from_us + at_us) // 2)
            self._dark_from_us = None

    def _decide(self, now_us: int) -> None:
        """Judge every change that has DEBOUNCE_US behind it; forget what no other is compared with any more."""
        while self._unjudged < len(self._changes) and self._changes[self._unjudged][0] + DEBOUNCE_US <= now_us:
            if self._is_cut(self._unjudged):
                self._insert(self._changes[self._unjudged][0])
            self._unjudged += 1
            if self._unjudged > _KEPT_CHANGES:
                del self._changes[: _KEPT_CHANGES // 2]
                self._unjudged -= _KEPT_CHANGES // 2

    def _is_cut(self, number: int) -> bool:
        at_us, change = self._changes[number]
        if change < _LEAST_CHANGE:
            return False
        around = [c for _, c in self._changes[max(0, number - 2) : number] + self._changes[number + 1 : number + 3]]
        rivals = [c for time_us, c in self._changes if time_us != at_us and abs(time_us - at_us) <= DEBOUNCE_US]
        stands_out = change * len(around) >= _RATIO * sum(around) and change >= _PAIR * max(around, default=0.0)
        return stands_out and change > max(rivals, default=0.0)

    def _insert(self, boundary_us: int) -> None:
        place = bisect_left(self._boundaries, boundary_us)
        near = self._boundaries[max(0, place - 1) : place + 1]
        if all(abs(boundary_us - other) > DEBOUNCE_US for other in near):
            self._boundaries.insert(place, boundary_us)
            while self._boundaries[0] < boundary_us - _KEPT_US:
                del self._boundaries[0]
