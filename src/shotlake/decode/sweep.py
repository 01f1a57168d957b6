"""The single pass: both streams side by side, clips in cell order, and what is behind is forgotten.

Memory is bounded by what both streams need for the open cells: a cell waits for the slower stream, but no longer than
the other is PATIENCE_US ahead (a stream may begin late, pause or be badly interleaved).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shotlake.config import DecodeConfig
from shotlake.decode.faults import FOREIGN, check_memory
from shotlake.decode.keys import begins_anew, never
from shotlake.decode.picker import FOREVER_US, Cell, FramePicker, new_cell
from shotlake.decode.pictures import PictureFitter, observed
from shotlake.decode.shots import ShotDetector
from shotlake.decode.sieve import Sieve
from shotlake.decode.snap import pool_spec, snapped, waits_us
from shotlake.decode.sound import MARGIN_US, SoundTrack
from shotlake.decode.source import Source
from shotlake.decode.streams import Decoded, FrameStream
from shotlake.records import ClipSpec

PATIENCE_US = 10_000_000


@dataclass(slots=True)
class Clip:
    """One cell as it was found; `frames` is None and `sample_mask` all False where there is no picture or sound."""

    cell: int
    start_us: int
    end_us: int
    frames: NDArray[np.uint8] | None
    frame_us: list[int]
    waveform: NDArray[np.float32]
    sample_mask: NDArray[np.bool_]

    @property
    def is_empty(self) -> bool:
        """True if there is neither picture nor sound."""
        return self.frames is None and not self.sample_mask.any()


class Sweep:
    """One pass over an open source from `first_cell` on; `end_cell` is None where the end is unknown.

    `streams` tells how far picture and sound reached and what was damaged; `info` is the source's, completed by the
    first frame; `at_end` is True once the streams have ended.
    """

    def __init__(
        self, source: Source, spec: ClipSpec, config: DecodeConfig, first_cell: int, end_cell: int | None
    ) -> None:
        self._spec = spec
        self._end_cell = end_cell
        self._duration_us = FOREVER_US if end_cell is None else source.info.duration_us
        self._cells: deque[Cell] = deque()
        self._shots = ShotDetector() if config.snap_to_shots and source.video is not None else None
        self._grid = pool_spec(spec) if self._shots else spec
        self._waits_us = waits_us(spec) if self._shots else 0
        self._first_cell = first_cell
        self._before: Cell | None = None
        self._next_cell = first_cell - 1 if self._shots and first_cell else first_cell
        sieve = None
        if config.policy == "reference" and source.video is not None:
            anew = begins_anew(source.video) if self._shots is None else never  # shots are told by neighbours
            sieve = Sieve(self._grid, self._duration_us, anew)
        self.streams = FrameStream(source, config, sieve, first_cell * spec.stride_us)
        self._frames = iter(self.streams)
        self._picker: FramePicker | None = None
        self._sound: SoundTrack | None = None
        if source.video is not None:
            self._fitter = PictureFitter(spec, float(source.video.sample_aspect_ratio or 1))
            self._picker = FramePicker(self._fit, self._grid.n_frames)
        if source.audio is not None:
            self._sound = SoundTrack()
        self.info = source.info
        self.at_end = False

    def clips(self, end_cell: int | None) -> Iterator[Clip]:
        """The clips before `end_cell`, in order, empty ones too; goes on where the last call ended.

        Ends early with the streams. Errors: the reader's StoreError or AccessDenied.
        """
        while True:
            while self._cells and self._cells[0].index != end_cell and self._is_done(self._cells[0].end_us):
                clip = self._clip(self._cells.popleft())
                if clip.cell >= self._first_cell:
                    yield clip  # its frames are nowhere else: who has copied them may drop them
            before_end = self._cells[0].index if self._cells else self._next_cell
            if self.at_end or before_end == end_cell:
                return
            decoded = next(self._frames, None)
            if decoded is None:
                self._finish()
            else:
                self._take(decoded)

    def _take(self, decoded: Decoded) -> None:
        try:
            if self._picker and decoded.track is self.streams.picture:
                self._take_picture(decoded, self._picker)
            elif self._sound:
                self._take_sound(decoded, self._sound)
        except FOREIGN as error:
            check_memory(error)
            self.streams.count_error(decoded.track)

    def _fit(self, frame: Any) -> NDArray[np.uint8] | None:
        try:
            return self._fitter(frame)
        except FOREIGN as error:
            check_memory(error)
            if self.streams.picture:
                self.streams.count_error(self.streams.picture)
            return None

    def _take_picture(self, decoded: Decoded, picker: FramePicker) -> None:
        if picker.is_fresh:
            self.info = observed(self.info, decoded.frame)
        self._open_cells(decoded.at_us)
        if self._shots:
            self._shots.add(decoded.frame, decoded.at_us)
        picker.add(decoded.frame, decoded.at_us, decoded.until_us, decoded.intact)

    def _take_sound(self, decoded: Decoded, sound: SoundTrack) -> None:
        sound.add(decoded.frame, decoded.at_us)
        self._open_cells(decoded.until_us - 1)
        oldest_us = self._cells[0].start_us if self._cells else self._next_cell * self._spec.stride_us
        sound.drop_before(oldest_us - self._waits_us)

    def _open_cells(self, time_us: int) -> None:
        """Open every cell that begins at or before this time; where edges move, also the one behind the last."""
        stop = None if self._end_cell is None else self._end_cell + bool(self._shots)
        while self._next_cell != stop and self._next_cell * self._spec.stride_us <= time_us:
            cell = new_cell(self._next_cell, self._duration_us, self._grid)
            self._cells.append(cell)
            if self._picker:
                self._picker.open(cell)
            self._next_cell += 1

    def _finish(self) -> None:
        """The streams have ended: nothing more to wait for."""
        self.at_end = True
        if self._shots:
            self._shots.finish()
        if self._picker and self.streams.picture:
            self._open_cells(self.streams.picture.until_us - 1)
            self._picker.finish(self.streams.picture.until_us)
        if self._end_cell is None and self._cells:
            last = self._cells[-1]
            last.end_us = min(last.end_us, max(self.streams.until_us, last.start_us + 1))

    def _is_done(self, end_us: int) -> bool:
        end_us += self._waits_us
        if self.at_end or self.streams.until_us >= end_us + PATIENCE_US:
            return True
        picture, sound = self.streams.picture, self.streams.sound
        has_picture = not self._picker or (picture and picture.given_up) or self._picker.reached_us >= end_us
        return bool(has_picture and (not sound or sound.given_up or sound.until_us >= end_us + MARGIN_US))

    def _snapped(self, cell: Cell, shots: ShotDetector) -> Cell:
        is_last = cell.end_us >= self._duration_us or (self._end_cell is None and self.at_end and not self._cells)
        neighbours = [*([self._before] if self._before else []), *list(self._cells)[:1]]
        return snapped(cell, neighbours, shots, self._spec, is_last)

    def _clip(self, cell: Cell) -> Clip:
        spec = self._spec
        if self._picker:
            self._picker.close(cell)
        if self._shots:
            self._before, cell = cell, self._snapped(cell, self._shots)
        if self._sound:
            wave, mask = self._sound.waveform(cell.start_us, cell.end_us, spec.n_samples, spec.sample_rate_hz)
        else:
            wave, mask = np.zeros(spec.n_samples, np.float32), np.zeros(spec.n_samples, np.bool_)
        return Clip(cell.index, cell.start_us, cell.end_us, cell.frames, cell.frame_us, wave, mask)
