"""What a preview need not read: the pictures that are no key frames, where the container says where they lie.

Their bytes become zeros that are never fetched, so that the container is walked as always and every time is its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shotlake.decode.source import Source

LEAST_HOLE_BYTES = 64 << 10  # less is read along: a request more costs more than the bytes

Ranges = NDArray[np.int64]  # [N, 2], half-open


def leave_out_pictures(source: Source) -> None:
    """Let the source's reader leave out what the index of an mp4 or mov calls neither a key frame nor sound."""
    if source.video is None or "mp4" not in source.container.format.name:
        return
    is_key, pictures = _samples(source.video)
    if is_key.all():
        return
    source.keys_are_known = True
    sound = _samples(source.audio)[1] if source.audio is not None else np.zeros((0, 2), np.int64)
    holes = _apart(pictures[~is_key], np.concatenate([pictures[is_key], sound]))
    if holes:
        source.reader.leave_out(holes)


def _samples(stream: Any) -> tuple[NDArray[np.bool_], Ranges]:
    """([N], [N, 2]): whether each sample is a key frame, and its bytes."""
    kinds = np.dtype([("key", "?"), ("start", "i8"), ("size", "i8")])
    entries = np.fromiter(((e.is_keyframe, e.pos, e.size) for e in stream.index_entries), kinds)
    return entries["key"], np.stack([entries["start"], entries["start"] + entries["size"]], axis=1)


def _apart(unwanted: Ranges, wanted: Ranges) -> list[tuple[int, int]]:
    """The unwanted ranges, joined where they touch; without those that are small or share a byte with a wanted one."""
    unwanted = unwanted[unwanted[:, 0].argsort()]
    begins = np.flatnonzero(np.r_[True, unwanted[1:, 0] != unwanted[:-1, 1]])
    starts, ends = unwanted[begins, 0], np.maximum.reduceat(unwanted[:, 1], begins)
    wanted = wanted[wanted[:, 0].argsort()]
    reached = np.r_[0, np.maximum.accumulate(wanted[:, 1])] if len(wanted) else np.zeros(1, np.int64)
    is_free = reached[np.searchsorted(wanted[:, 0], ends)] <= starts
    is_free &= np.r_[starts[1:] >= ends[:-1], True] & (ends - starts >= LEAST_HOLE_BYTES)
    return [(int(start), int(end)) for start, end in zip(starts[is_free], ends[is_free])]
