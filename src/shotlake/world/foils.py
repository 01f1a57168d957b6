"""Foils: almost what is shown, and false. They ask for binding, order, number and single values, nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shotlake.world.scenes import COUNTS, REVERSE, Shot, Shown, Thing, choose, draw_sounds, draw_thing, holds

_FIELDS = ("colour", "texture", "shape", "motion", "count")


def draw_foil(shown: Shown, rng: np.random.Generator) -> Shown:
    """Shots exchanged, attributes of two things exchanged, or one value another.

    Errors: ValueError where every change leaves it true, as of a clip that shows nothing.
    """
    for _ in range(30):
        changed = _change(shown, rng)
        if not holds(changed, shown):
            return changed
    raise ValueError(f"nothing false can be said of {shown}")


def draw_structural_foil(shown: Shown, rng: np.random.Generator) -> Shown:
    """The same words put together wrongly, or another number: shots or attributes exchanged, or things miscounted.

    Errors: ValueError where nothing false can be said.
    """
    place = int(rng.integers(len(shown)))
    shot = shown[place]
    changed: Shown
    if len(shown) == 2:
        changed = shown[::-1]
    elif len(shot.things) == 2:
        changed = (exchange_attribute(shot, choose(_FIELDS, rng)),)
    elif shot.things:
        changed = (replace(shot, things=(miscount(shot.things[0], rng),)),)
    else:
        return draw_foil(shown, rng)
    return draw_foil(shown, rng) if holds(changed, shown) else changed


def exchange_attribute(shot: Shot, name: str) -> Shot:
    """Two things with this attribute of each given to the other. Errors: ValueError unless there are two."""
    first, second = shot.things
    exchanged = replace(first, **{name: getattr(second, name)}), replace(second, **{name: getattr(first, name)})
    return replace(shot, things=exchanged)


def miscount(thing: Thing, rng: np.random.Generator) -> Thing:
    """The same thing in another number."""
    return replace(thing, count=choose([count for count in COUNTS if count != thing.count], rng))


def _change(shown: Shown, rng: np.random.Generator) -> Shown:
    """Exchange or replace something; it may come out as it was."""
    if len(shown) == 2 and rng.random() < 0.5:
        return shown[::-1]
    place = int(rng.integers(len(shown)))
    shot = shown[place]
    if len(shot.things) == 2 and rng.random() < 0.6:
        shot = exchange_attribute(shot, choose(_FIELDS, rng))
    elif shot.things and (not shot.sounds or rng.random() < 0.8):
        which = int(rng.integers(len(shot.things)))
        things = [_change_thing(t, rng) if number == which else t for number, t in enumerate(shot.things)]
        shot = replace(shot, things=tuple(things))
    elif shot.sounds:
        shot = replace(shot, sounds=draw_sounds(rng)[:1] + shot.sounds[1:])
    return (*shown[:place], shot, *shown[place + 1 :])


def _change_thing(thing: Thing, rng: np.random.Generator) -> Thing:
    if thing.motion in REVERSE and rng.random() < 0.35:
        return replace(thing, motion=REVERSE[thing.motion])
    other, name = draw_thing(rng, choose(COUNTS, rng)), choose(_FIELDS, rng)
    return thing if getattr(thing, name) is None else replace(thing, **{name: getattr(other, name)})
