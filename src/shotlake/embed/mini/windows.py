"""Windows of the rendered world: one scene for two seconds, or two with a cut between them, as frames and samples.

What a clip does not tell is left out of what it shows: here the motion of a shot that is too short for it, and a shot
of which hardly more than a frame is in the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shotlake.embed.mini.mel import SAMPLE_RATE_HZ
from shotlake.embed.mini.split import is_trained, part_of
from shotlake.world.codec import damage_frames, damage_sound
from shotlake.world.foils import draw_foil
from shotlake.world.paint import render_frames
from shotlake.world.scenes import MOTIONS, Scene, Shot, Shown, Thing, choose, draw_camera, draw_seed, draw_sounds
from shotlake.world.sounds import render_sound

WINDOW_S = 2.0
N_FRAMES = 16
SIZE_PX = 48
FRAME_RATES = (8, 10, 12, 15, 24, 25, 30, 50, 60)
MOTION_TAKES_S = 0.6  # in less, a bounce looks like a fall and a slow spin like nothing
_SHOT_TAKES_S = 0.15  # in less there is one frame of it, and hardly a sound
_FILM_PX, _FILM_FPS = (160, 120), 24

Kind = Literal["single", "several", "pair", "then"]
KIND_SHARES: dict[Kind, float] = {"single": 0.40, "several": 0.15, "pair": 0.25, "then": 0.20}

DrawThing = Callable[[np.random.Generator, int], Thing]
Window = tuple[tuple[Scene, float], ...]
"""Scenes that follow each other, each with its seconds."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to a clip before it is seen: black edges in shares, and codecs (None: none).

    As a `film`, every frame is coded at 160 x 120 and 24 fps and then 16 are picked, as an archive does it. That takes
    twice as long as coding just the 16 at 96 px, which training does.
    """

    crf: int | None = None
    bit_rate: int | None = None
    bars: float = 0.0
    film: bool = False


INTACT = Damage()


def choose_kind(rng: np.random.Generator) -> Kind:
    """A kind, by its share."""
    return list(KIND_SHARES)[int(rng.choice(len(KIND_SHARES), p=list(KIND_SHARES.values())))]


def draw_window(
    kind: Kind, draw: DrawThing, rng: np.random.Generator, world: int = 1, silent_ratio: float = 0.0
) -> Window:
    """A window of two seconds of that kind, of things that `draw` draws."""
    scene = Scene((draw(rng, 1),), draw_sounds(rng, silent_ratio), draw_seed(rng), draw_camera(rng), world)
    match kind:
        case "several":
            scene = replace(scene, things=(replace(scene.things[0], count=int(rng.integers(2, 4))),))
        case "pair":
            scene = replace(scene, things=_two_things(draw, rng))
        case "then":
            return _cut(scene, draw, rng)
    return ((scene, WINDOW_S),)


def _two_things(draw: DrawThing, rng: np.random.Generator) -> tuple[Thing, Thing]:
    """Two kinds of things, three things at the most."""
    first, second = draw(rng, 1), draw(rng, 1 + int(rng.random() < 0.25))
    while replace(second, count=1) == first:
        second = draw(rng, second.count or 1)
    return first, second


def _cut(first: Scene, draw: DrawThing, rng: np.random.Generator) -> Window:
    """Two scenes, or one of which the thing changes its motion; either may be short."""
    until_s = rng.uniform(0.7, WINDOW_S - 0.7) if rng.random() < 0.6 else rng.uniform(0.2, WINDOW_S - 0.2)
    thing = draw(rng, 1)
    if rng.random() < 0.35:
        turned = [replace(first.things[0], motion=motion) for motion in MOTIONS if motion != first.things[0].motion]
        allowed = [other for other in turned if part_of(other) == part_of(first.things[0])]
        second = replace(first, things=(choose(allowed or turned, rng),))
    else:
        sounds = first.sounds if rng.random() < 0.3 else draw_sounds(rng, 0.1)
        second = Scene((thing,), sounds, draw_seed(rng), draw_camera(rng), first.world)
    return (first, until_s), (second, WINDOW_S - until_s)


def shown_in(window: Window) -> Shown:
    """What the window tells: scenes that go on are one shot, short ones have no motion, and slivers are nothing."""
    return tuple(_tellable(scene.shot, seconds) for scene, seconds in window if seconds >= _SHOT_TAKES_S)


def _tellable(shot: Shot, seconds: float) -> Shot:
    if seconds >= MOTION_TAKES_S:
        return shot
    return replace(shot, things=tuple(replace(thing, motion=None) for thing in shot.things))


def foil_window(window: Window, rng: np.random.Generator) -> Window | None:
    """A clip of something almost the same, or None if all that was tried belongs to validation or test."""
    for _ in range(5):
        foil = draw_foil(tuple(scene.shot for scene, _ in window), rng)
        n_things = max(sum(thing.count or 1 for thing in shot.things) for shot in foil)
        if is_trained(foil) and n_things <= 3:
            return tuple(
                (replace(scene, things=shot.things, sounds=shot.sounds, seed=draw_seed(rng)), seconds)
                for (scene, seconds), shot in zip(window, foil, strict=True)
            )
    return None


def add_sliver(window: Window, draw: DrawThing, rng: np.random.Generator) -> Window:
    """One scene with the very beginning or end of another, as where the grid of windows just misses a cut."""
    ((scene, _),), sliver_s = window, rng.uniform(0.03, _SHOT_TAKES_S)
    parts = (scene, WINDOW_S - sliver_s), (draw_window("single", draw, rng)[0][0], sliver_s)
    return parts if rng.random() < 0.5 else parts[::-1]


def render_window(
    window: Window, rng: np.random.Generator, damage: Damage = INTACT
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Frames [16, 48, 48, 3] and samples [n] of a window.

    Frames come from a film of 8 to 60 fps: each is the one nearest to its time, as in a decoded video.
    """
    total_s = sum(seconds for _, seconds in window)
    fps, phase, edge_px, clock_s = choose(FRAME_RATES, rng), rng.random(), rng.uniform(1.0, 1.8), rng.uniform(0, 8)
    grid_s = (np.arange(N_FRAMES) + 0.5) * total_s / N_FRAMES
    inside = _inside(damage.bars, rng)
    samples = _sound(window, clock_s)
    if damage.bit_rate is not None:
        samples = damage_sound(samples, damage.bit_rate, SAMPLE_RATE_HZ)
    if damage.film:
        film_s = np.arange(round(total_s * _FILM_FPS)) / _FILM_FPS
        frames = _pictures(window, clock_s, film_s, _Canvas(*_FILM_PX, inside, edge_px=1.0))
        coded = damage_frames(frames, damage.crf or 0, _FILM_FPS, SIZE_PX)
        return coded[np.abs(film_s[:, None] - grid_s).argmin(0)], samples
    film_s = (np.round(grid_s * fps - phase) + phase) / fps
    if damage.crf is None:
        return _pictures(window, clock_s, film_s, _Canvas(SIZE_PX, SIZE_PX, inside, edge_px)), samples
    frames = _pictures(window, clock_s, film_s, _Canvas(2 * SIZE_PX, 2 * SIZE_PX, inside, 2 * edge_px))
    return damage_frames(frames, damage.crf, round(N_FRAMES / total_s), SIZE_PX), samples


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What is painted on: its size, the shares of it that the picture fills, how soft outlines are."""

    width_px: int
    height_px: int
    inside: tuple[float, float]
    edge_px: float


def _pictures(window: Window, clock_s: float, film_s: NDArray[np.float64], canvas: _Canvas) -> NDArray[np.uint8]:
    """[T, H, W, 3] at these times; the first and the last scene go on before and after the window."""
    frames = np.zeros((len(film_s), canvas.height_px, canvas.width_px, 3), np.uint8)
    width_px, height_px = (
        2 * round(share * px / 2) for share, px in zip(canvas.inside, (canvas.width_px, canvas.height_px), strict=True)
    )
    left, top = (canvas.width_px - width_px) // 2, (canvas.height_px - height_px) // 2
    inside = frames[:, top : top + height_px, left : left + width_px]
    ends_s = np.cumsum([seconds for _, seconds in window])
    number = np.searchsorted(ends_s[:-1], film_s, side="right")
    for place, (scene, _) in enumerate(window):
        on = number == place
        if on.any():
            inside[on] = render_frames(scene, clock_s + film_s[on], width_px, height_px, canvas.edge_px)
    return frames


def _sound(window: Window, clock_s: float) -> NDArray[np.float32]:
    sounds, begin_s = [], 0.0
    for scene, seconds in window:
        n_samples = round((begin_s + seconds) * SAMPLE_RATE_HZ) - round(begin_s * SAMPLE_RATE_HZ)
        sounds.append(render_sound(scene, clock_s + begin_s, n_samples, SAMPLE_RATE_HZ))
        begin_s += seconds
    return np.concatenate(sounds)


def _inside(bars: float, rng: np.random.Generator) -> tuple[float, float]:
    """Shares of width and height that the picture fills, between black edges above and below or at the sides."""
    return (1.0, 1.0 - bars) if rng.random() < 0.5 else (1.0 - bars, 1.0)
