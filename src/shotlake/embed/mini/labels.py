"""What clips show and captions claim, as numbers: the parts that training asks for, and who matches whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.world.scenes import ATTRIBUTES, COUNTS, SOUNDS, Shown

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


def matches(shown: Sequence[Shown], claims: Sequence[Shown]) -> Flags:
    """[B, M]: all that caption m claims is so in clip b; the same as `shotlake.world.scenes.holds`, many at once."""
    return hold(parts_of(shown), parts_of(claims))


@dataclass(frozen=True, slots=True)
class Parts:
    """The two things and the sounds of the first and of the last shot of N clips or captions, which may be one."""

    values: Ids  # [N, 2, 2, fields] places in `FIELDS`, -1 where nothing is told
    there: Flags  # [N, 2, 2]
    sounds: Flags  # [N, 2, SOUNDS]
    n_shots: Ids  # [N]

    def take(self, rows: Ids | Flags) -> Parts:
        """Those of some rows."""
        return Parts(self.values[rows], self.there[rows], self.sounds[rows], self.n_shots[rows])


def parts_of(rows: Sequence[Shown]) -> Parts:
    """What training asks clips and captions for; things stand in the order in which they are shown."""
    parts = Parts(
        np.full((len(rows), 2, 2, len(FIELDS)), -1, np.int64),
        np.zeros((len(rows), 2, 2), bool),
        np.zeros((len(rows), 2, len(SOUNDS)), bool),
        np.array([len(shots) for shots in rows], np.int64),
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


def hold(clips: Parts, captions: Parts) -> Flags:
    """[B, M]: all that caption m claims is so in clip b."""
    (held,) = hold_in(clips, captions, np.ones((len(clips.n_shots), 2), bool))
    return held


def hold_in(clips: Parts, captions: Parts, *sides: Flags) -> list[Flags]:
    """For each choice of sides [B, 2]: [B, M] what one shot is claimed to show is so there; of two shots, anywhere."""
    exists = np.stack([clips.n_shots > side for side in (0, 1)], axis=1)
    first, last = (_side_holds(clips, side, captions, 0) & exists[:, [side]] for side in (0, 1))
    in_order = first & _side_holds(clips, 1, captions, 1) & exists[:, 1:]
    single = captions.n_shots == 1
    return [np.where(single, (first & chosen[:, :1]) | (last & chosen[:, 1:]), in_order) for chosen in sides]


def _side_holds(clips: Parts, side: int, captions: Parts, asked: int) -> Flags:
    """[B, M]: this side of each clip shows what that side of each caption claims."""
    code, _ = _packed(clips.values[:, None, side])
    wanted, mask = _packed(captions.values[None, :, asked])
    there, claimed = clips.there[:, None, side], captions.there[None, :, asked]
    fits = [
        [~claimed[..., i] | (there[..., j] & ((code[..., j] ^ wanted[..., i]) & mask[..., i] == 0)) for j in (0, 1)]
        for i in (0, 1)
    ]
    things = (fits[0][0] & fits[1][1]) | (fits[0][1] & fits[1][0])
    unheard = captions.sounds[:, asked].astype(np.float32) @ (~clips.sounds[:, side]).astype(np.float32).T
    return things & (unheard.T == 0)


def _packed(values: Ids) -> tuple[Ids, Ids]:
    """Each thing as one integer of a few bits a field, and the bits of the fields that are told."""
    full, shifts = (1 << _BITS) - 1, _BITS * np.arange(len(FIELDS))
    return ((values & full) << shifts).sum(-1), (np.where(values < 0, 0, full) << shifts).sum(-1)
