"""Probe: what a container says of itself, proved by one decoded frame; no more is read than that needs."""

from __future__ import annotations

from typing import Any

from shotlake.config import DecodeConfig
from shotlake.decode.faults import FOREIGN, check_store, is_encrypted
from shotlake.decode.pictures import observed
from shotlake.decode.source import Source, open_source
from shotlake.errors import Encrypted, NoDecodableFrames
from shotlake.records import MediaInfo
from shotlake.storage import ObjectReader

_PROBE_PACKETS = 500


def probe(reader: ObjectReader, config: DecodeConfig) -> MediaInfo:
    """The facts of one video; `duration_us` is what it declares, 0 if unknown or absurd.

    Errors: the MediaError subclass whose code goes to `failures`; StoreError; AccessDenied.
    """
    with open_source(reader, config) as source:
        frame = _first_frame(source)
        check_store(reader)
        return source.info if frame is None or source.video is None else observed(source.info, frame)


def _first_frame(source: Source) -> Any | None:
    """The first frame of the picture, else of the sound; None if none comes soon. Errors: as of `probe`."""
    wanted = source.streams[0]
    encrypted = heard = False
    count = 0
    try:
        for packet in source.container.demux(*source.streams):
            count += 1
            encrypted |= is_encrypted(packet)
            frames = _decoded(packet)
            heard |= bool(frames)
            if frames and packet.stream is wanted:
                return frames[0]
            if count > _PROBE_PACKETS:
                return None
    except FOREIGN:
        check_store(source.reader)
    if heard:
        return None
    if encrypted:
        raise Encrypted("the streams are encrypted; decrypt the file first")
    raise NoDecodableFrames(f"{count} packets were read to the end without one frame")


def _decoded(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except FOREIGN:
        return []
