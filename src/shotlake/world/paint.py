"""The pictures of a scene, as arrays; always a unit square stretched to the frame, wrapped around at its edges.

Only the patch around the shape is computed; everything else is the scene's background.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from shotlake.world.scenes import COLOURS, Scene

_REACH = 1.25  # how far the patch and the distance maps go, in radii of the shape
_MAP_PX = 128
_DARK_HALF = 0.45  # brightness of the half that shows how a shape is turned

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where the shape is at each of T times, in the unit square; radius in the same unit, angle in radians."""

    x: Floats
    y: Floats
    radius: Floats
    angle: Floats


def render_frames(
    scene: Scene, times_s: NDArray[np.float64], width_px: int, height_px: int, edge_px: float = 1.0
) -> NDArray[np.uint8]:
    """[T, H, W, 3] RGB at `times_s` of the scene's own clock; `edge_px` is how soft outlines are."""
    look = np.random.default_rng([scene.seed, 0])
    pose = _pose(scene.motion, np.asarray(times_s, np.float64), look)
    paint = 255 * np.clip(np.asarray(COLOURS[scene.colour]) * look.uniform(0.85, 1.0) + look.normal(0, 0.02, 3), 0, 1)
    background = _background(width_px, height_px, look)
    columns, across = _patch(pose.x, pose.radius, width_px)
    rows, down = _patch(pose.y, pose.radius, height_px)
    coverage, shade = _cover(scene.shape, pose, across, down, edge_px / (width_px * height_px) ** 0.5)
    frames = np.repeat(background.astype(np.uint8)[None], len(pose.x), axis=0)
    place = rows[:, :, None] * width_px + columns[:, None, :]
    target = 3 * (place + np.arange(len(pose.x))[:, None, None] * (width_px * height_px))
    for channel in range(3):  # one plane after the other: three times as fast as rows of three
        under = background[..., channel].ravel()[place]
        over = shade * np.float32(paint[channel])
        frames.ravel()[target + channel] = (under + coverage * (over - under)).astype(np.uint8)
    return frames


def _pose(motion: str, times_s: NDArray[np.float64], look: np.random.Generator) -> _Pose:
    centre_x, centre_y, radius = look.uniform(0.3, 0.7), look.uniform(0.3, 0.7), look.uniform(0.16, 0.24)
    phase, pace, tilt = look.random(), look.uniform(0.0, 1.0), look.uniform(-0.2, 0.2)
    speed, turns = 0.25 + 0.25 * pace, (0.4 + 0.35 * pace) * times_s + phase
    x, y, angle = (np.full(times_s.shape, value, np.float64) for value in (centre_x, centre_y, tilt))
    size = np.full(times_s.shape, radius, np.float64)
    match motion.split():
        case ["left" | "right" as way]:
            x += (speed if way == "right" else -speed) * times_s + phase
        case ["up" | "down" as way]:
            y += (speed if way == "down" else -speed) * times_s + phase
        case ["circling", sense]:
            orbit = 2 * np.pi * turns * (1 if sense == "clockwise" else -1)
            x, y = 0.5 + 0.24 * np.cos(orbit), 0.5 + 0.24 * np.sin(orbit)
        case ["spinning", sense]:
            angle += 2 * np.pi * turns * (1 if sense == "clockwise" else -1)
        case ["growing"]:
            size = 0.12 + 0.18 * (((0.6 + 0.4 * pace) * times_s + phase) % 1)
        case ["shrinking"]:
            size = 0.30 - 0.18 * (((0.6 + 0.4 * pace) * times_s + phase) % 1)
        case ["bouncing"]:
            y = 0.75 - 0.42 * np.abs(np.sin(np.pi * ((0.8 + 0.4 * pace) * times_s + phase)))
        case ["still"]:
            pass
        case _:
            raise ValueError(f"no motion is called {motion!r}")
    return _Pose(*(values.astype(np.float32) for values in (x % 1, y % 1, size, angle)))


def _background(width_px: int, height_px: int, look: np.random.Generator) -> Floats:
    """[H, W, 3] in 0..255: a dim, nearly grey cloud, smooth because it is stretched from 4 x 4 points."""
    points = look.uniform(0.08, 0.36) + look.uniform(-0.07, 0.07, (4, 4, 1)) + look.uniform(-0.02, 0.02, (4, 4, 3))
    columns = (_stretch(height_px) @ points.reshape(4, 12)).reshape(height_px, 4, 3)
    cloud = _stretch(width_px) @ columns
    return (255 * np.clip(cloud, 0, 1)).astype(np.float32)


