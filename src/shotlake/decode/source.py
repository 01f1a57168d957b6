"""An opened video: its chosen streams, its clock and what its container declares.

libav gets a nameless Python object, a format whitelist and a pixel limit, so that no file can open another one. Zero
of the clock is the earlier start of the two chosen streams; all times are integer microseconds on it.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import av
from av.stream import Disposition

from shotlake.config import DecodeConfig
from shotlake.decode.accelerate import accelerator
from shotlake.decode.faults import FOREIGN, check_store, opening_error
from shotlake.errors import Empty, NoStreams, UnsupportedCodec
from shotlake.records import MediaInfo
from shotlake.storage import ObjectReader

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,asf,mxf,ogg,mp3,wav,aac,flac,rm,ivf,caf,aiff"
PICTURES = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe"
MICROSECOND = Fraction(1, 1_000_000)
_IO_BYTES = 32 << 10  # what libav reads at once, and also what it rather reads than skips
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
_PADDING_US = 100_000  # an audio codec's last frame reaches a little behind the picture; that is no content
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_ABSURD_US = 1000 * 3600 * 1_000_000


@dataclass(slots=True)
class Source:
    """One open container. `video_end_us` and `audio_end_us` are the streams' own declared ends, None if unknown.

    `keys_are_known` once the container's word counts for which pictures are key frames: the others may be zeros.
    """

    reader: ObjectReader
    size_bytes: int
    container: Any
    video: Any | None
    audio: Any | None
    origin_us: int
    info: MediaInfo
    video_end_us: int | None = None
    audio_end_us: int | None = None
    unusable: tuple[str, ...] = field(default=())
    keys_are_known: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    @property
    def streams(self) -> tuple[Any, ...]:
        """The chosen streams, picture first."""
        return tuple(stream for stream in (self.video, self.audio) if stream is not None)

    @property
    def rebases(self) -> bool:
        """True for containers whose time stamps may jump in the middle (MPEG)."""
        return bool(self.container.format.flags & _TS_DISCONT)


_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT


def open_source(reader: ObjectReader, config: DecodeConfig) -> Source:
    """Open the object and choose its streams. Errors: a MediaError that says why not; StoreError; AccessDenied."""
    size_bytes = reader.seek(0, io.SEEK_END)
    reader.seek(0)
    if size_bytes == 0:
        raise Empty("the object has 0 bytes; upload it again")
    formats = f"{FORMATS},{PICTURES}" if config.pictures else FORMATS
    options = {"format_whitelist": formats, "max_pixels": str(config.max_pixels)}
    try:
        container = av.open(
            reader,
            "r",
            options=options,
            metadata_errors="replace",
            buffer_size=_IO_BYTES,
            hwaccel=accelerator(config),
        )
    except FOREIGN as error:
        raise opening_error(error, reader) from error
    try:
        check_store(reader)
        return _describe(reader, size_bytes, container, config)
    except BaseException:
        container.close()
        raise


def _describe(reader: ObjectReader, size_bytes: int, container: Any, config: DecodeConfig) -> Source:
    video, audio, unusable = _choose(container)
    for stream in (video, audio):
        if stream is not None:
            _one_thread(stream.codec_context, config)
    origin_us = min(_start_us(stream) for stream in (video, audio) if stream is not None)
    video_end_us, audio_end_us = (_own_end_us(stream, origin_us) for stream in (video, audio))
    duration_us = _duration_us(container, origin_us, video_end_us, audio_end_us, size_bytes)
    info = _info(container, video, audio, duration_us)
    return Source(reader, size_bytes, container, video, audio, origin_us, info, video_end_us, audio_end_us, unusable)


def _choose(container: Any) -> tuple[Any | None, Any | None, tuple[str, ...]]:
    """libav's best picture and sound; cover art is no picture. Also the codecs of kinds that have no decoder at all."""
    pictures = [s for s in container.streams.video if not s.disposition & _STILLS]
    sounds = list(container.streams.audio)
    if not pictures and not sounds:
        raise NoStreams("the container opens, but holds neither picture nor sound")
    video, audio = (_best(container, kind, found) for kind, found in (("video", pictures), ("audio", sounds)))
    if video is None and audio is None:
        raise UnsupportedCodec("no decoder for any of the streams; re-encode the file, for example to H.264 and AAC")
    unusable = tuple(k for k, s, found in (("video", video, pictures), ("audio", audio, sounds)) if found and s is None)
    return video, audio, unusable


