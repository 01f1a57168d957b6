"""From states to one vector, in two ways: while the towers learn, and once they rest.

Letters of shapes: N clips or texts, S six states, D the width; C two sides (how it begins, how it ends), T two things a
side, V values of all fields, H sounds, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shotlake.embed.mini.labels import FIELDS
from shotlake.world.scenes import SOUNDS

VALUE_SIZES = tuple(len(values) + 1 for values in FIELDS.values())
"""Of each field its values, and one more: not told."""

_SIZES = (*VALUE_SIZES, len(SOUNDS))
_CONJOINED = (0.12, 0.28, 0.2, 0.1, 0.05, 0.25)  # share of the units that multiply one field, two, and so on
_SIDE_UNITS, _RESERVE_UNITS = 128, 64
_DROPOUT = 0.1
_HARDLY_THERE = 0.02


class Perceptrons(nn.Module):
    """Of clips and of texts alike; which of two things comes first means nothing. Learns with the towers."""

    def __init__(self, dim: int, vector_dim: int) -> None:
        super().__init__()
        self.whole = nn.Linear(2 * dim, vector_dim)
        self.things = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, vector_dim))
            for _ in ("beginning", "end")
        )

    def forward(self, states_NSD: Tensor) -> Tensor:
        """[N, vector_dim], not normalised."""
        vector = self.whole(states_NSD[:, :2].flatten(1))
        for side, thing in enumerate(self.things):
            vector = vector + thing(states_NSD[:, 2 + 2 * side : 4 + 2 * side]).sum(1)
        return vector

    def say(self, states_NSD: Tensor) -> Tensor:
        """[N, vector_dim] of texts, not normalised: as of clips."""
        vectors: Tensor = self(states_NSD)
        return vectors


@dataclass(frozen=True, slots=True)
class Named:
    """What each state is said to be, as logits or as probabilities."""

    values_NCTV: Tensor  # the fields side by side, each with its values and "not told"
    there_NCT: Tensor
    sounds_NCH: Tensor
    share_N: Tensor  # of the time, that of the beginning

    def likely(self) -> Named:
        """Logits as probabilities."""
        fields = [field.softmax(-1) for field in by_field(self.values_NCTV)]
        return Named(torch.cat(fields, -1), self.there_NCT.sigmoid(), self.sounds_NCH.sigmoid(), self.share_N.sigmoid())


def by_field(values: Tensor) -> Sequence[Tensor]:
    """[..., V] values as one tensor a field."""
    return torch.split(values, list(VALUE_SIZES), -1)


class Naming(nn.Module):
    """States to logits of what they name; a thing is read beside the state of its side, sounds from both sides."""

    def __init__(self, dim: int, n_states: int) -> None:
        super().__init__()
        self.things = nn.ModuleList(_named_by(2 * dim, 1 + sum(VALUE_SIZES)) for _ in ("beginning", "end"))
        self.sounds = nn.ModuleList(_named_by(2 * dim, len(SOUNDS)) for _ in ("beginning", "end"))
        self.share = nn.Linear(n_states * dim, 1)

    def forward(self, states_NSD: Tensor) -> Named:
        """Logits."""
        things, sounds = [], []
        for side, (thing, sound) in enumerate(zip(self.things, self.sounds, strict=True)):
            states, beside = states_NSD[:, 2 + 2 * side : 4 + 2 * side], states_NSD[:, side]
            things.append(thing(torch.cat([states, beside[:, None].expand_as(states)], -1)))
            sounds.append(sound(states_NSD[:, :2].flatten(1)))
        said = torch.stack(things, 1)
        return Named(said[..., 1:], said[..., 0], torch.stack(sounds, 1), self.share(states_NSD.flatten(1))[:, 0])


def _named_by(dim: int, n_names: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(_DROPOUT), nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(dim, n_names)
    )


class Conjunctions(nn.Module):
    """What the states name, to a vector: units that multiply what is said of some of a thing's fields, and add up.

    A sum of values cannot tell a brown arrow from a brown crescent and a white arrow. A product over fields can, also
    for values that were never seen together, as it is made of what each field alone has learnt.

    The last value of a vector is a clip's zero and a text's reserve: of a text that says much, a clip that shows most
    of it is as near as one that shows all is to a text that says little, and the reserve lowers its scores.
    """

    def __init__(self, dim: int, n_states: int, vector_dim: int, n_units: int) -> None:
        super().__init__()
        self.naming = Naming(dim, n_states)
        self.fields = nn.ModuleList(nn.Linear(size, n_units) for size in _SIZES)
        self.things = nn.ModuleList(nn.Linear(n_units, vector_dim - 1) for _ in ("beginning", "end"))
        self.sides = nn.ModuleList(
            _perceptron(len(SOUNDS) + 1, _SIDE_UNITS, vector_dim - 1) for _ in ("beginning", "end")
        )
        self.loudness = nn.Linear(1, 1)
        self.reserve = _perceptron(vector_dim - 1, _RESERVE_UNITS, 1)
        self.register_buffer("match_score", torch.zeros(()))  # from which on a clip is an answer; 0: not measured
        self._begin(n_units)

    @torch.no_grad()
    def _begin(self, n_units: int) -> None:
        """A unit begins with noise for the fields that it multiplies, and with 1, whatever is said, for the others."""
        n_conjoined = 1 + torch.multinomial(torch.tensor(_CONJOINED), n_units, replacement=True)
        chosen_UF = torch.rand(n_units, len(_SIZES)).argsort(1).argsort(1) < n_conjoined[:, None]
        for field, chosen_U in zip(self.fields, chosen_UF.T, strict=True):
            weight, bias = field.parameters()
            weight.copy_(torch.randn_like(weight) * chosen_U[:, None])
            bias.copy_((~chosen_U).float())
        self.things[1].load_state_dict(self.things[0].state_dict())
        self.loudness.weight.fill_(1.0)
        self.loudness.bias.fill_(0.5)
        nn.init.constant_(self.reserve[-1].get_parameter("bias"), 2.0)

    def forward(self, states_NSD: Tensor) -> Tensor:
        """[N, vector_dim] of clips, not normalised."""
        return F.pad(self.join(self.naming(states_NSD).likely()), (0, 1))

    def say(self, states_NSD: Tensor) -> Tensor:
        """[N, vector_dim] of texts, normalised."""
        heard = self.hold_back(self.join(self.naming(states_NSD).likely()))
        return torch.cat([heard, (1 - heard.square().sum(1, keepdim=True)).clamp(min=0).sqrt()], 1)

    def join(self, named: Named) -> Tensor:
        """[N, vector_dim - 1] of probabilities; a side counts by its share of the time, however much it shows."""
        shares_NC = torch.stack([named.share_N, 1 - named.share_N], 1)[..., None]
        vector = torch.zeros_like(shares_NC[:, 0])
        for side, (thing, sounding) in enumerate(zip(self.things, self.sides, strict=True)):
            sounds_NH, there_NT = named.sounds_NCH[:, side], named.there_NCT[:, side]
            said = by_field(named.values_NCTV[:, side])
            units_NTU = torch.ones_like(there_NT)[..., None]
            for field, what in zip(self.fields, (*said, sounds_NH[:, None]), strict=True):
                units_NTU = units_NTU * field(what)
            seen_NT = there_NT * (there_NT > _HARDLY_THERE)
            shown = sounding(torch.cat([sounds_NH, shares_NC[:, side]], -1))
            shown = shown + (thing(units_NTU) * seen_NT[..., None]).sum(1)
            vector = vector + F.normalize(shown, dim=-1) * self.loudness(shares_NC[:, side])
        return vector

    def hold_back(self, vectors: Tensor) -> Tensor:
        """Vectors of texts, shorter than 1 by what is held in reserve."""
        unit = F.normalize(vectors, dim=-1)
        shortened: Tensor = unit * self.reserve(unit).sigmoid()
        return shortened


def _perceptron(dim_in: int, n_hidden: int, dim_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, dim_out))
