"""The losses want what they say, and every part of them reaches the weights."""

import numpy as np
import pytest
import torch

from shotlake.embed.mini.examples import draw_training
from shotlake.embed.mini.labels import FIELDS
from shotlake.embed.mini.losses import (
    Trainee,
    batch_loss,
    contrast,
    even_cross_entropy,
    parts_loss,
    told,
    write_captions,
)
from shotlake.embed.mini.model import MiniShape
from shotlake.embed.mini.split import drawer
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.windows import draw_window, shown_in
from shotlake.world.captions import vocabulary
from shotlake.world.scenes import Shot, Thing, holds


def test_contrast_wants_every_right_answer_and_leaves_out_rows_without() -> None:
    match = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    right = torch.where(match, 9.0, -9.0)
    assert contrast(right, match) < 1
    assert contrast(-right, match) > 9
    only_one = right.clone()
    only_one[0, 1] = -9.0
    assert contrast(only_one, match) > contrast(right, match) + 1
    assert torch.isfinite(contrast(right, match))


def test_no_right_answer_costs_nothing() -> None:
    nothing = even_cross_entropy(torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.bool))
    assert nothing == 0


def test_captions_of_training_hold_and_foils_do_not() -> None:
    rng = np.random.default_rng(1)
    shown = draw_training(drawer("train"), 32, rng).shown
    whole, partial, foils, _ = write_captions(shown, rng, hard=True)
    telling = [shots for shots in map(told, shown) if shots]
    assert len(whole) == len(partial) == len(telling)
    for caption, part, shots in zip(whole, partial, telling, strict=True):
        assert caption.claims == shots and holds(part.claims, shots)
    assert len(foils) >= 10 and not any(holds(foil.claims, shown[row]) for row, foil in foils.items())
    assert told((Shot(), Shot(sounds=("hiss",)))) == (Shot(sounds=("hiss",)),)


@pytest.fixture(scope="module")
def loss() -> tuple[Trainee, dict[str, float]]:
    torch.manual_seed(0)
    tokenizer = Tokenizer(vocabulary(), 56)
    trainee, rng = Trainee(MiniShape(tokenizer.n_pieces)), np.random.default_rng(2)
    imagined = [shown_in(draw_window("pair", drawer("train"), rng)) for _ in range(4)]
    total, parts = batch_loss(trainee, tokenizer, draw_training(drawer("train"), 8, rng), imagined, rng, hard=True)
    total.backward()
    return trainee, parts


def test_a_loss_has_its_parts_and_every_weight_a_gradient(loss: tuple[Trainee, dict[str, float]]) -> None:
    trainee, parts = loss
    assert parts.keys() == {"whole", "partial", "foil", "told_apart", "prompt", "parts", "text_parts"} and all(
        np.isfinite(list(parts.values()))
    )
    idle = [name for name, parameter in trainee.named_parameters() if parameter.grad is None]
    assert idle == []


def test_two_things_may_be_named_either_way_round_but_not_with_attributes_exchanged() -> None:
    star, bar = Thing("red", "plain", "star", "left", 1), Thing("blue", "dotted", "bar", "up", 2)
    trainee = Trainee(MiniShape(n_pieces=5))
    with torch.no_grad():
        for number, (head, values) in enumerate(zip(trainee.fields, FIELDS.values(), strict=True)):
            head.weight.zero_()
            head.bias.zero_()
            head.weight[: len(values), 16 * number : 16 * number + len(values)] = 9 * torch.eye(len(values))

    def state(thing: Thing) -> torch.Tensor:
        found = torch.zeros(128)
        for number, (name, values) in enumerate(FIELDS.items()):
            found[16 * number + values.index(getattr(thing, name))] = 1
        return found

    def cost(*things: Thing) -> float:
        nothing = torch.zeros(128)
        states = torch.stack([nothing, nothing, *map(state, things * 2)])[None]
        return parts_loss(trainee, states, [(Shot((star, bar)),)]).item()

    mixed = Thing("blue", "plain", "star", "left", 1), Thing("red", "dotted", "bar", "up", 2)
    assert cost(star, bar) == pytest.approx(cost(bar, star), abs=1e-4)
    assert cost(*mixed) > cost(star, bar) + 10