def _best(container: Any, kind: str, found: list[Any]) -> Any | None:
    usable = [stream for stream in found if stream.codec_context is not None]
    best = container.streams.best(kind)
    return best if best in usable else next(iter(usable), None)


def _one_thread(codec: Any, config: DecodeConfig) -> None:
    codec.thread_count = 1
    codec.thread_type = "NONE"
    if codec.type == "video":
        codec.options = {"max_pixels": str(config.max_pixels)}


def to_us(value: int, time_base: Fraction) -> int:
    """Ticks of a time base as microseconds, rounded to the nearest."""
    scale, denominator = time_base.as_integer_ratio()
    return (2_000_000 * scale * value + denominator) // (2 * denominator)


def _start_us(stream: Any) -> int:
    return 0 if stream.start_time is None else to_us(stream.start_time, stream.time_base)


def _own_end_us(stream: Any | None, origin_us: int) -> int | None:
    """The declared end of one stream; Matroska has it in a tag, the end by libav, the length by mkvmerge."""
    if stream is None:
        return None
    start_us, metadata = _start_us(stream), stream.metadata
    if stream.duration and stream.duration > 0:
        return start_us + to_us(stream.duration, stream.time_base) - origin_us
    if clock := _CLOCK.fullmatch(metadata.get("DURATION", "")):
        hours, minutes, seconds = clock.groups()
        tagged_us = (int(hours) * 60 + int(minutes)) * 60_000_000 + round(float(seconds) * 1_000_000)
        return tagged_us - origin_us + (start_us if "_STATISTICS_TAGS" in metadata else 0)
    return None


def _duration_us(
    container: Any, origin_us: int, video_end_us: int | None, audio_end_us: int | None, size_bytes: int
) -> int:
    ends = [end for end in (video_end_us, audio_end_us) if end is not None]
    if container.duration and not ends:
        # Matroska writes the end on the file's own clock, everyone else the length
        absolute = "matroska" in container.format.name and container.duration > origin_us
        start_us = 0 if absolute else (container.start_time or origin_us)
        ends.append(start_us + container.duration - origin_us)
    if video_end_us and audio_end_us and 0 < audio_end_us - video_end_us < _PADDING_US:
        ends = [video_end_us]
    duration_us = max(ends, default=0)
    absurd = duration_us > _ABSURD_US or size_bytes * 8 * 1_000_000 < duration_us  # less than a bit a second
    return 0 if absurd else max(0, duration_us)


def _info(container: Any, video: Any | None, audio: Any | None, duration_us: int) -> MediaInfo:
    width_px, height_px = display_size(video) if video is not None else (0, 0)
    rate = video.average_rate or video.guessed_rate if video is not None else None
    return MediaInfo(
        container=container.format.name.split(",")[0],
        duration_us=duration_us,
        video_codec=video.codec_context.codec.canonical_name if video is not None else None,
        audio_codec=audio.codec_context.codec.canonical_name if audio is not None else None,
        width_px=width_px,
        height_px=height_px,
        fps=float(rate or 0),
        sample_rate_hz=audio.codec_context.sample_rate or 0 if audio is not None else 0,
        audio_channels=audio.codec_context.channels or 0 if audio is not None else 0,
        recorded_at=_recorded_at(container.metadata),
    )


def display_size(video: Any) -> tuple[int, int]:
    """Width and height in pixels after the sample aspect ratio, before rotation."""
    codec = video.codec_context
    aspect = video.sample_aspect_ratio or 1
    return round(codec.width * aspect) or codec.width, codec.height


def _recorded_at(metadata: dict[str, str]) -> datetime | None:
    try:
        return datetime.fromisoformat(metadata["creation_time"])
    except (KeyError, ValueError):
        return None
