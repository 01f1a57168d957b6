"""The sounds of a scene as samples; a function of absolute scene time, so that any cut of a scene sounds the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shotlake.world.scenes import Scene

_SWEEP_LOW_HZ, _SWEEP_OCTAVES = 300.0, 2.6


def render_sound(scene: Scene, start_s: float, n_samples: int, rate_hz: int) -> NDArray[np.float32]:
    """[n_samples] float32 in [-1, 1], mono, from `start_s` of the scene's own clock; zeros for a silent scene."""
    if scene.sound is None:
        return np.zeros(n_samples, np.float32)
    rng = np.random.default_rng([scene.seed, 1])
    gain = np.exp(rng.uniform(np.log(0.12), np.log(0.6)))
    times_s = start_s + np.arange(n_samples) / rate_hz
    return (gain * _wave(scene.sound, times_s, rng)).astype(np.float32)


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
            noise = rng.standard_normal(1 << 15).clip(-3, 3) / 3
            return noise[np.round(times_s * 32_000).astype(np.int64) % noise.size]
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
    raise ValueError(f"no sound is called {sound!r}")


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
