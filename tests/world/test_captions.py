"""Captions say what they claim, no more and no less."""

import numpy as np
import pytest

from shotlake.world.captions import (
    MOTION_WORDS,
    SOUND_WORDS,
    Claims,
    full_caption,
    one_attribute_captions,
    partial_caption,
    plain_caption,
    tuning_captions,
    vocabulary,
    words,
)
from shotlake.world.scenes import ATTRIBUTES, COLOURS, SHAPES, draw_scene


def read_claims(text: str) -> dict[str, str]:
    """An independent reader: looks the phrases up, longest first."""
    found: dict[str, str] = {}
    said = " ".join(words(text))
    phrases = {" ".join(words(text)): ("sound", name) for name, texts in SOUND_WORDS.items() for text in texts}
    phrases |= {text: ("motion", name) for name, texts in MOTION_WORDS.items() for text in texts}
    phrases |= {name: ("colour", name) for name in COLOURS} | {name: ("shape", name) for name in SHAPES}
    for phrase in sorted(phrases, key=len, reverse=True):
        if f" {phrase} " in f" {said} ":
            attribute, value = phrases[phrase]
            said = f" {said} ".replace(f" {phrase} ", " | ", 1)
            assert attribute not in found, f"{text!r} names two values for {attribute}"
            found[attribute] = value
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_caption_can_be_read_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(300):
        attributes = draw_scene(rng, silent_ratio=0.2).attributes
        for caption in (full_caption(attributes, rng), partial_caption(attributes, rng), plain_caption(attributes)):
            assert read_claims(caption.text) == dict(caption.claims)


def test_partial_captions_leave_out_and_full_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    attributes = draw_scene(rng).attributes
    sizes = {len(partial_caption(attributes, rng).claims) for _ in range(60)}
    assert sizes == {1, 2, 3, 4}
    assert full_caption(attributes, rng).claims == attributes


def test_one_attribute_captions_follow_the_vocabulary() -> None:
    claims: list[Claims] = [caption.claims for caption in one_attribute_captions(np.random.default_rng(0))]
    assert claims == [{name: value} for name, values in ATTRIBUTES.items() for value in values]


def test_plain_captions_are_plain() -> None:
    claims = {"colour": "orange", "shape": "ring", "motion": "left", "sound": "low tone"}
    assert plain_caption(claims).text == "an orange ring moving left with a low tone"
    assert plain_caption({"sound": "clicks"}).text == "clicks"
    assert plain_caption({"motion": "up"}).text == "a shape moving up"


def test_every_word_is_in_the_vocabulary_and_none_is_idle() -> None:
    texts = [text for seed in range(5) for text in tuning_captions(600, seed)]
    assert {word for text in texts for word in words(text)} == set(vocabulary())


def test_tuning_captions_are_many_different_and_the_same_each_time() -> None:
    texts = tuning_captions()
    assert len(set(texts)) == len(texts) >= 500
    assert texts == tuning_captions()
