"""What can be in a scene, and scenes drawn at random.

A scene is one coloured shape with one motion and one sound (or silence); its seed fixes everything that has no word:
size, place, speed, phase, background, pitch, loudness. Motions are stationary: every moment of a scene looks like any
other, so a window cut anywhere out of a long scene is a clip of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.10, 0.10),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (0.95, 0.92, 0.15),
    "green": (0.10, 0.70, 0.15),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.10, 0.22, 0.95),
    "purple": (0.62, 0.12, 0.85),
    "white": (0.97, 0.97, 0.97),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
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
)
SOUNDS = ("low tone", "high tone", "beeps", "hiss", "rising sweep", "falling sweep", "clicks", "warble")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "motion": MOTIONS,
    "sound": SOUNDS,
}
"""Every attribute and its values, in the order that models and files use."""

_PAIRS = (
    ("left", "right"),
    ("up", "down"),
    ("circling clockwise", "circling counterclockwise"),
    ("spinning clockwise", "spinning counterclockwise"),
    ("growing", "shrinking"),
)
REVERSE: dict[str, str] = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
"""The motion seen when a film runs backwards; still and bouncing look the same both ways and have no entry."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One shape, one motion, one sound (None: silence). `seed` fixes all that the words leave open."""

    colour: str
    shape: str
    motion: str
    sound: str | None
    seed: int

    @property
    def attributes(self) -> dict[str, str]:
        """The values that can be named; silence has no word."""
        named = {"colour": self.colour, "shape": self.shape, "motion": self.motion, "sound": self.sound}
        return {attribute: value for attribute, value in named.items() if value is not None}


def combinations() -> list[tuple[str, str, str, str]]:
    """All (colour, shape, motion, sound), in the order of the vocabularies: 4,608 of them."""
    return list(product(COLOURS, SHAPES, MOTIONS, SOUNDS))


def draw_seed(rng: np.random.Generator) -> int:
    """A scene's seed."""
    return int(rng.integers(1 << 31))


def draw_scene(rng: np.random.Generator, silent_ratio: float = 0.0) -> Scene:
    """A scene with every attribute drawn evenly; `silent_ratio` of them make no sound."""
    colour, shape, motion, sound = (str(rng.choice(values)) for values in ATTRIBUTES.values())
    return Scene(colour, shape, motion, None if rng.random() < silent_ratio else sound, draw_seed(rng))
