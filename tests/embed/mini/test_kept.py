"""Kept states are those of the network, with what is true of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shotlake.embed.mini.encoder import MINI_FOLDER
from shotlake.embed.mini.examples import as_tensors, render_training
from shotlake.embed.mini.files import find_weights, load_weights
from shotlake.embed.mini.kept import DRAWN, Kept, draw_kept, join, keep, keep_many, write_kept
from shotlake.embed.mini.split import is_trained
from shotlake.embed.mini.text import Tokenizer
from shotlake.world.scenes import Shot, Thing, holds

SEED = (3, 5, 0)
RED, BLUE = Thing("red", "plain", "star", "left", 1), Thing("blue", "dotted", "bar", "up", 2)


@pytest.fixture(scope="module")
def kept() -> Kept:
    model, words = load_weights(find_weights(MINI_FOLDER))
    return keep(model, Tokenizer(words, model.shape.max_words), SEED)


@torch.no_grad()
def test_states_are_those_of_the_clips_that_training_draws(kept: Kept) -> None:
    model, _ = load_weights(find_weights(MINI_FOLDER))
    rng = np.random.default_rng(SEED)
    windows = draw_kept(rng)
    examples = render_training(windows, rng)
    states = model.fuse(model.tokens(*as_tensors(examples, slice(0, 4))))
    torch.testing.assert_close(kept.clips_NSD[:4].float(), states, atol=2e-2, rtol=2e-2)
    assert kept.shown == examples.shown and kept.clips_NSD.shape == (DRAWN, 6, model.shape.dim)
    for shown, seconds in zip(kept.shown, kept.seconds, strict=True):
        assert seconds.sum() == pytest.approx(2.0 if len(shown) == 2 else 4.0)
    assert len(kept.claims) == len(kept.captions_MSD)
    assert all(is_trained(claims) and any(holds(claims, shown) for shown in kept.shown) for claims in kept.claims)


def test_captions_are_of_all_and_of_each_shot() -> None:
    both = Shot((RED,), ("hiss",)), Shot((BLUE,), ("bell",))
    claims = [caption.claims for caption in write_kept(both, np.random.default_rng(0))]
    assert claims[:3] == [both, both[:1], both[1:]] and len(claims) == 9
    assert all(holds(claim, both) for claim in claims)
    assert write_kept((Shot(),), np.random.default_rng(0)) == []


def test_processes_keep_what_one_does(kept: Kept) -> None:
    weights: Path = find_weights(MINI_FOLDER)
    many = keep_many(weights, DRAWN + 1, SEED[0], n_processes=2)
    assert len(many.shown) == 2 * DRAWN
    assert many.shown[:DRAWN] == kept.shown and many.claims[: len(kept.claims)] == kept.claims
    torch.testing.assert_close(many.clips_NSD[:DRAWN].float(), kept.clips_NSD.float(), atol=2e-2, rtol=2e-2)
    assert join([kept, kept]).claims == (*kept.claims, *kept.claims)
