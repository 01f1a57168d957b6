"""Backgrounds that look like places: clouds of fractal noise, gradients and woven fields, from a bank by seed.

Every background is seamless in both directions, so a camera can pan over it for ever.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

BANK_PX = 128
_N_BACKGROUNDS = 96
_FINEST = 22  # cycles a side: finer detail would shimmer in the small pictures of an encoder


def sample_background(
    offset_x: NDArray[np.float32], offset_y: NDArray[np.float32], width_px: int, height_px: int, seed: tuple[int, int]
) -> NDArray[np.uint8]:
    """[T, H, W, 4] of background `seed` = (world, number), seen from T camera offsets in frames; byte 4 is void."""
    world, number = seed
    picked = np.random.default_rng([number, 2])
    packed = _bank(world)[int(picked.integers(_N_BACKGROUNDS))]
    scale, left, top = BANK_PX * picked.uniform(0.45, 1.0), *(BANK_PX * picked.random(2))
    columns = _places(offset_x, width_px, scale, left)
    rows = _places(offset_y, height_px, scale, top)
    seen = packed[rows[:, :, None], columns[:, None, :]]
    return seen.view(np.uint8).reshape(*seen.shape, 4)


def _places(offset: NDArray[np.float32], size_px: int, scale: float, start: float) -> NDArray[np.intp]:
    """[T, size_px] places in the bank's map."""
    at = (np.arange(size_px) + 0.5) / size_px + offset[:, None]
    return np.floor(start + scale * at).astype(np.intp) % BANK_PX


@cache
def _bank(world: int) -> NDArray[np.uint32]:
    """[N, BANK_PX, BANK_PX] packed RGB; another world has other backgrounds."""
    rng = np.random.default_rng([world, 77])
    fields = np.stack([_draw_background(rng, kind % 3) for kind in range(_N_BACKGROUNDS)])
    packed = np.zeros((*fields.shape[:3], 4), np.uint8)
    packed[..., :3] = np.round(255 * np.clip(fields, 0, 1))
    return packed.view(np.uint32)[..., 0]


def _draw_background(rng: np.random.Generator, kind: int) -> NDArray[np.float64]:
    """[BANK_PX, BANK_PX, 3]: two muted colours mixed by a field, with a little noise on top."""
    middle = rng.uniform(0.22, 0.62)
    ends = middle + rng.uniform(-0.16, 0.16, (2, 1)) + rng.uniform(-0.08, 0.08, (2, 3))
    match kind:
        case 0:
            field = _fractal(rng, slope=rng.uniform(1.0, 1.8))
        case 1:
            field = _gradient(rng)
        case _:
            field = _weave(rng)
    field = field + rng.uniform(0.05, 0.2) * _fractal(rng, slope=0.8)
    mix = np.clip(0.5 + 0.25 * field, 0, 1)[..., None]
    return (1 - mix) * ends[0] + mix * ends[1]


def _fractal(rng: np.random.Generator, slope: float) -> NDArray[np.float64]:
    """Noise of which each octave is weaker than the one before; mean 0, deviation 1."""
    cycles = np.fft.fftfreq(BANK_PX, 1 / BANK_PX)
    radius = np.hypot(cycles[:, None], cycles[None])
    weight = np.where((radius > 0) & (radius < _FINEST), np.maximum(radius, 1) ** -slope, 0)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((BANK_PX, BANK_PX))) * weight).real
    return noise / noise.std()


def _gradient(rng: np.random.Generator) -> NDArray[np.float64]:
    """One slow wave across the picture."""
    return 1.4 * _wave(rng, int(rng.integers(0, 2)), 1)


def _weave(rng: np.random.Generator) -> NDArray[np.float64]:
    """Two crossing gratings, bent by noise, as in bricks, grass or cloth."""
    bend = rng.uniform(0.2, 1.2) * _fractal(rng, slope=1.8)
    first, second = (_wave(rng, int(rng.integers(2, 13)), int(rng.integers(2, 13)), bend) for _ in range(2))
    return first + rng.uniform(0, 1) * second


def _wave(
    rng: np.random.Generator, across: int, down: int, bend: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    turns = np.arange(BANK_PX) / BANK_PX
    return np.sin(2 * np.pi * (across * turns[None] + down * turns[:, None] + rng.random()) + bend)
