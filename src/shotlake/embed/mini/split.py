"""Which things are for training, which choose the checkpoint, and which are kept for the card.

A pair of values, such as blue and heart, that validation or the test holds out is on no thing that training paints or
names; so is a share of whole combinations. A thing is the test's if any part of it is, then validation's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Literal

import numpy as np

from shotlake.world.scenes import ATTRIBUTES, Shown, Thing, draw_thing

Part = Literal["train", "validation", "test pair", "test combination"]

HELD_PAIRS = (("colour", "shape"), ("shape", "motion"), ("colour", "motion"))
_FIELDS = ("colour", "texture", "shape", "motion")
PAIR_SHARES = {"test pair": 0.05, "validation": 0.03}
COMBINATION_SHARE = 0.10


def part_of(thing: Thing) -> Part:
    """The one part that may paint this thing."""
    held = [_held_pairs(names).get(tuple(getattr(thing, name) for name in names)) for names in HELD_PAIRS]
    if "test pair" in held:
        return "test pair"
    if "validation" in held:
        return "validation"
    whole = tuple(getattr(thing, name) for name in _FIELDS)
    return "test combination" if whole in _held_combinations() else "train"


def is_trained(shown: Shown) -> bool:
    """True if every thing may be painted in training; things of which something is left open count by the rest."""
    return all(part_of(thing) == "train" for shot in shown for thing in shot.things)


def drawer(part: Part) -> Callable[[np.random.Generator, int], Thing]:
    """A function (rng, count) that draws things of one part only."""

    def draw(rng: np.random.Generator, count: int = 1) -> Thing:
        while True:
            thing = draw_thing(rng, count)
            if part_of(thing) == part:
                return thing

    return draw


@cache
def _held_pairs(names: tuple[str, str]) -> dict[tuple[str, ...], Part]:
    pairs = list(product(*(ATTRIBUTES[name] for name in names)))
    order = np.random.default_rng([4608, HELD_PAIRS.index(names)]).permutation(len(pairs))
    held: dict[tuple[str, ...], Part] = {}
    start = 0
    for part, share in PAIR_SHARES.items():
        until = start + round(share * len(pairs))
        held |= {pairs[place]: part for place in order[start:until]}
        start = until
    return held


@cache
def _held_combinations() -> frozenset[tuple[str, ...]]:
    whole = list(product(*(ATTRIBUTES[name] for name in _FIELDS)))
    order = np.random.default_rng([4608, 9]).permutation(len(whole))
    return frozenset(whole[place] for place in order[: round(COMBINATION_SHARE * len(whole))])
