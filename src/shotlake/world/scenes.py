"""What can be in a scene, what can be said of it, and scenes drawn at random.

A scene is up to three things that move, with up to two sounds; its seed fixes everything that has no word: sizes,
places, speeds, phases, the background, the light, pitch and loudness. Motions are stationary: every moment of a scene
looks like any other, so a window cut anywhere out of a long scene is a clip of the same kind.

What a clip shows and what a caption claims have one form, a row of shots: a claim leaves out what it does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import permutations
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.10, 0.10),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (0.95, 0.92, 0.15),
    "green": (0.10, 0.65, 0.15),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.10, 0.22, 0.95),
    "purple": (0.58, 0.10, 0.82),
    "pink": (1.00, 0.58, 0.76),
    "brown": (0.46, 0.26, 0.10),
    "white": (0.97, 0.97, 0.97),
    "grey": (0.52, 0.52, 0.52),
    "black": (0.05, 0.05, 0.05),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent", "arrow", "bar")
MOTIONS = (
    "still",
    "left",
    "right",
    "up",
    "down",
    "circling clockwise",
    "circling counterclockwise",
    "spinning clockwise",
    "spinning counterclockwise",
    "growing",
    "shrinking",
    "bouncing",
    "swinging",
    "blinking",
)
SOUNDS = (
    "low tone",
    "high tone",
    "beeps",
    "hiss",
    "rising sweep",
    "falling sweep",
    "clicks",
    "warble",
    "bell",
    "siren",
    "rumble",
    "buzz",
)
COUNTS = (1, 2, 3)
CAMERAS = ("still", "panning", "swaying")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "shape": SHAPES,
    "motion": MOTIONS,
    "sound": SOUNDS,
}
"""Every attribute that has words and its values, in the order that models and files use."""

_PAIRS = (
    ("left", "right"),
    ("up", "down"),
    ("circling clockwise", "circling counterclockwise"),
    ("spinning clockwise", "spinning counterclockwise"),
    ("growing", "shrinking"),
)
REVERSE: dict[str, str] = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
"""The motion seen when a film runs backwards; the other four look the same both ways and have no entry."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One, two or three of the same: in a scene every field has its value, in a claim None says nothing."""

    colour: str | None = None
    texture: str | None = None
    shape: str | None = None
    motion: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """What is on at one time: up to two kinds of things, and sounds."""

    things: tuple[Thing, ...] = ()
    sounds: tuple[str, ...] = ()


Shown = tuple[Shot, ...]
"""The shots of a clip, or what is claimed of them, in their order."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A shot that can be painted. `seed` fixes what the words leave open; `world` names the bank of backgrounds."""

    things: tuple[Thing, ...]
    sounds: tuple[str, ...]
    seed: int
    camera: str = "still"
    world: int = 1

    @property
    def shot(self) -> Shot:
        """All that can be said of it."""
        return Shot(self.things, self.sounds)


def holds(claimed: Shown, shown: Shown) -> bool:
    """True if what is claimed is so: its shots are on in this order, each with other things and sounds or without."""
    places = range(len(shown))
    return any(
        list(order) == sorted(order)
        and all(_shot_holds(claim, shown[place]) for claim, place in zip(claimed, order, strict=True))
        for order in permutations(places, len(claimed))
    )


def _shot_holds(claim: Shot, shot: Shot) -> bool:
    return set(claim.sounds) <= set(shot.sounds) and any(
        all(_thing_holds(mine, its) for mine, its in zip(claim.things, things, strict=True))
        for things in permutations(shot.things, len(claim.things))
    )


def _thing_holds(claim: Thing, thing: Thing) -> bool:
    values = ((getattr(claim, field.name), getattr(thing, field.name)) for field in fields(Thing))
    return all(claimed is None or claimed == value for claimed, value in values)


def reversed_shown(shown: Shown) -> Shown:
    """What the same clip shows when its frames run backwards; its sounds stay as they are."""
    turned = [
        tuple(replace(thing, motion=REVERSE.get(thing.motion or "", thing.motion)) for thing in shot.things)
        for shot in shown
    ]
    return tuple(Shot(things, shot.sounds) for things, shot in zip(turned[::-1], shown, strict=True))


def with_value(thing: Thing, field: str, value: Any) -> Thing:
    """The thing with another value, or none, in one field."""
    return replace(thing, **{field: value})


def draw_seed(rng: np.random.Generator) -> int:
    """A scene's seed."""
    return int(rng.integers(1 << 31))


def draw_thing(rng: np.random.Generator, count: int = 1) -> Thing:
    """A thing with every attribute drawn evenly."""
    colour, texture, shape, motion = (
        choose(ATTRIBUTES[name], rng) for name in ("colour", "texture", "shape", "motion")
    )
    return Thing(colour, texture, shape, motion, count)


def draw_sounds(rng: np.random.Generator, silent_ratio: float = 0.0, double_ratio: float = 0.2) -> tuple[str, ...]:
    """One sound, or two different ones at once, or none."""
    n_sounds = 0 if rng.random() < silent_ratio else 1 + int(rng.random() < double_ratio)
    return tuple(SOUNDS[place] for place in rng.permutation(len(SOUNDS))[:n_sounds])


def draw_camera(rng: np.random.Generator) -> str:
    """Every other camera stands still."""
    return CAMERAS[max(0, int(rng.integers(-1, 3)))]


def draw_scene(rng: np.random.Generator, silent_ratio: float = 0.0, world: int = 1) -> Scene:
    """A scene of one thing, with every attribute drawn evenly; `silent_ratio` of them make no sound."""
    things, sounds = (draw_thing(rng),), draw_sounds(rng, silent_ratio, double_ratio=0.0)
    return Scene(things, sounds, draw_seed(rng), draw_camera(rng), world)


def choose(options: Sequence[_T], rng: np.random.Generator) -> _T:
    """One of them, evenly."""
    return options[int(rng.integers(len(options)))]
