"""From states to vectors: what is named, what products over fields can tell, and what a text holds in reserve."""

import pytest
import torch

from shotlake.embed.mini.meaning import VALUE_SIZES, Conjunctions, Named, Perceptrons
from shotlake.embed.mini.model import MiniModel, MiniShape
from shotlake.world.scenes import SOUNDS


@pytest.fixture(scope="module")
def conjunctions() -> Conjunctions:
    torch.manual_seed(0)
    return Conjunctions(dim=16, n_states=6, vector_dim=256, n_units=512).eval()


def named(*sides: list[tuple[int, ...]], sounds: tuple[int, ...] = (), share: float = 0.5) -> Named:
    """One clip, certain of everything: things by the places of their values."""
    values, there = torch.zeros(1, 2, 2, sum(VALUE_SIZES)), torch.zeros(1, 2, 2)
    for side, things in enumerate(sides if len(sides) == 2 else sides * 2):
        for number, thing in enumerate(things):
            there[0, side, number] = 1.0
            start = 0
            for value, size in zip(thing, VALUE_SIZES, strict=True):
                values[0, side, number, start + value % size] = 1.0
                start += size
    heard = torch.zeros(1, 2, len(SOUNDS))
    heard[:, :, list(sounds)] = 1.0
    return Named(values, there, heard, torch.tensor([share]))


@torch.inference_mode()
def nearness(conjunctions: Conjunctions, one: Named, other: Named) -> float:
    return float(torch.cosine_similarity(conjunctions.join(one), conjunctions.join(other)))


BROWN_ARROW, BROWN_HEART, WHITE_ARROW, WHITE_HEART = (
    (colour, 0, shape, 0, 0) for colour, shape in ((8, 8), (8, 6), (9, 8), (9, 6))
)


def test_which_of_two_things_comes_first_means_nothing(conjunctions: Conjunctions) -> None:
    one, other = (named(list(things)) for things in ((BROWN_ARROW, WHITE_HEART), (WHITE_HEART, BROWN_ARROW)))
    assert nearness(conjunctions, one, other) == pytest.approx(1.0, abs=1e-5)


def test_products_tell_who_has_which_before_anything_is_learnt(conjunctions: Conjunctions) -> None:
    """A sum of values cannot: both pairs have the same colours and the same shapes."""
    right, crossed = named([BROWN_ARROW, WHITE_HEART]), named([BROWN_HEART, WHITE_ARROW])
    assert nearness(conjunctions, right, crossed) < 0.97


def test_a_shot_counts_by_its_time_and_not_by_how_much_it_shows(conjunctions: Conjunctions) -> None:
    alone = named([BROWN_ARROW])
    beside_one, beside_two = (named([BROWN_ARROW], last) for last in ([WHITE_HEART], [WHITE_HEART, (2, 1, 3, 4, 0)]))
    beside = [nearness(conjunctions, alone, clip) for clip in (beside_one, beside_two)]
    assert beside[0] == pytest.approx(beside[1], abs=0.12)
    long, short = (named([BROWN_ARROW], [WHITE_HEART], share=share) for share in (0.9, 0.1))
    assert nearness(conjunctions, alone, long) > nearness(conjunctions, alone, short)


@torch.inference_mode()
def test_a_text_holds_a_reserve_and_a_clip_none(conjunctions: Conjunctions) -> None:
    states = torch.randn(3, 6, 16)
    clips, texts = conjunctions(states), conjunctions.say(states)
    assert clips.shape == texts.shape == (3, 256)
    assert not clips[:, -1].any() and (texts[:, -1] > 0).all()
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(torch.cosine_similarity(clips[:, :-1], texts[:, :-1]), torch.ones(3))


@torch.inference_mode()
def test_both_meanings_fit_into_a_network() -> None:
    states = torch.randn(2, 6, 128)
    for meaning, kind in (("perceptrons", Perceptrons), ("conjunctions", Conjunctions)):
        model = MiniModel(MiniShape(n_pieces=20, vector_dim=64, meaning=meaning, n_units=32)).eval()  # type: ignore[arg-type]
        assert isinstance(model.meaning, kind)
        assert model.project(states).shape == model.say(states).shape == (2, 64)
