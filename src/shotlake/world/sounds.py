"""The sounds of a scene as samples; a function of absolute scene time, so that any cut of a scene sounds the same."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from shotlake.world.scenes import Scene

_SWEEP_LOW_HZ, _SWEEP_OCTAVES = 300.0, 2.6


def render_sound(scene: Scene, start_s: float, n_samples: int, rate_hz: int) -> NDArray[np.float32]:
    """[n_samples] float32 in [-1, 1], mono, from `start_s` of the scene's own clock; zeros for a silent scene.

    Of two sounds at once either may be up to 8 dB the weaker one.
    """
    rng = np.random.default_rng([scene.seed, 1])
    loudness, balance_db = np.exp(rng.uniform(np.log(0.12), np.log(0.6))), rng.uniform(-8, 8)
    times_s = start_s + np.arange(n_samples) / rate_hz
    mixed = np.zeros(n_samples)
    for sound, weaker_db in zip(scene.sounds, (min(balance_db, 0.0), -max(balance_db, 0.0)), strict=False):
        weaker = 10 ** (weaker_db / 20) if len(scene.sounds) > 1 else 1.0
        mixed += weaker * loudness * _wave(sound, times_s, rng)
    return mixed.clip(-1, 1).astype(np.float32)


def _wave(sound: str, times_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.floating]:
    pitch, pace, phase = np.exp(rng.uniform(-0.2, 0.2)), np.exp(rng.uniform(-0.25, 0.25)), rng.random()
    match sound:
        case "low tone":
            return 0.8 * _tone(190 * pitch * times_s + phase) + 0.2 * _tone(380 * pitch * times_s)
        case "high tone":
            return _tone(2200 * pitch * times_s + phase)
        case "beeps":
            beat = (3.5 * pace * times_s + phase) % 1
            return _tone(900 * pitch * times_s) * np.clip(40 * np.minimum(beat, 0.5 - beat), 0, 1)
        case "hiss":
            return _noise(times_s + 0.5 * phase, smooth=1)
        case "rumble":
            return _noise(times_s + 0.5 * phase, smooth=96)
        case "rising sweep":
            return _sweep(times_s, pace, phase, pitch, _SWEEP_OCTAVES)
        case "falling sweep":
            return _sweep(times_s, pace, phase, pitch * 2**_SWEEP_OCTAVES, -_SWEEP_OCTAVES)
        case "clicks":
            since_s = ((6 * pace * times_s + phase) % 1) / (6 * pace)
            return _tone(1500 * pitch * since_s) * np.exp(-since_s / 0.006)
        case "warble":
            depth_hz, rate_hz = 250 * pitch, 6 * pace
            bend = depth_hz / rate_hz / (2 * np.pi) * np.sin(2 * np.pi * (rate_hz * times_s + phase))
            return _tone(700 * pitch * times_s + bend)
        case "bell":
            since_s = ((1.6 * pace * times_s + phase) % 1) / (1.6 * pace)
            partials = sum(_tone(1100 * pitch * ratio * since_s) for ratio in (1.0, 2.76, 5.4))
            return partials / 3 * np.exp(-since_s / 0.22)
        case "siren":
            beat = 1.3 * pace * times_s + phase
            first, second = _tone(440 * pitch * times_s), _tone(620 * pitch * times_s)
            return np.where(beat % 1 < 0.5, first, second) * np.clip(30 * (0.25 - np.abs(beat % 0.5 - 0.25)), 0, 1)
        case "buzz":
            cycles = 130 * pitch * times_s + phase
            return 1.4 * (cycles % 1 - 0.5)
    raise ValueError(f"no sound is called {sound!r}")


def _noise(times_s: NDArray[np.float64], smooth: int) -> NDArray[np.float32]:
    """A loop of noise; smoothed over `smooth` samples at 32 kHz."""
    loop = _noise_loop(smooth)
    return loop[np.round(times_s * 32_000).astype(np.int64) % loop.size]


@cache
def _noise_loop(smooth: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(smooth).standard_normal(1 << 16)
    window = np.hanning(smooth + 2)[1:-1]
    spectrum = np.fft.rfft(noise) * np.fft.rfft(window, noise.size)
    loop = np.fft.irfft(spectrum, noise.size)
    return (loop / (3 * loop.std())).clip(-1, 1).astype(np.float32)


def _tone(cycles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Whole turns are taken off first: then float32 is exact enough, and its sine is three times as fast."""
    return np.sin(np.float32(2 * np.pi) * (cycles - np.floor(cycles)).astype(np.float32))


def _sweep(
    times_s: NDArray[np.float64], pace: float, phase: float, pitch: float, octaves: float
) -> NDArray[np.floating]:
    """A tone whose pitch climbs by `octaves` about once a second and starts again."""
    period_s = 0.9 / pace
    climb = (times_s / period_s + phase) % 1
    cycles = _SWEEP_LOW_HZ * pitch * period_s * (2 ** (octaves * climb) - 1) / (octaves * np.log(2))
    return _tone(cycles) * np.clip(50 * np.minimum(climb, 1 - climb), 0, 1)
