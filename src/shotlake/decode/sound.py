"""Decoded sound becomes the waveform of a time range: mono float32 at the encoder's rate, placed by PTS, gaps masked.

Every range is resampled by itself from the native samples around it, so a clip sounds the same wherever decoding began.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from av import AudioResampler
from numpy.typing import NDArray

Samples = NDArray[np.float32]

MARGIN_US = 20_000  # sound needed on both sides of a range, for the filter and for time stamps that jitter
_JITTER_S = 0.010  # time stamps of some containers are rounded to milliseconds; less than this is no gap
_RATES_HZ = range(1_000, 768_001)
_ZERO_CROSSINGS = 16  # half length of the low-pass filter, in periods of the lower of the two rates
_ROLLOFF = 0.95  # cutoff as a share of the lower Nyquist frequency
_MAX_BLOCK = 1024  # outputs a filter matrix at the most; odd ratios are rounded to a fraction that small
_LEAST_BLOCK = 64  # outputs a filter matrix; a larger one is zeros for the most part, a smaller one leaves BLAS idle


class SoundTrack:
    """The native samples of a sliding piece of one stream, at the rate of its first frame."""

    def __init__(self) -> None:
        self._rate_hz = 0
        self._mixer: AudioResampler | None = None
        self._pieces: deque[tuple[int, int, Samples]] = deque()  # (start_us, end_us, mono)

    def add(self, frame: Any, at_us: int) -> None:
        """The next decoded frame, whose first sample sounds at `at_us`. Errors: ValueError for an absurd rate."""
        if frame.sample_rate not in _RATES_HZ:
            raise ValueError(f"a sample rate of {frame.sample_rate} Hz is damage")
        self._rate_hz = self._rate_hz or frame.sample_rate
        mono = self._mix(frame)
        end_us = at_us + len(mono) * 1_000_000 // self._rate_hz
        self._pieces.append((at_us, end_us, mono))

    def drop_before(self, time_us: int) -> None:
        """Forget what no range at or behind `time_us` needs."""
        while self._pieces and self._pieces[0][1] < time_us - 2 * MARGIN_US:
            self._pieces.popleft()

    def waveform(self, start_us: int, end_us: int, n_samples: int, rate_hz: int) -> tuple[Samples, NDArray[np.bool_]]:
        """[n_samples] in [-1, 1] at `rate_hz` from `start_us` on; which of them are sound within [start_us, end_us)."""
        if not self._pieces:
            return np.zeros(n_samples, np.float32), np.zeros(n_samples, np.bool_)
        half = _half_taps(self._rate_hz, rate_hz)
        first = round(start_us * self._rate_hz / 1e6) - half
        native = np.zeros(-(-n_samples * self._rate_hz // rate_hz) + 2 * half + 1, np.float32)
        mask = np.zeros(n_samples, np.bool_)
        length = round((end_us - start_us) * rate_hz / 1e6)
        for begin, end in self._lay(native, first, start_us, end_us):
            low, high = ((at - half) * rate_hz / self._rate_hz for at in (begin, end))
            mask[max(0, round(low)) : max(0, min(round(high), length))] = True
        wave = resample(native, self._rate_hz, rate_hz, n_samples)
        wave[~mask] = 0
        return np.clip(wave, -1, 1, out=wave), mask

    def _lay(self, native: Samples, first: int, start_us: int, end_us: int) -> list[tuple[int, int]]:
        """Copy the pieces to their places in `native`, whose first sample has the number `first`; the ranges filled."""
        ranges: list[tuple[int, int]] = []
        following: int | None = None
        for at_us, until_us, mono in self._pieces:
            if until_us <= start_us - MARGIN_US or at_us >= end_us + MARGIN_US:
                continue
            begin = round(at_us * self._rate_hz / 1e6) - first
            if following is not None and abs(begin - following) <= _JITTER_S * self._rate_hz:
                begin = following
            following = begin + len(mono)
            low, high = max(0, begin), min(len(native), following)
            if low < high:
                native[low:high] = mono[low - begin : high - begin]
                ranges.append((low, high))
        return ranges

    def _mix(self, frame: Any) -> Samples:
        """Mono float32 at the track's rate; libswresample knows the weights of every channel layout."""
        if frame.format.name == "fltp" and len(frame.planes) <= 2 and frame.sample_rate == self._rate_hz:
            planes = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
            return planes[0] if len(planes) == 1 else (planes[0] + planes[1]) * np.float32(0.5)  # as it does, sooner
        if self._mixer is None:
            self._mixer = AudioResampler("fltp", "mono", self._rate_hz)
        try:
            mixed = self._mixer.resample(frame)
        except ValueError:  # rate, layout or format changed within the stream
            self._mixer = AudioResampler("fltp", "mono", self._rate_hz)
            mixed = self._mixer.resample(frame)
        parts = [np.frombuffer(part.planes[0], np.float32, part.samples) for part in mixed]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])


def resample(native: Samples, from_hz: int, to_hz: int, n_samples: int) -> Samples:
    """[n_samples] at `to_hz` by one product with a windowed sinc; output 0 lies at input `_half_taps(...)`."""
    half = _half_taps(from_hz, to_hz)
    if from_hz == to_hz:
        return native[half : half + n_samples].copy()
    matrix = _filter_matrix(from_hz, to_hz)
    blocks = -(-n_samples // matrix.shape[1])
    starts = [round(block * matrix.shape[1] * from_hz / to_hz) for block in range(blocks)]
    padded = np.zeros(starts[-1] + matrix.shape[0], np.float32)
    kept = min(len(native), len(padded))
    padded[:kept] = native[:kept]
    windows = np.lib.stride_tricks.sliding_window_view(padded, matrix.shape[0])[starts]
    return (windows @ matrix).reshape(-1)[:n_samples]


def _half_taps(from_hz: int, to_hz: int) -> int:
    """Input samples that an output sample needs on each side."""
    return 0 if from_hz == to_hz else int(np.ceil(_ZERO_CROSSINGS * max(1.0, from_hz / to_hz)))


@lru_cache(maxsize=8)
def _filter_matrix(from_hz: int, to_hz: int) -> Samples:
    """[step + 2 * half + 1, outputs]: what `outputs` samples are made of, `step` inputs later the same again."""
    ratio = Fraction(from_hz, to_hz).limit_denominator(_MAX_BLOCK)
    repeat = max(1, _LEAST_BLOCK // ratio.denominator)
    outputs, step = repeat * ratio.denominator, repeat * ratio.numerator
    half, cutoff = _half_taps(from_hz, to_hz), min(1.0, to_hz / from_hz) * _ROLLOFF
    centres = np.arange(outputs) * step / outputs + half
    distance = np.arange(step + 2 * half + 1)[:, None] - centres
    window = np.where(np.abs(distance) <= half, np.cos(np.pi * distance / (2 * half + 1)) ** 2, 0)
    matrix = cutoff * np.sinc(cutoff * distance) * window
    return (matrix / matrix.sum(axis=0)).astype(np.float32)
