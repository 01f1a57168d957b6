"""Frames of both streams as they are decoded, each with its time on the clock; damage is counted, never raised.

Everything is decoded in one thread, each packet once. A stream is given up after `max_errors` errors in a row, the
whole pass after as many failures to read a packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from shotlake.config import DecodeConfig
from shotlake.decode.accelerate import is_from_gpu
from shotlake.decode.faults import FOREIGN, check_memory, check_store, is_encrypted
from shotlake.decode.sieve import Fate, Sieve
from shotlake.decode.source import MICROSECOND, Source

_JUMP_US = 10_000_000  # MPEG time stamps that jump further start a new clock
_AHEAD_US = 2_000_000  # sound so far ahead of the picture's packets: the picture pauses or has ended
_OUTLIER_US = 3_600_000_000  # a time stamp further ahead of everything so far is damage


@dataclass(slots=True)
class Track:
    """What has been seen of one stream: progress, damage, and the offset that keeps its clock going on."""

    stream: Any
    origin_us: int
    offset_us: int = 0
    started: bool = False
    until_us: int = 0
    damaged: bool = False
    sent_us: int = 0  # end of the last packet that was read, decoded or not
    drained: bool = False
    errors_in_a_row: int = 0
    given_up: bool = False
    us_a_tick: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.us_a_tick = (self.stream.time_base / MICROSECOND).as_integer_ratio()

    def length_us(self, ticks: int) -> int:
        """Ticks of the stream as microseconds, rounded to the nearest."""
        scale, denominator = self.us_a_tick
        return (2 * scale * ticks + denominator) // (2 * denominator)

    def clock_us(self, stamp: int | None) -> int | None:
        """A time stamp of the stream on the clock."""
        return None if stamp is None else self.length_us(stamp) - self.origin_us + self.offset_us

    @property
    def is_broken(self) -> bool:
        """True if the stream was given up, or the last that came of it was damaged."""
        return self.given_up or self.damaged


@dataclass(slots=True)
class Decoded:
    """One frame or piece of sound; `intact` is False if something before it was damaged."""

    track: Track
    frame: Any
    at_us: int
    until_us: int
    intact: bool


class FrameStream:
    """Both streams of an open source from where it stands; damage before `from_us` is warming up and not counted.

    `until_us` is how far picture or sound reached.
    """

    def __init__(self, source: Source, config: DecodeConfig, sieve: Sieve | None, from_us: int) -> None:
        self._source, self._config, self._sieve, self._from_us = source, config, sieve, from_us
        self._tracks = {stream.index: Track(stream, source.origin_us) for stream in source.streams}
        self.picture = self._tracks[source.video.index] if source.video is not None else None
        self.sound = self._tracks[source.audio.index] if source.audio is not None else None
        self._only_keys = config.policy == "keyframes"
        if self._only_keys and source.video is not None:
            source.video.codec_context.skip_frame = "NONKEY"
        self.until_us = 0
        self.packet_errors = 0
        self.corrupt_frames = 0
        self.gave_up = self.encrypted = False
        self.device: Literal["", "cpu", "nvdec"] = ""

    def __iter__(self) -> Iterator[Decoded]:
        """All frames, to the end of the streams. Errors: the reader's StoreError or AccessDenied."""
        for packet in self._packets():
            track = self._tracks[packet.stream.index]
            if track is self.picture:
                yield from self._pictures(packet, track)
                continue
            yield from self._decoded(packet, track)
            if self.picture and track.until_us > self.picture.sent_us + _AHEAD_US:
                yield from self._drained(self.picture)
        check_store(self._source.reader)

    def count_error(self, track: Track) -> None:
        """Something of this stream could not be used."""
        self.packet_errors += self.until_us >= self._from_us
        track.damaged = True
        track.errors_in_a_row += 1
        track.given_up = track.errors_in_a_row > self._config.max_errors
        self.gave_up |= track.given_up

    def _packets(self) -> Iterator[Any]:
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

    def _pictures(self, packet: Any, track: Track) -> Iterable[Decoded]:
        """What is decoded now that this packet has come, of it or of those that wait in the sieve."""
        shown_us = track.clock_us(packet.pts)
        if shown_us is not None:
            track.sent_us = max(track.sent_us, shown_us + track.length_us(packet.duration or 0))
        if self._sieve is not None:
            return self._sifted(packet, shown_us, track, self._sieve)
        if self._only_keys:
            self._pass_by(packet, track)
            if self._source.keys_are_known and packet.size and not packet.is_keyframe:
                return ()
        return self._decoded(packet, track)

    def _sifted(self, packet: Any, shown_us: int | None, track: Track, sieve: Sieve) -> Iterator[Decoded]:
        if track.damaged or track.offset_us:
            sieve.open_up()
        if packet.size:
            decided = sieve.push(packet, shown_us, track.clock_us(packet.dts))
        else:
            decided = chain(sieve.flush(), [(packet, Fate.DECODE)])
        leaving = False
        for ready, fate in decided:
            if fate is Fate.LEAVE_OUT:
                if not leaving:
                    yield from self._emptied(track)
                leaving = True
            else:
                track.stream.codec_context.skip_frame = "DEFAULT" if fate is Fate.DECODE else "NONREF"
                yield from self._decoded(ready, track)
            if fate is not Fate.DECODE:
                self._pass_by(ready, track)

    def _emptied(self, picture: Track) -> list[Decoded]:
        """What the decoder still holds, before packets are left out; it then begins anew with a key frame."""
        context = picture.stream.codec_context
        try:
            frames = context.decode(None)
        except FOREIGN:
            self.count_error(picture)
            frames = []
        context.flush_buffers()
        return [placed for frame in frames if (placed := self._place(frame, picture)) is not None]

    def _drained(self, picture: Track) -> Iterator[Decoded]:
        """What the queue and the decoder still hold of a picture that has ended before the sound; once."""
        for ready, _ in self._sieve.flush() if self._sieve else ():
            picture.stream.codec_context.skip_frame = "DEFAULT"
            yield from self._decoded(ready, picture)
        end_us = self._source.video_end_us
        if picture.drained or end_us is None or picture.sent_us < end_us - 1000:
            return
        picture.drained = True
        try:
            frames = picture.stream.codec_context.decode(None)
        except FOREIGN:
            self.count_error(picture)
            return
        yield from filter(None, (self._place(frame, picture) for frame in frames))

    def _pass_by(self, packet: Any, track: Track) -> None:
        """A packet was there and whole, though nothing was decoded of it."""
        shown_us = track.clock_us(packet.pts)
        if shown_us is not None and packet.size and not packet.is_corrupt:
            self._reach(shown_us + track.length_us(packet.duration or 0), track)

    def _reach(self, until_us: int, track: Track) -> None:
        track.until_us = max(track.until_us, until_us)
        self.until_us = max(self.until_us, until_us)

    def _decoded(self, packet: Any, track: Track) -> list[Decoded]:
        if track.given_up:
            return []
        try:
            frames = packet.decode()
        except EOFError:  # the decoder was flushed already
            return []
        except FOREIGN as error:
            check_store(self._source.reader)
            check_memory(error)
            self.encrypted |= is_encrypted(packet)
            self.count_error(track)
            return []
        if packet.is_corrupt:
            self.count_error(track)
        if frames:
            track.errors_in_a_row = 0
        return [placed for frame in frames if (placed := self._place(frame, track)) is not None]

    def _place(self, frame: Any, track: Track) -> Decoded | None:
        at_us = self._at_us(frame, track)
        if track is self.picture and not self.device:
            self.device = "nvdec" if is_from_gpu(frame, track.stream.codec_context) else "cpu"
        if frame.is_corrupt:
            track.damaged = True
            self.corrupt_frames += at_us >= self._from_us
        if at_us > max(self.until_us, self._from_us) + _OUTLIER_US:
            track.damaged = True
            return None
        until_us = at_us + self._length_us(frame, track)
        decoded = Decoded(track, frame, at_us, until_us, not track.damaged)
        track.damaged, track.started = bool(frame.is_corrupt), True
        self._reach(until_us, track)
        return decoded

    def _at_us(self, frame: Any, track: Track) -> int:
        """The frame's time on the clock; MPEG time stamps that jump go on where the last frame ended."""
        at_us = track.clock_us(frame.pts if frame.pts is not None else frame.dts)
        if at_us is None:
            return track.until_us
        if self._source.rebases and track.started and abs(at_us - track.until_us) > _JUMP_US:
            raw_us = at_us - track.offset_us
            offsets = [other.offset_us for other in self._tracks.values() if other is not track]
            near = [offset for offset in offsets if abs(raw_us + offset - track.until_us) <= _JUMP_US]
            track.offset_us = near[0] if near else track.until_us - raw_us
            at_us = raw_us + track.offset_us
        return at_us

    def _length_us(self, frame: Any, track: Track) -> int:
        if track is self.sound:
            return int(frame.samples * 1_000_000 // max(1, frame.sample_rate))
        if frame.duration:
            return track.length_us(frame.duration)
        return round(1_000_000 / self._source.info.fps) if self._source.info.fps else 0
