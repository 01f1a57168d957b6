"""What clips show and captions claim, as numbers: who matches whom, and the parts that training asks for.

A thing is one integer of a few bits a field, so that a claim holds where the bits that it states are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.world.scenes import ATTRIBUTES, COUNTS, SOUNDS, Shown, Thing

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]

FIELDS: dict[str, tuple[object, ...]] = {
    "colour": ATTRIBUTES["colour"],
    "texture": ATTRIBUTES["texture"],
    "shape": ATTRIBUTES["shape"],
    "motion": ATTRIBUTES["motion"],
    "count": COUNTS,
}
_BITS = 4


@dataclass(frozen=True, slots=True)
class _Packed:
    """N times two shots times two things; sounds as bits. A shot or thing that is not there has no `there`."""

    code: Ids  # [N, 2, 2]
    mask: Ids  # [N, 2, 2] the bits that are stated
    there: Flags  # [N, 2, 2]
    sounds: Ids  # [N, 2]
    n_shots: Ids  # [N]


def matches(shown: Sequence[Shown], claims: Sequence[Shown]) -> Flags:
    """[B, M]: all that caption m claims is so in clip b; the same as `shotlake.world.scenes.holds`, many at once."""
    clips, captions = _pack(shown), _pack(claims)
    single = captions.n_shots == 1
    first, last = (_shot_holds(clips, place, captions, 0) for place in (0, 1))
    in_order = first & _shot_holds(clips, 1, captions, 1)
    return np.where(single, first | last, in_order)


def _shot_holds(clips: _Packed, place: int, captions: _Packed, claim: int) -> Flags:
    """[B, M]: the shot at `place` of each clip shows what shot `claim` of each caption claims."""
    code, there = clips.code[:, None, place], clips.there[:, None, place]
    wanted, mask, asked = captions.code[None, :, claim], captions.mask[None, :, claim], captions.there[None, :, claim]
    fits = [
        [~asked[..., i] | (there[..., j] & ((code[..., j] ^ wanted[..., i]) & mask[..., i] == 0)) for j in (0, 1)]
        for i in (0, 1)
    ]
    things = (fits[0][0] & fits[1][1]) | (fits[0][1] & fits[1][0])
    heard, named = clips.sounds[:, None, place], captions.sounds[None, :, claim]
    exists = (clips.n_shots > place)[:, None]
    return things & (named & ~heard == 0) & exists


def _pack(rows: Sequence[Shown]) -> _Packed:
    code, mask = np.zeros((len(rows), 2, 2), np.int64), np.zeros((len(rows), 2, 2), np.int64)
    there, sounds = np.zeros((len(rows), 2, 2), bool), np.zeros((len(rows), 2), np.int64)
    for row, shots in enumerate(rows):
        for place, shot in enumerate(shots):
            sounds[row, place] = sum(1 << SOUNDS.index(sound) for sound in shot.sounds)
            for number, thing in enumerate(shot.things):
                code[row, place, number], mask[row, place, number] = _pack_thing(thing)
                there[row, place, number] = True
    return _Packed(code, mask, there, sounds, np.array([len(shots) for shots in rows], np.int64))


def _pack_thing(thing: Thing) -> tuple[int, int]:
    """Its values, all bits set where there is none, and the bits of the fields that have one."""
    code, mask, full = 0, 0, (1 << _BITS) - 1
    for place, (name, values) in enumerate(FIELDS.items()):
        value = getattr(thing, name)
        code |= (full if value is None else values.index(value)) << (_BITS * place)
        mask |= 0 if value is None else full << (_BITS * place)
    return code, mask


@dataclass(frozen=True, slots=True)
class Parts:
    """The two things and the sounds of the first and of the last shot of N clips or captions, which may be one."""

    values: Ids  # [N, 2, 2, fields] places in `FIELDS`, -1 where nothing is told
    there: Flags  # [N, 2, 2]
    sounds: Flags  # [N, 2, SOUNDS]


def parts_of(rows: Sequence[Shown]) -> Parts:
    """What training asks clips and captions for; things stand in the order in which they are shown."""
    parts = Parts(
        np.full((len(rows), 2, 2, len(FIELDS)), -1, np.int64),
        np.zeros((len(rows), 2, 2), bool),
        np.zeros((len(rows), 2, len(SOUNDS)), bool),
    )
    for row, shots in enumerate(rows):
        for side, shot in enumerate((shots[0], shots[-1]) if shots else ()):
            for number, thing in enumerate(shot.things):
                told = [getattr(thing, name) for name in FIELDS]
                parts.there[row, side, number] = True
                parts.values[row, side, number] = [
                    -1 if value is None else values.index(value)
                    for value, values in zip(told, FIELDS.values(), strict=True)
                ]
            parts.sounds[row, side, [SOUNDS.index(sound) for sound in shot.sounds]] = True
    return parts
