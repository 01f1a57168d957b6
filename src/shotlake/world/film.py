"""Scenes to files: H.264 with B-frames and AAC, in mp4 or mkv by the name; equal scenes give equal bytes.

Picture and sound share one clock: frame k is shown from k / fps on, and a scene begins on neither's grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from shotlake.world.paint import render_frames
from shotlake.world.scenes import Scene
from shotlake.world.sounds import render_sound

_CHUNK_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """A scene and when it is on: [start_us, end_us) of its video's clock."""

    start_us: int
    end_us: int
    scene: Scene


@dataclass(frozen=True, slots=True)
class Film:
    """How a video is stored. Without picture it is a sound file, without sound a silent film."""

    width_px: int = 160
    height_px: int = 120
    fps: int = 25
    crf: int = 24
    sound_rate_hz: int = 48_000
    bit_rate: int = 96_000
    has_picture: bool = True
    has_sound: bool = True


def paint_video(path: Path, spans: Sequence[Span], film: Film = Film()) -> None:
    """Write the spans, which follow each other from 0 on, as one file. The folder must exist."""
    end_us = spans[-1].end_us
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        picture = _add_picture(container, film) if film.has_picture else None
        sound = _add_sound(container, film) if film.has_sound else None
        for start_us in range(0, end_us, _CHUNK_US):
            until_us = min(start_us + _CHUNK_US, end_us)
            if picture:
                for frame in _picture_frames(spans, film, start_us, until_us):
                    container.mux(picture.encode(frame))
            if sound:
                container.mux(sound.encode(_sound_frame(spans, film, start_us, until_us)))
        if picture:
            container.mux(picture.encode(None))
        if sound:
            container.mux(sound.encode(None))


def _add_picture(container: av.container.OutputContainer, film: Film) -> av.VideoStream:
    options = {"preset": "superfast", "crf": str(film.crf), "bf": "2", "g": "50", "threads": "1"}
    stream = container.add_stream("libx264", rate=film.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = film.width_px, film.height_px, "yuv420p"
    stream.codec_context.time_base = Fraction(1, film.fps)
    return stream


def _add_sound(container: av.container.OutputContainer, film: Film) -> av.AudioStream:
    stream = container.add_stream("aac", rate=film.sound_rate_hz, layout="mono", options={"flags": "+bitexact"})
    stream.bit_rate = film.bit_rate
    return stream


def _picture_frames(spans: Sequence[Span], film: Film, start_us: int, end_us: int) -> Iterator[av.VideoFrame]:
    """The frames whose time lies in [start_us, end_us)."""
    first, until = (-(-time_us * film.fps // 1_000_000) for time_us in (start_us, end_us))
    number = np.arange(first, until)
    for span in spans:
        mine = number[(number * 1_000_000 >= span.start_us * film.fps) & (number * 1_000_000 < span.end_us * film.fps)]
        if not mine.size:
            continue
        times_s = mine / film.fps - span.start_us / 1e6
        for pts, image in zip(mine, render_frames(span.scene, times_s, film.width_px, film.height_px), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(pts), Fraction(1, film.fps)
            yield frame


def _sound_frame(spans: Sequence[Span], film: Film, start_us: int, end_us: int) -> av.AudioFrame:
    """The samples of [start_us, end_us)."""
    first, until = (time_us * film.sound_rate_hz // 1_000_000 for time_us in (start_us, end_us))
    pieces: list[NDArray[np.float32]] = []
    for span in spans:
        begin, end = (time_us * film.sound_rate_hz // 1_000_000 for time_us in (span.start_us, span.end_us))
        lo, hi = max(first, begin), min(until, end)
        if lo < hi:
            clock_s = lo / film.sound_rate_hz - span.start_us / 1e6
            pieces.append(render_sound(span.scene, clock_s, hi - lo, film.sound_rate_hz))
    frame = av.AudioFrame.from_ndarray(np.concatenate(pieces)[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = film.sound_rate_hz, first, Fraction(1, film.sound_rate_hz)
    return frame
