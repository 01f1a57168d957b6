"""One contiguous run of units through one open file: open, sweep, a ledger a unit.

Bad media and a store that fails are outcomes; only a refusal of access is raised.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from shotlake.config import DecodeConfig
from shotlake.decode.ledger import Ledger, failed
from shotlake.decode.preview import leave_out_pictures
from shotlake.decode.seek import seek_before
from shotlake.decode.source import Source, open_source
from shotlake.decode.sweep import Clip, Sweep
from shotlake.errors import MediaError, StoreError
from shotlake.records import ClipBatch, ClipSpec, UnitOutcome, Usage, Video, WorkUnit, segment_id
from shotlake.storage import ObjectReader

OpenReader = Callable[[Video], ObjectReader]
Empty = Callable[[tuple[int, ...], type[np.uint8]], NDArray[np.uint8]]  # as np.empty


_BATCH_BYTES = 24 << 20


def clips_together(spec: ClipSpec, config: DecodeConfig) -> int:
    """Clips of a batch: `clips_per_batch`, fewer where frames are large: a batch is held twice, and the one before."""
    clip_bytes = spec.n_frames * spec.height_px * spec.width_px * 3
    return max(1, min(config.clips_per_batch, _BATCH_BYTES // clip_bytes))


class Meter:
    """What a generator uses: its CPU and wall time without its consumer's, and what its reader reads."""

    def __init__(self) -> None:
        self._reader: ObjectReader | None = None
        self._used = Usage()
        self._since: tuple[float, float] | None = None

    def time(self, items: Iterator[ClipBatch | UnitOutcome]) -> Iterator[ClipBatch | UnitOutcome]:
        """The same items; the clock runs while they are made."""
        while True:
            self._since = time.thread_time(), time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._stop()
            yield item

    def watch(self, reader: ObjectReader) -> ObjectReader:
        """Count this reader's bytes and requests."""
        self._reader = reader
        return reader

    def take(self) -> Usage:
        """What was used since the last time."""
        self._stop()
        self._since = time.thread_time(), time.perf_counter()
        used = self._used
        if self._reader is not None:
            used += Usage(bytes_read=self._reader.bytes_read, requests=self._reader.requests)
            self._reader.bytes_read = self._reader.requests = 0
        self._used = Usage()
        return used

    def _stop(self) -> None:
        if self._since is not None:
            cpu_s, wall_s = time.thread_time() - self._since[0], time.perf_counter() - self._since[1]
            self._used += Usage(cpu_s=cpu_s, wall_s=wall_s)
            self._since = None


def decode_run(
    units: list[WorkUnit], spec: ClipSpec, config: DecodeConfig, open_reader: OpenReader, empty: Empty = np.empty
) -> Iterator[ClipBatch | UnitOutcome]:
    """One contiguous run of units through one open file; `empty` makes the arrays of frames.

    Errors: AccessDenied; everything else is an outcome.
    """
    meter = Meter()
    return meter.time(_decode_run(units, spec, config, open_reader, empty, meter))


def _decode_run(
    units: list[WorkUnit], spec: ClipSpec, config: DecodeConfig, open_reader: OpenReader, empty: Empty, meter: Meter
) -> Iterator[ClipBatch | UnitOutcome]:
    left = deque(units)
    try:
        start_us = max(0, units[0].first_cell * spec.stride_us - (spec.stride_us if config.snap_to_shots else 0))
        with open_reader(units[0].video) as reader, _open_at(meter.watch(reader), start_us, config) as source:
            sweep = Sweep(source, spec, config, units[0].first_cell, _end_cell(units[-1]))
            together = clips_together(spec, config)
            while left:
                ledger = Ledger(left[0], spec, source, sweep)
                clips = filter(ledger.enter, sweep.clips(_end_cell(left[0])))
                while (first := next(clips, None)) is not None:
                    yield make_batch(chain([first], islice(clips, together - 1)), left[0], spec, together, empty)
                yield replace(ledger.close(meter.take()), content_sha256=reader.content_sha256)
                left.popleft()
    except (MediaError, StoreError) as error:
        for unit in left:
            yield failed(unit, error, meter.take())


def _open_at(reader: ObjectReader, time_us: int, config: DecodeConfig) -> Source:
    """The source, positioned so that decoding begins at or before `time_us`."""
    source = open_source(reader, config)
    if time_us and not seek_before(source, time_us):
        source.container.close()
        source = open_source(reader, config)
    if config.policy == "keyframes":
        leave_out_pictures(source)
    return source


def _end_cell(unit: WorkUnit) -> int | None:
    return unit.first_cell + unit.n_cells if unit.n_cells else None


def make_batch(clips: Iterable[Clip], unit: WorkUnit, spec: ClipSpec, most: int, empty: Empty = np.empty) -> ClipBatch:
    """At most `most` clips as columns; each gives up its frames, and those without picture have zeros."""
    frames = empty((most, spec.n_frames, spec.height_px, spec.width_px, 3), np.uint8)
    rows: list[Clip] = []
    for clip in clips:
        frames[len(rows)] = 0 if clip.frames is None else clip.frames
        clip.frames = None
        rows.append(clip)
    frame_us = np.full((len(rows), spec.n_frames), -1, np.int64)
    for times, clip in zip(frame_us, rows, strict=True):
        times[: len(clip.frame_us)] = clip.frame_us
    ids = [segment_id(unit.video.video_id, clip.cell, unit.embed_key) for clip in rows]
    return ClipBatch(
        segment_id=np.array(ids, object),
        cell=np.array([clip.cell for clip in rows], np.int64),
        start_us=np.array([clip.start_us for clip in rows], np.int64),
        end_us=np.array([clip.end_us for clip in rows], np.int64),
        frames=frames[: len(rows)],
        frame_mask=np.arange(spec.n_frames) < np.array([[len(clip.frame_us)] for clip in rows]),
        frame_us=frame_us,
        waveform=np.stack([clip.waveform for clip in rows]),
        sample_mask=np.stack([clip.sample_mask for clip in rows]),
    )
