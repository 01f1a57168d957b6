"""What a naming says where something is so: as right and as wrong as it was about kept clips or captions.

An imagined clip is named by drawing, for each of its values, the answer that was given to some real clip with that
value; so the doubts that meet are as real as each alone, in more combinations than could be painted.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shotlake.embed.mini.imagined import FILLS_S, Floats
from shotlake.embed.mini.labels import Flags, Ids, Parts
from shotlake.embed.mini.meaning import VALUE_SIZES, Named, by_field
from shotlake.embed.mini.windows import MOTION_TAKES_S
from shotlake.world.scenes import SOUNDS

_N_CONDITIONS = 5  # a thing alone, beside another; in a shot of two that is long, shorter, short
_N_DRAWN = 256  # answers of each kind that are drawn from
_FEW = 12  # of so few, those of other conditions are drawn too


class Answers:
    """Answers to what was so. What was never met is answered rightly."""

    def __init__(self, likely: Named, truth: Parts, seconds_NC: Floats, rng: np.random.Generator) -> None:
        conditions = _conditions(truth, seconds_NC)
        of_things, there = np.repeat(conditions[..., None], 2, -1), truth.there
        self.share_N = likely.share_N.numpy()
        self.fields = [
            _Drawer(
                field.numpy()[there],
                _labels(truth, number)[there],
                of_things[there],
                np.eye(size, dtype=np.float32),
                rng,
            )
            for number, (size, field) in enumerate(zip(VALUE_SIZES, by_field(likely.values_NCTV), strict=True))
        ]
        self.there = _Drawer(
            likely.there_NCT.numpy().reshape(-1, 1), there.ravel() * 1, of_things.ravel(), np.array([[0.0], [1.0]]), rng
        )
        self.sounds = _Drawer(
            likely.sounds_NCH.numpy().reshape(-1, len(SOUNDS)),
            _sets(truth.sounds).ravel(),
            conditions.ravel(),
            _ALL_SETS,
            rng,
        )

    def draw(self, truth: Parts, seconds_NC: Floats, share_N: Floats, rng: np.random.Generator) -> Named:
        """As probabilities, what might be said of these."""
        conditions = _conditions(truth, seconds_NC)
        of_things = np.repeat(conditions[..., None], 2, -1)
        values = [drawer.draw(_labels(truth, number), of_things, rng) for number, drawer in enumerate(self.fields)]
        there = self.there.draw(truth.there * 1, of_things, rng)[..., 0]
        sounds = self.sounds.draw(_sets(truth.sounds), conditions, rng)
        columns = (np.concatenate(values, -1), there, sounds, share_N)
        return Named(*(torch.from_numpy(column.astype(np.float32)) for column in columns))


class _Drawer:
    """Rows of answers by label and condition."""

    def __init__(
        self,
        answers_RW: Floats,
        labels_R: Ids,
        conditions_R: Ids,
        right_LW: NDArray[np.floating],
        rng: np.random.Generator,
    ) -> None:
        self.answers = np.concatenate([answers_RW, right_LW.astype(np.float32)])
        self.rows = np.empty((len(right_LW), _N_CONDITIONS, _N_DRAWN), np.int64)
        for label in range(len(right_LW)):
            met = np.nonzero(labels_R == label)[0]
            for condition in range(_N_CONDITIONS):
                like = met[conditions_R[met] == condition]
                drawn_from = like if len(like) >= _FEW else met if len(met) else [len(answers_RW) + label]
                self.rows[label, condition] = rng.choice(drawn_from, _N_DRAWN)

    def draw(self, labels: Ids, conditions: Ids, rng: np.random.Generator) -> Floats:
        """[..., W] one answer each."""
        drawn: Floats = self.answers[self.rows[labels, conditions, rng.integers(0, _N_DRAWN, labels.shape)]]
        return drawn


def _labels(truth: Parts, field: int) -> Ids:
    """[N, 2, 2] places of the field's values; the last one is "not told"."""
    places: Ids = truth.values[..., field] % VALUE_SIZES[field]
    return places


def _conditions(truth: Parts, seconds_NC: Floats) -> Ids:
    """[N, 2] under which a side was read."""
    cut = 2 + (seconds_NC < FILLS_S) + (seconds_NC < MOTION_TAKES_S)
    return np.where((truth.n_shots == 2)[:, None], cut, truth.there.all(-1) * 1)


def _every_set() -> Floats:
    """[79, SOUNDS]: none, each, each two."""
    eye = np.eye(len(SOUNDS), dtype=np.float32)
    first, second = np.triu_indices(len(SOUNDS), 1)
    return np.concatenate([np.zeros((1, len(SOUNDS)), np.float32), eye, eye[first] + eye[second]])


_ALL_SETS = _every_set()
_BITS = 1 << np.arange(len(SOUNDS))
_SET_OF = np.zeros(1 << len(SOUNDS), np.int64)
_SET_OF[(_ALL_SETS.astype(np.int64) * _BITS).sum(1)] = np.arange(len(_ALL_SETS))


def _sets(sounds: Flags) -> Ids:
    """Places of these sounds among all sets."""
    places: Ids = _SET_OF[(sounds * _BITS).sum(-1)]
    return places
