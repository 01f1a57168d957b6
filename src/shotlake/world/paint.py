"""The pictures of a scene, as arrays; always a unit square stretched to the frame, wrapped around at its edges.

The background is looked up, and only the patches around the things are computed. Later things hide earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shotlake.world.backgrounds import sample_background
from shotlake.world.scenes import COLOURS, Scene, Thing
from shotlake.world.shapes import MAP_PX, REACH, Floats, distances, ink

_DARK_HALF = 0.55  # brightness of the half that shows how a thing is turned
_APART = 0.34  # least distance between the places of things, in frames
_RADII = {1: (0.16, 0.24), 2: (0.14, 0.19), 3: (0.12, 0.16)}  # by how many there are


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a thing is at each of T times, in the unit square; radius in the same unit, angle in radians."""

    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    visible: Floats


def render_frames(
    scene: Scene, times_s: NDArray[np.float64], width_px: int, height_px: int, edge_px: float = 1.0
) -> NDArray[np.uint8]:
    """[T, H, W, 3] RGB at `times_s` of the scene's own clock; `edge_px` is how soft outlines are."""
    look = np.random.default_rng([scene.seed, 0])
    times_s = np.asarray(times_s, np.float64)
    offset_x, offset_y = _camera(scene.camera, times_s, look)
    light = _light(times_s, look)
    frames = sample_background(offset_x, offset_y, width_px, height_px, (scene.world, scene.seed)) * light[..., None]
    n_things = sum(thing.count or 1 for thing in scene.things)
    places = iter(_places(n_things, look))
    edge = edge_px / (width_px * height_px) ** 0.5
    for thing in scene.things:
        radius, fixed = look.uniform(*_RADII[n_things]), look.integers(1 << 31)
        for _ in range(thing.count or 1):  # copies share all but their place, so that they never hide each other
            pose = _pose(thing.motion, next(places), radius, times_s, np.random.default_rng(fixed))
            pose = replace(pose, x=(pose.x - offset_x) % 1, y=(pose.y - offset_y) % 1)
            _paint_thing(frames, thing, pose, light, edge)
    np.minimum(frames, 255, out=frames)
    return frames.astype(np.uint8)[..., :3]


def _paint_thing(frames: Floats, thing: Thing, pose: _Pose, light: Floats, edge: float) -> None:
    """Lay the thing over the frames [T, H, W, 4], in place."""
    n_frames, height_px, width_px, _ = frames.shape
    columns, across = _patch(pose.x, pose.radius, width_px)
    rows, down = _patch(pose.y, pose.radius, height_px)
    coverage, shade = _cover(thing, pose, across, down, edge)
    bright, dark = _shades(COLOURS[thing.colour or ""])
    place = rows[:, :, None] * width_px + columns[:, None, :]
    target = 4 * (place + np.arange(n_frames)[:, None, None] * (width_px * height_px))
    flat = frames.reshape(-1)
    for channel in range(3):  # one plane after the other: three times as fast as rows of three
        over = (dark[channel] + shade * (bright[channel] - dark[channel])) * light
        under = flat[target + channel]
        flat[target + channel] = under + coverage * (over - under)


def _shades(colour: tuple[float, float, float]) -> tuple[Floats, Floats]:
    """The colour and the shade of its marks, 0..255: darker, but for black, which can only be marked by grey."""
    bright = np.asarray(colour, np.float32)
    dark = bright * 0.3 if bright.max() > 0.2 else bright + 0.3
    return 255 * bright, 255 * dark


def _camera(camera: str, times_s: NDArray[np.float64], look: np.random.Generator) -> tuple[Floats, Floats]:
    """Where the camera looks at each time: slower than any thing that moves, so that direction stays decidable."""
    angle, pace, phases = look.uniform(0, 2 * np.pi), look.uniform(0.03, 0.10), look.random(2)
    match camera:
        case "panning":
            path = pace * times_s
            x, y = np.cos(angle) * path, np.sin(angle) * path
        case "swaying":
            rates_hz = 0.4 + pace * np.array([5.0, 8.0])
            x, y = (
                0.025 * np.sin(2 * np.pi * (rate * times_s + phase))
                for rate, phase in zip(rates_hz, phases, strict=True)
            )
        case "still":
            x = y = np.zeros(times_s.shape)
        case _:
            raise ValueError(f"no camera is called {camera!r}")
    return x.astype(np.float32), y.astype(np.float32)


