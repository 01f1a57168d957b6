"""The split does not leak, and every value is in every part."""

from collections import Counter

import numpy as np

from shotlake.embed.mini.examples import draw_training
from shotlake.embed.mini.losses import write_captions
from shotlake.embed.mini.split import HELD_PAIRS, PAIR_SHARES, drawer, is_trained, part_of
from shotlake.world.scenes import ATTRIBUTES, Shot, Thing, draw_thing


def test_every_thing_has_one_part_and_the_shares_are_as_stated() -> None:
    rng = np.random.default_rng(0)
    parts = Counter(part_of(draw_thing(rng)) for _ in range(4000))
    assert parts.keys() == {"train", "validation", "test pair", "test combination"}
    assert 0.10 < parts["test pair"] / 4000 < 0.19 and 0.05 < parts["validation"] / 4000 < 0.11
    assert 0.65 < parts["train"] / 4000 < 0.76


def test_a_held_pair_is_held_whatever_the_rest_is_and_whatever_is_left_open() -> None:
    thing = drawer("test pair")(np.random.default_rng(1), 1)
    held = [names for names in HELD_PAIRS if part_of(Thing(**{n: getattr(thing, n) for n in names})) == "test pair"]
    assert held
    assert not is_trained((Shot((thing,)),)) and is_trained((Shot((Thing(colour=thing.colour),), ("hiss",)),))


def test_no_part_lacks_a_value() -> None:
    rng = np.random.default_rng(2)
    for part in ("train", "validation", "test pair", "test combination"):
        drawn = [drawer(part)(rng, 1) for _ in range(400)]
        assert all(part_of(thing) == part for thing in drawn)
        if part in ("train", "test combination"):
            for name in ("colour", "texture", "shape", "motion"):
                assert {getattr(thing, name) for thing in drawn} == set(ATTRIBUTES[name])


def test_training_neither_shows_nor_names_what_is_held_out() -> None:
    assert set(PAIR_SHARES) == {"test pair", "validation"}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        examples = draw_training(drawer("train"), 64, rng)
        assert all(is_trained(shown) for shown in examples.shown)
        whole, partial, foils, _ = write_captions(examples.shown, rng, hard=True)
        assert all(is_trained(caption.claims) for caption in (*whole, *partial, *foils.values()))
