"""The account of one work unit: every planned cell ends as written or as lost, under a code that says why.

The worst thing that happened names the unit: the streams end early, one stream ends early, damage on the way. A last
cell that lies behind the streams only because the container rounded its duration up is `beyond_end` and no fault.
"""

from __future__ import annotations

from itertools import groupby

from shotlake.decode.source import Source
from shotlake.decode.sweep import Clip, Sweep
from shotlake.errors import (
    RETRYABLE_CODES,
    BeyondEnd,
    Corrupt,
    Encrypted,
    NoDecodableFrames,
    ShotlakeError,
    StreamLost,
    TooManyErrors,
    Truncated,
    UnsupportedCodec,
)
from shotlake.records import ClipSpec, LostRange, MediaInfo, UnitOutcome, UnitStatus, Usage, WorkUnit, cell_range

_ROUNDING_US = 100_000  # containers declare up to this, or two frames, more than their streams hold
_MAX_ROUNDING_US = 2_000_000
_STREAM_SLACK_US = 500_000
_CUT_SHORT = (Truncated.code, StreamLost.code, TooManyErrors.code)


class Ledger:
    """Counts what happens to one unit between two outcomes of a sweep."""

    def __init__(self, unit: WorkUnit, spec: ClipSpec, source: Source, sweep: Sweep) -> None:
        self._unit, self._spec, self._source, self._sweep = unit, spec, source, sweep
        self._corrupt_before, self._errors_before = sweep.streams.corrupt_frames, sweep.streams.packet_errors
        self._seen = 0
        self._empty: list[int] = []
        self._covered_us = 0

    def enter(self, clip: Clip) -> bool:
        """Note the next cell; True if it has something to embed."""
        self._seen += 1
        if clip.is_empty:
            self._empty.append(clip.cell)
            return False
        start_us, end_us = cell_range(clip.cell, self._end_us(), self._spec)  # of the grid, wherever a shot ended
        is_last = end_us >= self._end_us()
        own_end_us = end_us if is_last else min(start_us + self._spec.stride_us, end_us)
        self._covered_us += max(0, min(own_end_us, self._sweep.streams.until_us) - start_us)
        return True

    def close(self, usage: Usage) -> UnitOutcome:
        """The outcome, after the unit's last clip."""
        unit, sweep = self._unit, self._sweep
        corrupt_frames = sweep.streams.corrupt_frames - self._corrupt_before
        packet_errors = sweep.streams.packet_errors - self._errors_before
        damage = f"{corrupt_frames} corrupt frames, {packet_errors} packet errors"
        damage = damage if corrupt_frames or packet_errors else ""
        planned = unit.n_cells or self._seen
        missing = [*self._empty, *range(unit.first_cell + self._seen, unit.first_cell + planned)]
        lost = _ranges([(cell, self._loss_code(cell, bool(damage))) for cell in missing])
        code, message = self._verdict(lost, damage)
        return UnitOutcome(
            unit,
            _status(planned - len(missing), code),
            planned,
            planned - len(missing),
            lost,
            code,
            message,
            media=sweep.info,
            covered_us=self._covered_us,
            declared_us=self._declared_us(),
            corrupt_frames=corrupt_frames,
            packet_errors=packet_errors,
            device=sweep.streams.device,
            salvaged_until_us=sweep.streams.until_us if code in _CUT_SHORT else None,
            usage=usage,
        )

    def _end_us(self) -> int:
        """End of the video, as far as it is known."""
        return self._source.info.duration_us if self._unit.n_cells else self._sweep.streams.until_us

    def _declared_us(self) -> int:
        """Length of the unit; what its last cell shares with the next unit is that one's."""
        unit, spec = self._unit, self._spec
        if not unit.n_cells:
            return self._covered_us
        first_us, next_us = unit.first_cell * spec.stride_us, (unit.first_cell + unit.n_cells) * spec.stride_us
        holds_last = next_us - spec.stride_us + spec.window_us >= self._end_us()
        return max(0, (self._end_us() if holds_last else next_us) - first_us)

    def _shortfall_us(self) -> int:
        """How much earlier than this unit's end the streams ended."""
        if not self._sweep.at_end or not self._unit.n_cells:
            return 0
        end_us = (self._unit.first_cell + self._unit.n_cells - 1) * self._spec.stride_us + self._spec.window_us
        return min(end_us, self._source.info.duration_us) - self._sweep.streams.until_us

    def _is_cut(self) -> bool:
        fps = self._source.info.fps
        two_frames_us = 2_000_000 / fps if fps else 0
        return self._shortfall_us() > max(_ROUNDING_US, min(two_frames_us, _MAX_ROUNDING_US))

    def _loss_code(self, cell: int, damaged: bool) -> str:
        if self._sweep.at_end and cell * self._spec.stride_us >= self._sweep.streams.until_us:
            if not self._is_cut():
                return BeyondEnd.code
            return TooManyErrors.code if self._sweep.streams.gave_up else Truncated.code
        return Corrupt.code if damaged else NoDecodableFrames.code

    def _verdict(self, lost: tuple[LostRange, ...], damage: str) -> tuple[str, str]:
        """Code and sentence of the worst thing that happened; empty if nothing did."""
        sweep = self._sweep
        if sweep.at_end and (not sweep.streams.until_us or not (self._unit.n_cells or self._seen)):
            return (
                Encrypted if sweep.streams.encrypted else NoDecodableFrames
            ).code, damage or "the streams hold no frame"
        if self._is_cut():
            until_s, declared_s = sweep.streams.until_us / 1e6, self._source.info.duration_us / 1e6
            why = f"the streams end at {until_s:.3f} s of {declared_s:.3f} s declared"
            if sweep.streams.gave_up:
                return TooManyErrors.code, f"{why}, after too many errors in a row"
            return Truncated.code, why
        if short := self._short_stream():
            return StreamLost.code, short
        codes = [part.code for part in lost if part.code != BeyondEnd.code]
        if damage:
            return Corrupt.code, damage
        if codes:
            return codes[0], "cells in the middle have neither picture nor sound"
        if self._source.unusable:
            return UnsupportedCodec.code, f"no decoder for the {' and '.join(self._source.unusable)}"
        return "", ""

    def _short_stream(self) -> str:
        """A sentence if one stream ended long before its own declared end, or broke off, while the other went on."""
        source, sweep = self._source, self._sweep
        unit_end_us = (self._unit.first_cell + (self._unit.n_cells or self._seen)) * self._spec.stride_us
        for track, own_end_us, name in (
            (sweep.streams.picture, source.video_end_us, "picture"),
            (sweep.streams.sound, source.audio_end_us, "sound"),
        ):
            if track is None:
                continue
            end_us = own_end_us or (source.info.duration_us if track.is_broken else 0)
            if min(end_us, unit_end_us) - track.until_us > _STREAM_SLACK_US:
                return f"the {name} ends at {track.until_us / 1e6:.3f} s of {end_us / 1e6:.3f} s"
        return ""


def _status(written: int, code: str) -> UnitStatus:
    if not code:
        return "ok"
    return "partial" if written else "failed"


def failed(unit: WorkUnit, error: ShotlakeError, usage: Usage) -> UnitOutcome:
    """The outcome of a unit that could not be read: everything that was planned is lost."""
    lost = (LostRange(unit.first_cell, unit.n_cells, error.code),) if unit.n_cells else ()
    retryable = error.code in RETRYABLE_CODES
    return UnitOutcome(
        unit, "failed", unit.n_cells, 0, lost, error.code, error.message, retryable, MediaInfo(), usage=usage
    )


def _ranges(cells: list[tuple[int, str]]) -> tuple[LostRange, ...]:
    """Neighbouring cells of one code as ranges."""
    ranges = []
    for (_, code), group in groupby(enumerate(cells), key=lambda item: (item[1][0] - item[0], item[1][1])):
        numbers = [cell for _, (cell, _) in group]
        ranges.append(LostRange(numbers[0], len(numbers), code))
    return tuple(ranges)
