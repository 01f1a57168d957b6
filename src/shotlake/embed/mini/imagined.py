"""Clips that were never painted and captions that were never written, as numbers: near misses by the thousand.

Nothing here shows or claims what is held out of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from shotlake.embed.mini.labels import FIELDS, Flags, Ids, Parts, hold_in
from shotlake.embed.mini.split import part_of
from shotlake.embed.mini.windows import MOTION_TAKES_S, WINDOW_S
from shotlake.world.scenes import MOTIONS, REVERSE, SOUNDS, Thing

Floats = NDArray[np.float32]

CLIPS_OF_GROUP, CAPTIONS_OF_GROUP = 13, 18
FILLS_S = 0.95  # a hit shows what is asked for at least half of it; whether a little less will do is not asked

_COLOUR, _TEXTURE, _SHAPE, _MOTION, _COUNT = range(len(FIELDS))
_SIZES = np.array([len(values) for values in FIELDS.values()])
_CHANGED = (0.27, 0.2, 0.2, 0.25, 0.08)  # which field a near miss has wrong
_SOUND_CHANGED = 0.25
_TURNED = 0.35  # of wrong motions are the same backwards
_REVERSED = np.array([MOTIONS.index(REVERSE.get(motion, motion)) for motion in MOTIONS])
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Shots:
    """N shots, or claims of one: up to two things, which stand first, and up to two sounds."""

    values: Ids  # [N, 2, fields] places in `FIELDS`, -1 where nothing is told
    there: Flags  # [N, 2]
    sounds: Flags  # [N, SOUNDS]

    def where(self, flags: Flags, others: Shots) -> Shots:
        """These where the flag is set, and the others elsewhere."""
        return Shots(
            np.where(flags[:, None, None], self.values, others.values),
            np.where(flags[:, None], self.there, others.there),
            np.where(flags[:, None], self.sounds, others.sounds),
        )

    def may_be_trained(self) -> Flags:
        """[N] True where no thing is held out."""
        flags: Flags = (_trained()[tuple(np.moveaxis(self.values[..., :_COUNT], -1, 0))] | ~self.there).all(1)
        return flags

    def equal(self, others: Shots) -> Flags:
        """[N] True where both are the same."""
        things = np.where(self.there[..., None], self.values == others.values, True).all((1, 2))
        return things & (self.there == others.there).all(1) & (self.sounds == others.sounds).all(1)


@cache
def _trained() -> Flags:
    """By the values of colour, texture, shape and motion, of which the last place is "not told"."""
    fields = [(*values, None) for values in list(FIELDS.values())[:_COUNT]]
    flags = [part_of(Thing(*values)) == "train" for values in product(*fields)]  # type: ignore[arg-type]
    return np.array(flags).reshape([len(field) for field in fields])


def draw_shots(n_shots: int, rng: np.random.Generator) -> Shots:
    """One thing, two or three of it, or two things, with sounds; one in twenty without picture, as many silent."""
    values, kind = np.stack([_draw_things(n_shots, rng) for _ in range(2)], 1), rng.random(n_shots)
    values[:, 0, _COUNT] = np.where((kind >= 0.3) & (kind < 0.45), rng.integers(1, 3, n_shots), 0)
    values[:, 1, _COUNT] = rng.random(n_shots) < 0.25
    two = (kind < 0.3) & (values[:, 0] != values[:, 1]).any(1)
    there, sounds, lost = np.stack([np.ones(n_shots, bool), two], 1), _draw_sounds(n_shots, rng), rng.random(n_shots)
    there[lost < 0.05] = False
    sounds[lost > 0.95] = False
    sounds[~there.any(1) & ~sounds.any(1), 0] = True
    return Shots(values, there, sounds)


def _draw_things(n_things: int, rng: np.random.Generator) -> Ids:
    values = np.zeros((n_things, len(FIELDS)), np.int64)
    left = np.arange(n_things)
    while len(left):
        values[left, :_COUNT] = rng.integers(0, _SIZES[:_COUNT], (len(left), _COUNT))
        left = left[~_trained()[tuple(values[left, :_COUNT].T)]]
    return values


def _draw_sounds(n_shots: int, rng: np.random.Generator, silent: float = 0.08) -> Flags:
    """None, one or two of them."""
    n_sounds = (rng.random(n_shots) >= silent) * (1 + (rng.random(n_shots) < 0.2))
    flags: Flags = rng.random((n_shots, len(SOUNDS))).argsort(1).argsort(1) < n_sounds[:, None]
    return flags


def near_miss(shots: Shots, rng: np.random.Generator) -> Shots:
    """The same but for one value of one thing, or the sounds. Rarely, where nothing else may be, the same."""
    missed, left = shots, np.ones(len(shots.there), bool)
    for _ in range(_TRIES):
        changed = _change(shots, rng)
        n_things = ((changed.values[..., _COUNT] + 1) * changed.there).sum(1)
        fits = left & changed.may_be_trained() & ~changed.equal(shots) & (n_things <= 3)
        missed, left = changed.where(fits, missed), left & ~fits
    return missed


def _change(shots: Shots, rng: np.random.Generator) -> Shots:
    n_shots, values = len(shots.there), shots.values.copy()
    rows, which = np.arange(n_shots), rng.integers(0, 2, n_shots) * shots.there[:, 1]
    field = rng.choice(len(FIELDS), n_shots, p=_CHANGED)
    turned = _REVERSED[values[rows, which, _MOTION]]
    new = np.where((field == _MOTION) & (rng.random(n_shots) < _TURNED), turned, rng.integers(0, _SIZES[field]))
    sounds = (rng.random(n_shots) < _SOUND_CHANGED) | ~shots.there.any(1)
    values[rows, which, field] = np.where(sounds, values[rows, which, field], new)
    heard = np.where(sounds[:, None], _draw_sounds(n_shots, rng, silent=0.0), shots.sounds)
    return Shots(values, shots.there, heard)


def exchanged(shots: Shots, rng: np.random.Generator) -> Shots:
    """An attribute of each of two things given to the other; a near miss where that cannot be."""
    rows, field = np.arange(len(shots.there)), rng.integers(0, len(FIELDS), len(shots.there))
    values = shots.values.copy()
    values[rows, 0, field], values[rows, 1, field] = shots.values[rows, 1, field], shots.values[rows, 0, field]
    twisted = replace(shots, values=values)
    fits = shots.there.all(1) & twisted.may_be_trained() & ~twisted.equal(shots)
    return twisted.where(fits, near_miss(shots, rng))


def moving_otherwise(shots: Shots, rng: np.random.Generator) -> Shots:
    """The same with another motion of the first thing; other shots where that cannot be."""
    values = shots.values.copy()
    values[:, 0, _MOTION] = rng.integers(0, len(MOTIONS), len(values))
    moved = replace(shots, values=values)
    fits = shots.there[:, 0] & moved.may_be_trained() & ~moved.equal(shots)
    return moved.where(fits, draw_shots(len(values), rng))


def some_of(shots: Shots, rng: np.random.Generator) -> Shots:
    """Claims of a random part, as `partial_caption` makes them; of all where nothing would be left."""
    values = np.where(rng.random(shots.values.shape) < 0.6, shots.values, -1)
    count = shots.values[..., _COUNT]
    counted = (values[..., _SHAPE] >= 0) | ((count > 0) & (rng.random(count.shape) < 0.5))  # "a circle" is one
    values[..., _COUNT] = np.where(counted, count, -1)
    there = shots.there & (rng.random(shots.there.shape) < 0.75) & (values >= 0).any(-1)
    part = Shots(values, there, shots.sounds & (rng.random(shots.sounds.shape) < 0.5))
    return part.where(_any(there) | _any(part.sounds), shots)


def _any(flags_NX: Flags) -> Flags:
    row: Flags = np.any(flags_NX, axis=1)
    return row


def first_thing(shots: Shots, fields: Sequence[int] = range(len(FIELDS))) -> Shots:
    """Claims of the first thing alone, of these fields alone; of the sounds where there is none."""
    told = np.isin(np.arange(len(FIELDS)), fields)
    there = shots.there & (np.arange(2) == 0)
    return Shots(np.where(told, shots.values, -1), there, shots.sounds & ~_any(there)[:, None])


def without_sounds(shots: Shots) -> Shots:
    """Claims of the things alone, where there are any."""
    return replace(shots, sounds=shots.sounds & ~_any(shots.there)[:, None])


def without_things(shots: Shots) -> Shots:
    """Claims of the sounds alone, where there are any."""
    return replace(shots, there=shots.there & ~_any(shots.sounds)[:, None])


@dataclass(frozen=True, slots=True)
class Imagined:
    """B clips and M captions, with what of these is so in which clip."""

    clips: Parts
    seconds: Floats  # [B, 2] of both shots; of one twice the whole window
    shares: Floats  # [B] of the first shot, as it was read
    captions: Parts
    whole: Flags  # [M] captions that leave nothing out
    held: Flags  # [B, M] all that is claimed is so somewhere in the clip,
    right: Flags  # [B, M] for half of it at least,
    unclear: Flags  # [B, M] or for a little less


def imagine(n_groups: int, cuts: Floats, rng: np.random.Generator) -> Imagined:
    """Groups of 13 clips around one scene: it, what is almost it, and these beside each other; 18 captions of each.

    Captions that would name what is held out are left out.
    `cuts` [K, 2] are to be drawn from: seconds of first shots, and the share that they were read to have.
    """
    one, other, far = (draw_shots(n_groups, rng) for _ in range(3))
    chance = rng.random(n_groups)
    other = moving_otherwise(one, rng).where(chance < 0.25, other)
    other = replace(other, sounds=np.where((chance > 0.75)[:, None], one.sounds, other.sounds))
    near, twisted = [near_miss(one, rng) for _ in range(4)], exchanged(one, rng)
    further = near_miss(near_miss(one, rng), rng)
    beside = near[1].where(rng.random(n_groups) < 1 / 3, further)
    pairs = [(one, other), (near[2], other), (near[3], beside), (far, one)]
    cut = [_either_way(first, last, rng) for first, last in pairs]
    alone = [one, near[0], near[1], twisted, other, near_miss(other, rng), further, far]
    sides = [*((shots, shots) for shots in alone), *cut, cut[0][::-1]]
    n_single = n_groups * len(alone)
    clips = _beside(sides, np.arange(n_groups * len(sides)) >= n_single)
    two, (first_s, share) = clips.n_shots == 2, rng.choice(cuts, len(clips.n_shots)).T
    seconds = np.where(two[:, None], np.stack([first_s, WINDOW_S - first_s], 1), WINDOW_S).astype(np.float32)
    clips.values[..., _MOTION] = np.where(seconds[..., None] < MOTION_TAKES_S, -1, clips.values[..., _MOTION])
    captions, whole = _claims(one, other, far, near, twisted, cut[0], rng)
    long, seen, both = seconds >= FILLS_S, seconds >= MOTION_TAKES_S, seconds > 0
    right, almost, held = hold_in(clips, captions, long, seen, both)
    return Imagined(
        clips, seconds, np.where(two, share, 0.5).astype(np.float32), captions, whole, held, right, almost & ~right
    )


def _claims(
    one: Shots,
    other: Shots,
    far: Shots,
    near: Sequence[Shots],
    twisted: Shots,
    cut: tuple[Shots, Shots],
    rng: np.random.Generator,
) -> tuple[Parts, Flags]:
    """Captions of what the groups show, and which are whole; none that names what is held out."""
    seen = (_COLOUR, _SHAPE, _COUNT)
    whole = [(one, one), cut, (near[0], near[0]), (twisted, twisted), cut[::-1]]
    parts = [some_of(shots, rng) for shots in (one, one, other, first_thing(near[0]), near[3])]
    parts += [first_thing(one, seen), first_thing(far, seen), without_sounds(one), first_thing(one)]
    parts += [without_things(shots) for shots in (other, one, far)]
    sides = [*whole, *((part, part) for part in parts), (some_of(cut[0], rng), some_of(cut[1], rng))]
    n_groups = len(one.there)
    two = np.repeat([number in (1, 4, len(sides) - 1) for number in range(len(sides))], n_groups)
    allowed = np.concatenate([first.may_be_trained() & last.may_be_trained() for first, last in sides])
    captions = _beside(sides, two)
    return captions.take(allowed), (np.arange(len(two)) < n_groups * len(whole))[allowed]


def _either_way(first: Shots, last: Shots, rng: np.random.Generator) -> tuple[Shots, Shots]:
    straight = rng.random(len(first.there)) < 0.5
    return first.where(straight, last), last.where(straight, first)


def _beside(sides: Sequence[tuple[Shots, Shots]], two: Flags) -> Parts:
    values, there, sounds = (
        np.concatenate([np.stack([getattr(shots, name) for shots in pair], 1) for pair in sides])
        for name in Shots.__slots__
    )
    return Parts(values, there, sounds, 1 + two.astype(np.int64))
