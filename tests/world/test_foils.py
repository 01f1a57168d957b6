"""Foils are false, and only just."""

from dataclasses import fields

import numpy as np
import pytest

from shotlake.world.foils import draw_foil, draw_structural_foil, exchange_attribute, miscount
from shotlake.world.scenes import Shot, Shown, Thing, draw_sounds, draw_thing, holds


def draw_shown(rng: np.random.Generator) -> Shown:
    shots = []
    for _ in range(int(rng.integers(1, 3))):
        things = tuple(draw_thing(rng, int(rng.integers(1, 3))) for _ in range(int(rng.integers(1, 3))))
        shots.append(Shot(things, draw_sounds(rng, 0.3)))
    return tuple(shots)


def n_changes(first: Shown, second: Shown) -> int:
    """Fields that differ, things taken in their order; sounds count as one."""
    total = 0
    for mine, other in zip(first, second, strict=True):
        total += mine.sounds != other.sounds
        for a, b in zip(mine.things, other.things, strict=True):
            total += sum(getattr(a, field.name) != getattr(b, field.name) for field in fields(Thing))
    return total


def test_a_foil_is_false_and_differs_in_one_respect() -> None:
    rng = np.random.default_rng(5)
    kinds = set()
    for _ in range(400):
        shown = draw_shown(rng)
        foil = draw_foil(shown, rng)
        assert not holds(foil, shown)
        kinds.add("order" if len(shown) == 2 and foil == shown[::-1] else n_changes(shown, foil))
    assert kinds == {"order", 1, 2}


def test_a_structural_foil_has_the_same_words_or_another_number() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        shown = draw_shown(rng)
        foil = draw_structural_foil(shown, rng)
        assert not holds(foil, shown)
        if len(shown) == 2 and not holds(shown[::-1], shown):
            assert foil == shown[::-1]
        elif len(shown) == 1 and len(shown[0].things) == 1:
            assert foil[0].things[0].count != shown[0].things[0].count and n_changes(shown, foil) == 1


def test_exchanging_keeps_the_values_and_moves_one() -> None:
    shot = Shot((Thing("red", "plain", "star", "left", 1), Thing("blue", "dotted", "bar", "up", 2)), ("bell",))
    assert exchange_attribute(shot, "colour").things == (
        Thing("blue", "plain", "star", "left", 1),
        Thing("red", "dotted", "bar", "up", 2),
    )
    with pytest.raises(ValueError):
        exchange_attribute(Shot(shot.things[:1]), "colour")


def test_a_miscount_is_another_number() -> None:
    rng, thing = np.random.default_rng(0), Thing(shape="star", count=2)
    assert {miscount(thing, rng).count for _ in range(40)} == {1, 3}


def test_nothing_false_can_be_said_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing false"):
        draw_foil((Shot(),), np.random.default_rng(0))
