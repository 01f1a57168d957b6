"""Starting in the middle: at the key frame before a time, far enough back that what follows equals a single pass."""

from __future__ import annotations

from shotlake.decode.faults import FOREIGN, check_store
from shotlake.decode.source import Source, to_us

_STEPS_US = (1_000_000, 5_000_000, 20_000_000, 80_000_000)  # codecs of sound need what came before
_PEEK_PACKETS = 2_000


def seek_before(source: Source, time_us: int) -> bool:
    """Move so that decoding gives a frame at or before `time_us` first. False: it has to be read from its beginning."""
    stream = source.video or source.audio
    if stream is None:
        return False
    for back_us in _STEPS_US:
        if time_us <= back_us:
            return False
        target = round((time_us - back_us + source.origin_us) / (stream.time_base * 1_000_000))
        try:
            source.container.seek(target, stream=stream)
            landed_us = _first_frame_us(source, stream)
            if landed_us is not None and landed_us <= time_us:
                source.container.seek(target, stream=stream)
                return True
        except FOREIGN:
            check_store(source.reader)
            return False
    return False


def _first_frame_us(source: Source, stream: object) -> int | None:
    for count, packet in enumerate(source.container.demux(stream)):
        try:
            frames = packet.decode()
        except FOREIGN:
            frames = []
        if frames and frames[0].pts is not None:
            return to_us(frames[0].pts, frames[0].time_base) - source.origin_us
        if count > _PEEK_PACKETS:
            break
    return None
