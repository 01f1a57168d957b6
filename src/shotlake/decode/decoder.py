"""The decoder actor: work units in, clips and one outcome a unit out; bad media is an outcome, never an exception.

Consecutive units of one video are one sweep over one open file. The clips of a unit come before its outcome, in the
order of their cells; `planned = written + lost` holds for every outcome. Clips of a unit whose outcome is `failed`
(its bytes changed or stopped coming, its decoder died) are to be thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import av

from shotlake import storage
from shotlake.config import DecodeConfig
from shotlake.decode.child import READ_BYTES
from shotlake.decode.isolated import IsolatedRuns
from shotlake.decode.run import decode_run
from shotlake.records import ClipBatch, ClipSpec, UnitOutcome, Video, WorkUnit

SEGMENTER = "grid-1"
SHOTS = "shots-1"


def segmenter(config: DecodeConfig) -> str:
    """Name and version of what decides the edges of segments; part of `embed_key`."""
    return f"{SEGMENTER}+{SHOTS}" if config.snap_to_shots else SEGMENTER


def decoder_versions() -> str:
    """What decoded: provenance of a row, not part of any id."""
    libraries = (f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libavformat"))
    return " ".join((f"av {av.__version__}", *libraries))


class ClipDecoder:
    """Decodes blocks of work units; keeps nothing of one block for the next but its child process."""

    def __init__(self, clip_spec: ClipSpec, config: DecodeConfig) -> None:
        self._spec, self._config = clip_spec, config
        self._open = open_preview if config.policy == "keyframes" else open_video
        self._isolated = IsolatedRuns(clip_spec, config, self._open) if config.isolate else None

    def __call__(self, units: Sequence[WorkUnit]) -> Iterator[ClipBatch | UnitOutcome]:
        """Batches of at most `clips_per_batch` clips of one unit, then that unit's outcome. Errors: AccessDenied."""
        for run in contiguous_runs(units):
            if self._isolated is not None:
                yield from self._isolated(run)
            else:
                yield from decode_run(run, self._spec, self._config, self._open)

    @property
    def child_pid(self) -> int | None:
        """The process that decodes, None before the first block or where libav runs in this process."""
        return self._isolated.child_pid if self._isolated is not None else None

    def close(self) -> None:
        """End the child process; it also ends with the object."""
        if self._isolated is not None:
            self._isolated.close()


def open_video(video: Video) -> storage.ObjectReader:
    """The bytes of the video as it was listed."""
    return storage.open_object(video.uri, video.etag, video.size_bytes)


def open_preview(video: Video) -> storage.ObjectReader:
    """The same in smaller pieces, so that what lies between key frames can be left out."""
    return storage.open_object(video.uri, video.etag, video.size_bytes, READ_BYTES)


def contiguous_runs(units: Sequence[WorkUnit]) -> Iterator[list[WorkUnit]]:
    """The units in pieces that one sweep can serve: of one video, each beginning where the one before ends."""
    run: list[WorkUnit] = []
    for unit in units:
        last = run[-1] if run else unit
        follows = unit.video == last.video and last.n_cells and unit.first_cell == last.first_cell + last.n_cells
        if run and not follows:
            yield run
            run = []
        run.append(unit)
    if run:
        yield run
