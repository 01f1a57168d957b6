"""The single pass: demux once, decode both streams, give clips in cell order, forget what is behind.

Memory is bounded by what both streams need for the open cells: a cell waits for the slower stream, but no longer than
the other is PATIENCE_US ahead (a stream may begin late, pause or be badly interleaved).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shotlake.config import DecodeConfig
from shotlake.decode.faults import FOREIGN, check_store, is_encrypted
from shotlake.decode.picker import FOREVER_US, Cell, FramePicker, new_cell
from shotlake.decode.pictures import PictureFitter, observed
from shotlake.decode.sound import MARGIN_US, SoundTrack
from shotlake.decode.source import Source, to_us
from shotlake.records import ClipSpec

PATIENCE_US = 10_000_000
_JUMP_US = 10_000_000  # MPEG time stamps that jump further start a new clock
_OUTLIER_US = 3_600_000_000  # a time stamp further ahead of everything so far is damage


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


@dataclass(slots=True)
class Track:
    """What has been seen of one stream: progress, damage, and the offset that keeps its clock going on."""

    stream: Any
    time_base: Fraction
    offset_us: int = 0
    started: bool = False
    until_us: int = 0
    damaged: bool = False
    errors_in_a_row: int = 0
    given_up: bool = False


class Sweep:
    """One pass over an open source from `first_cell` on; `end_cell` is None where the end is unknown.

    `packet_errors` and `corrupt_frames` count what was met so far; `gave_up` tells that a stream was left after too
    many errors in a row.
    """

    def __init__(
        self, source: Source, spec: ClipSpec, config: DecodeConfig, first_cell: int, end_cell: int | None
    ) -> None:
        self._source, self._spec, self._config = source, spec, config
        self._next_cell, self._end_cell = first_cell, end_cell
        self._from_us = first_cell * spec.stride_us
        self._cells: deque[Cell] = deque()
        self._tracks = {stream.index: Track(stream, stream.time_base) for stream in source.streams}
        self._picker: FramePicker | None = None
        self._sound: SoundTrack | None = None
        if source.video is not None:
            fitter = PictureFitter(spec, float(source.video.sample_aspect_ratio or 1))
            self._picker = FramePicker(fitter, spec.n_frames)
        if source.audio is not None:
            self._sound = SoundTrack(source.info.sample_rate_hz)
        self.info = source.info
        self._packets = self._demux()
        self.gave_up = self.encrypted = False
        self.packet_errors = 0
        self.corrupt_frames = 0
        self.at_end = False

    @property
    def picture_until_us(self) -> int:
        """End of the display of the last frame seen."""
        return self._picker.until_us if self._picker else 0

    @property
    def sound_until_us(self) -> int:
        """End of the last sample heard."""
        return self._sound.until_us if self._sound else 0

    @property
    def until_us(self) -> int:
        """How far picture or sound reached."""
        return max(self.picture_until_us, self.sound_until_us)

    def lost_stream(self, stream: Any) -> bool:
        """True if the stream was left after too many errors in a row, or its last packets were damaged."""
        track = self._tracks[stream.index]
        return track.given_up or track.damaged

    def clips(self, end_cell: int | None) -> Iterator[Clip]:
        """The clips before `end_cell`, in order, empty ones too; goes on where the last call ended.

        Ends early with the streams. Errors: the reader's StoreError or AccessDenied.
        """
        while True:
            while self._cells and self._cells[0].index != end_cell and self._is_done(self._cells[0].end_us):
                yield self._clip(self._cells.popleft())
            before_end = self._cells[0].index if self._cells else self._next_cell
            if self.at_end or before_end == end_cell:
                return
            packet = next(self._packets, None)
            if packet is None:
                check_store(self._source.reader)
                self._finish()
            elif not self._tracks[packet.stream.index].given_up:
                self._feed(packet, self._tracks[packet.stream.index])

    def _feed(self, packet: Any, track: Track) -> None:
        try:
            for frame in self._decode(packet, track):
                self._take(frame, track)
        except FOREIGN:  # a frame that cannot be converted
            self._count_error(track)

    def _demux(self) -> Iterator[Any]:
        """Packets of both streams, past damage in the container as long as reading goes on."""
        failures = 0
        while failures <= self._config.max_errors:
            try:
                for packet in self._source.container.demux(*self._source.streams):
                    failures = 0 if packet.size else failures
                    yield packet
                return
            except FOREIGN:
                check_store(self._source.reader)
                failures += 1
                self.packet_errors += 1
        self.gave_up = True

    def _decode(self, packet: Any, track: Track) -> list[Any]:
        try:
            frames = packet.decode()
        except EOFError:  # the decoder was flushed already
            return []
        except FOREIGN:
            check_store(self._source.reader)
            self._count_error(track)
            self.encrypted |= is_encrypted(packet)
            return []
        if packet.is_corrupt:
            track.damaged = True
            self.packet_errors += self._seen_us() >= self._from_us
        if frames:
            track.errors_in_a_row = 0
        return list(frames)

    def _count_error(self, track: Track) -> None:
        self.packet_errors += self._seen_us() >= self._from_us  # not while warming up
        track.damaged = True
        track.errors_in_a_row += 1
        track.given_up = track.errors_in_a_row > self._config.max_errors
        self.gave_up |= track.given_up

    def _take(self, frame: Any, track: Track) -> None:
        at_us = self._place(frame, track)
        if frame.is_corrupt:
            track.damaged = True
            self.corrupt_frames += at_us >= self._from_us
        if at_us > self._seen_us() + _OUTLIER_US and at_us > self._from_us + _OUTLIER_US:
            track.damaged = True
            return
        if self._picker and track.stream is self._source.video:
            duration_us = self._frame_duration_us(frame, track)
            if not track.started:
                self.info = observed(self.info, frame)
            self._open_cells(at_us)
            self._picker.add(frame, at_us, duration_us, intact=not track.damaged)
            track.until_us = at_us + duration_us
        elif self._sound:
            self._sound.add(frame, at_us)
            self._sound.drop_before(self._cells[0].start_us if self._cells else self._next_cell * self._spec.stride_us)
            track.until_us = at_us + frame.samples * 1_000_000 // frame.sample_rate
            self._open_cells(track.until_us - 1)
        track.damaged = bool(frame.is_corrupt)
        track.started = True

    def _place(self, frame: Any, track: Track) -> int:
        """The frame's time on the clock; MPEG time stamps that jump go on where the last frame ended."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is None:
            return track.until_us
        at_us = to_us(stamp, frame.time_base or track.time_base) - self._source.origin_us + track.offset_us
        if self._source.rebases and track.started and abs(at_us - track.until_us) > _JUMP_US:
            raw_us = at_us - track.offset_us
            known = [other.offset_us for other in self._tracks.values() if other is not track]
            near = [offset for offset in known if abs(raw_us + offset - track.until_us) <= _JUMP_US]
            track.offset_us = near[0] if near else track.until_us - raw_us
            at_us = raw_us + track.offset_us
        return at_us

    def _frame_duration_us(self, frame: Any, track: Track) -> int:
        if frame.duration:
            return to_us(frame.duration, track.time_base)
        return round(1_000_000 / self._source.info.fps) if self._source.info.fps else 0

    def _seen_us(self) -> int:
        return max((track.until_us for track in self._tracks.values()), default=0)

    def _open_cells(self, time_us: int) -> None:
        """Open every cell that begins at or before this time."""
        duration_us = self._source.info.duration_us if self._end_cell is not None else FOREVER_US
        while self._next_cell != self._end_cell and self._next_cell * self._spec.stride_us <= time_us:
            cell = new_cell(self._next_cell, max(duration_us, 1 + self._next_cell * self._spec.stride_us), self._spec)
            self._cells.append(cell)
            if self._picker:
                self._picker.open(cell)
            self._next_cell += 1

    def _finish(self) -> None:
        """The streams have ended: nothing more to wait for."""
        self.at_end = True
        if self._picker:
            self._open_cells(self._picker.until_us - 1)
            self._picker.finish()
        if self._end_cell is None and self._cells:
            self._cells[-1].end_us = min(self._cells[-1].end_us, max(self._seen_us(), 1 + self._cells[-1].start_us))

    def _is_done(self, end_us: int) -> bool:
        if self.at_end:
            return True
        picture_us = self._picker.reached_us if self._picker else FOREVER_US
        sound_us = self._sound.until_us - MARGIN_US if self._sound else FOREVER_US
        slowest_us = min(
            FOREVER_US if self._tracks[stream.index].given_up else reached_us
            for stream, reached_us in ((self._source.video, picture_us), (self._source.audio, sound_us))
            if stream is not None
        )
        return slowest_us >= end_us or self._seen_us() >= end_us + PATIENCE_US

    def _clip(self, cell: Cell) -> Clip:
        spec = self._spec
        if self._picker:
            self._picker.close(cell)
        if self._sound:
            wave, mask = self._sound.waveform(cell.start_us, cell.end_us, spec.n_samples, spec.sample_rate_hz)
        else:
            wave, mask = np.zeros(spec.n_samples, np.float32), np.zeros(spec.n_samples, np.bool_)
        return Clip(cell.index, cell.start_us, cell.end_us, cell.frames, cell.frame_us, wave, mask)