def _light(times_s: NDArray[np.float64], look: np.random.Generator) -> Floats:
    """[T, 1, 1] brightness: one exposure, and a slow wave on it."""
    wave = np.sin(2 * np.pi * (look.uniform(0.1, 0.6) * times_s + look.random()))
    return (look.uniform(0.82, 1.05) * (1 + look.uniform(0, 0.12) * wave)).astype(np.float32)[:, None, None]


def _places(n_things: int, look: np.random.Generator) -> list[tuple[float, float]]:
    """Centres that are apart from each other."""
    places: list[tuple[float, float]] = []
    low, high = (0.3, 0.7) if n_things == 1 else (0.2, 0.8)
    while len(places) < n_things:
        x, y = look.uniform(low, high, 2)
        if all(np.hypot(x - other_x, y - other_y) > _APART for other_x, other_y in places):
            places.append((x, y))
        elif look.random() < 0.05:  # the first ones may leave no room
            places.clear()
    return places


def _pose(
    motion: str | None,
    place: tuple[float, float],
    radius: float,
    times_s: NDArray[np.float64],
    look: np.random.Generator,
) -> _Pose:
    phase, pace, tilt = look.random(), look.uniform(0.0, 1.0), look.uniform(-0.2, 0.2)
    speed, turns, beats = (
        0.28 + 0.24 * pace,
        (0.4 + 0.35 * pace) * times_s + phase,
        (0.8 + 0.4 * pace) * times_s + phase,
    )
    x, y, size, angle, visible = (np.full(times_s.shape, value) for value in (*place, radius, tilt, 1.0))
    match (motion or "").split():
        case ["left" | "right" as way]:
            x += (speed if way == "right" else -speed) * times_s + phase
        case ["up" | "down" as way]:
            y += (speed if way == "down" else -speed) * times_s + phase
        case ["circling", sense]:
            orbit = 2 * np.pi * turns * (1 if sense == "clockwise" else -1)
            x, y = x + 0.21 * np.cos(orbit), y + 0.21 * np.sin(orbit)
        case ["spinning", sense]:
            angle += 2 * np.pi * turns * (1 if sense == "clockwise" else -1)
        case ["growing" | "shrinking" as way]:
            step = (0.75 * beats) % 1
            size *= 0.6 + 0.75 * (step if way == "growing" else 1 - step)
        case ["bouncing"]:
            y += 0.2 - 0.4 * np.abs(np.sin(np.pi * beats))
        case ["swinging"]:
            x += 0.22 * np.sin(2 * np.pi * 0.75 * beats)
        case ["blinking"]:
            visible = np.clip(0.5 + 6 * np.sin(2 * np.pi * 1.3 * beats), 0, 1)
        case ["still"]:
            pass
        case _:
            raise ValueError(f"no motion is called {motion!r}")
    return _Pose(*(values.astype(np.float32) for values in (x, y, size, angle, visible)))


def _patch(centre: Floats, radius: Floats, size_px: int) -> tuple[NDArray[np.intp], Floats]:
    """[T, K] pixel indices around the centres, wrapped at the frame's edge, and their distances from the centres."""
    reach_px = min(int(np.ceil(REACH * radius.max() * size_px)) + 1, (size_px - 1) // 2)
    at = np.floor(centre * size_px)[:, None] + np.arange(-reach_px, reach_px + 1)
    return at.astype(np.intp) % size_px, ((at + 0.5) / size_px - centre[:, None]).astype(np.float32)


def _cover(thing: Thing, pose: _Pose, across: Floats, down: Floats, edge: float) -> tuple[Floats, Floats]:
    """[T, K, K] how much of each pixel the thing covers, and how bright it is there."""
    cos, sin = np.cos(pose.angle) / pose.radius, np.sin(pose.angle) / pose.radius
    u = (cos[:, None] * across)[:, None, :] + (sin[:, None] * down)[:, :, None]
    v = (-sin[:, None] * across)[:, None, :] + (cos[:, None] * down)[:, :, None]
    scale = MAP_PX / 2 / REACH
    column, row = (np.clip((axis + REACH) * scale, 0, MAP_PX - 1).astype(np.int32) for axis in (u, v))
    at = row * MAP_PX + column
    sharpness = (pose.radius / edge)[:, None, None]
    coverage = np.clip(0.5 - distances(thing.shape or "").ravel()[at] * sharpness, 0, 1) * pose.visible[:, None, None]
    shade = _DARK_HALF + (1 - _DARK_HALF) * np.clip(0.5 - u * sharpness, 0, 1)
    if thing.texture != "plain":
        shade *= 1 - ink(thing.texture or "").ravel()[at]
    return coverage.astype(np.float32, copy=False), shade.astype(np.float32, copy=False)
