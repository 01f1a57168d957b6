"""Outlines and textures as maps: signed distance to a shape's outline, and where a texture is inked.

A map covers [-REACH, REACH] squared in radii of the shape, y downwards, MAP_PX pixels a side.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

REACH = 1.25
MAP_PX = 128

Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]


@cache
def distances(shape: str) -> Floats:
    """[MAP_PX, MAP_PX] signed distance to the outline of a shape of radius one, negative inside."""
    u, v = _grid()
    match shape:
        case "circle":
            distance = np.hypot(u, v) - 0.9
        case "ring":
            distance = np.abs(np.hypot(u, v) - 0.7) - 0.22
        case "crescent":
            distance = np.maximum(np.hypot(u, v) - 0.98, 0.82 - np.hypot(u - 0.5, v))
        case _:
            distance = _polygon_distance(u, v, _polygon(shape))
    return distance.astype(np.float32)


@cache
def ink(texture: str) -> Floats:
    """[MAP_PX, MAP_PX] in [0, 1]: how much of a texture's second shade is there; soft, since pixels are coarse."""
    u, v = _grid()
    match texture:
        case "plain":
            wave = np.full(u.shape, -1.0)
        case "striped":
            wave = np.sin(2 * np.pi * u / 0.62)
        case "dotted":
            wave = 3.2 * (0.24 - np.hypot((u + 0.325) % 0.65 - 0.325, (v + 0.325) % 0.65 - 0.325)) / 0.24
        case "checked":
            wave = np.sin(np.pi * u / 0.5) * np.sin(np.pi * v / 0.5) * 2
        case _:
            raise ValueError(f"no texture is called {texture!r}")
    return np.clip(0.5 + 1.5 * wave, 0, 1).astype(np.float32)


def _grid() -> tuple[_Doubles, _Doubles]:
    axis = (np.arange(MAP_PX) + 0.5) / MAP_PX * 2 * REACH - REACH
    u, v = np.meshgrid(axis, axis)
    return u, v


def _polygon(shape: str) -> _Doubles:
    """[N, 2] corners, y downwards."""
    match shape:
        case "square":
            return np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)])
        case "triangle":
            return np.array([(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)])
        case "bar":
            return np.array([(-1.1, -0.3), (1.1, -0.3), (1.1, 0.3), (-1.1, 0.3)])
        case "star":
            angles = np.pi * np.arange(10) / 5
            length = np.where(np.arange(10) % 2, 0.42, 1.05)
            return np.stack([length * np.sin(angles), -length * np.cos(angles)], axis=1)
        case "cross":
            arm = np.array([-0.32 - 1.0j, 0.32 - 1.0j, 0.32 - 0.32j])
            corners = np.concatenate([arm * 1j**turn for turn in range(4)])
            return np.stack([corners.real, corners.imag], axis=1)
        case "arrow":
            right = [(0.0, -1.1), (0.85, -0.1), (0.32, -0.1), (0.32, 1.0)]
            return np.array(right + [(-x, y) for x, y in right[:0:-1]])
        case "heart":
            t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            return np.stack([np.sin(t) ** 3, -y / 16 - 0.1], axis=1)
    raise ValueError(f"no shape is called {shape!r}")


def _polygon_distance(u: _Doubles, v: _Doubles, corners: _Doubles) -> _Doubles:
    """Distance to the nearest edge, negative where a ray crosses the outline an odd number of times."""
    nearest, inside = np.full(u.shape, np.inf), np.zeros(u.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.clip(((u - ax) * (bx - ax) + (v - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(u - ax - along * (bx - ax), v - ay - along * (by - ay)))
        if ay != by:
            inside ^= ((ay > v) != (by > v)) & (u < ax + (bx - ax) * (v - ay) / (by - ay))
    return np.where(inside, -nearest, nearest)