@cache
def _stretch(size_px: int) -> NDArray[np.float64]:
    """[size_px, 4] weights of linear interpolation between four points."""
    at = np.linspace(0, 3, size_px)[:, None]
    return np.clip(1 - np.abs(at - np.arange(4)), 0, 1)


def _patch(centre: Floats, radius: Floats, size_px: int) -> tuple[NDArray[np.intp], Floats]:
    """[T, K] pixel indices around the centres, wrapped at the frame's edge, and their distances from the centres."""
    reach_px = min(int(np.ceil(_REACH * radius.max() * size_px)) + 1, (size_px - 1) // 2)
    at = np.floor(centre * size_px)[:, None] + np.arange(-reach_px, reach_px + 1)
    return at.astype(np.intp) % size_px, ((at + 0.5) / size_px - centre[:, None]).astype(np.float32)


def _cover(shape: str, pose: _Pose, across: Floats, down: Floats, edge: float) -> tuple[Floats, Floats]:
    """[T, K, K] how much of each pixel the shape covers, and how bright the shape is there."""
    cos, sin = np.cos(pose.angle) / pose.radius, np.sin(pose.angle) / pose.radius
    u = (cos[:, None] * across)[:, None, :] + (sin[:, None] * down)[:, :, None]
    v = (-sin[:, None] * across)[:, None, :] + (cos[:, None] * down)[:, :, None]
    scale = _MAP_PX / 2 / _REACH
    column = np.clip(u * scale + _MAP_PX / 2, 0, _MAP_PX - 1).astype(np.int32)
    row = np.clip(v * scale + _MAP_PX / 2, 0, _MAP_PX - 1).astype(np.int32)
    distance = _distances(shape).ravel()[row * _MAP_PX + column]
    sharpness = (pose.radius / edge)[:, None, None]
    coverage = np.clip(0.5 - distance * sharpness, 0, 1)
    shade = _DARK_HALF + (1 - _DARK_HALF) * np.clip(0.5 - u * sharpness, 0, 1)
    return coverage.astype(np.float32, copy=False), shade.astype(np.float32, copy=False)


@cache
def _distances(shape: str) -> Floats:
    """[128, 128] signed distance to the outline of a shape of radius one, negative inside."""
    axis = (np.arange(_MAP_PX) + 0.5) / _MAP_PX * 2 * _REACH - _REACH
    u, v = np.meshgrid(axis, axis)
    match shape:
        case "circle":
            distance = np.hypot(u, v) - 0.9
        case "ring":
            distance = np.abs(np.hypot(u, v) - 0.7) - 0.22
        case _:
            distance = _polygon_distance(u, v, _polygon(shape))
    return distance.astype(np.float32)


def _polygon(shape: str) -> NDArray[np.float64]:
    """[N, 2] corners, y downwards."""
    match shape:
        case "square":
            return np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)])
        case "triangle":
            return np.array([(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)])
        case "star":
            angle = np.pi * np.arange(10) / 5
            length = np.where(np.arange(10) % 2, 0.42, 1.05)
            return np.stack([length * np.sin(angle), -length * np.cos(angle)], axis=1)
        case "cross":
            arm = np.array([-0.32 - 1.0j, 0.32 - 1.0j, 0.32 - 0.32j])
            corners = np.concatenate([arm * 1j**turn for turn in range(4)])
            return np.stack([corners.real, corners.imag], axis=1)
    raise ValueError(f"no shape is called {shape!r}")


def _polygon_distance(
    u: NDArray[np.float64], v: NDArray[np.float64], corners: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance to the nearest edge, negative where a ray crosses the outline an odd number of times."""
    nearest, inside = np.full(u.shape, np.inf), np.zeros(u.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.clip(((u - ax) * (bx - ax) + (v - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(u - ax - along * (bx - ax), v - ay - along * (by - ay)))
        if ay != by:
            inside ^= ((ay > v) != (by > v)) & (u < ax + (bx - ax) * (v - ay) / (by - ay))
    return np.where(inside, -nearest, nearest)
