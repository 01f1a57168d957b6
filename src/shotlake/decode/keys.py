"""Key frames behind which nothing refers to what was before them: what may then be left out is known.

A key frame alone does not say so: pictures behind that of an open group, or of one made for recovery, refer across it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

_EVERY_KEY = frozenset({"vp8", "vp9", "av1", "theora", "mjpeg", "prores", "dnxhd", "ffv1", "jpeg2000", "cfhd", "png"})

BeginsAnew = Callable[[Any], bool]


def begins_anew(stream: Any) -> BeginsAnew:
    """A test of the stream's packets: True if decoding could begin with this one and miss nothing that follows."""
    context = stream.codec_context
    name, setup = context.codec.canonical_name, bytes(context.extradata or b"")
    if name in ("h264", "hevc"):
        at = 4 if name == "h264" else 21  # where the setup of mp4 and mkv says how long the lengths of NAL units are
        is_boxed = setup[:1] == b"\1" and len(setup) > at
        return partial(_is_idr, length=(setup[at] & 3) + 1 if is_boxed else 0, kind=_KINDS[name])
    return _is_key if name in _EVERY_KEY else never


def never(packet: Any) -> bool:
    """The test of streams of which nothing is known."""
    return False


def _is_key(packet: Any) -> bool:
    return bool(packet.is_keyframe)


def _is_idr(packet: Any, length: int, kind: Callable[[int], bool | None]) -> bool:
    """By its first picture's NAL unit, which all units of the packet share."""
    if not packet.is_keyframe:
        return False
    data = bytes(packet)
    kinds = map(kind, _lengths(data, length) if length else _start_codes(data))
    return next((is_idr for is_idr in kinds if is_idr is not None), False)


def _h264_idr(header: int) -> bool | None:
    """True or False of a slice, None of what is no picture."""
    return header & 31 == 5 if header & 31 in range(1, 6) else None


def _hevc_idr(header: int) -> bool | None:
    return header >> 1 & 63 in (19, 20) if header >> 1 & 63 in range(32) else None


_KINDS = {"h264": _h264_idr, "hevc": _hevc_idr}


def _lengths(data: bytes, length: int) -> Iterator[int]:
    """First bytes of NAL units that stand behind their lengths, up to one that is cut."""
    place = 0
    while place + length < len(data):
        end = place + length + int.from_bytes(data[place : place + length], "big")
        if end > len(data):
            return
        yield data[place + length]
        place = end


def _start_codes(data: bytes) -> Iterator[int]:
    """First bytes of NAL units that stand behind start codes."""
    place = data.find(b"\0\0\1")
    while 0 <= place < len(data) - 3:
        yield data[place + 3]
        place = data.find(b"\0\0\1", place + 3)
