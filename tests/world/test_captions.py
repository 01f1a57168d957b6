"""Captions say what they claim, no more and no less, in English."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from shotlake.world import words as lexicon
from shotlake.world.captions import (
    one_attribute_captions,
    partial_caption,
    plain_caption,
    tuning_captions,
    vocabulary,
    words,
    write_caption,
)
from shotlake.world.scenes import ATTRIBUTES, Shot, Shown, Thing, draw_sounds, draw_thing, holds
from shotlake.world.sentences import Voice


def phrases() -> Iterator[tuple[str, str, str]]:
    """(phrase, attribute, value) of every word that claims something."""
    for table in (lexicon.SOUND_WORDS, lexicon.UNHEARD_SOUNDS):
        yield from ((text, "sound", name) for name, texts in table.items() for text in texts)
    for table in (lexicon.MOTION_WORDS, lexicon.UNHEARD_MOTIONS):
        yield from ((form, "motion", name) for name, verbs in table.items() for verb in verbs for form in verb)
    yield from ((text, "colour", name) for name, texts in lexicon.COLOUR_WORDS.items() for text in texts)
    yield from (
        (form, "texture", name) for name, forms in lexicon.TEXTURE_WORDS.items() for pair in forms for form in pair
    )
    yield from ((form, "shape", name) for name, forms in lexicon.SHAPE_WORDS.items() for pair in forms for form in pair)


def read_values(text: str) -> list[tuple[str, str]]:
    """An independent reader: every value named, longest phrases first; what circles, and what are circles."""
    said, found = f" {' '.join(words(text))} ", []
    said = re.sub(r" (two|three) ((?:\w+ ){0,2}?)circles ", r" \1 \2disc ", said)
    for phrase, attribute, value in sorted(phrases(), key=lambda entry: -len(entry[0])):
        while f" {phrase} " in said:
            said = said.replace(f" {phrase} ", " | ", 1)
            found.append((attribute, value))
    return sorted(found)


def claimed_values(claims: Shown) -> list[tuple[str, str]]:
    found = [("sound", sound) for shot in claims for sound in shot.sounds]
    for thing in (thing for shot in claims for thing in shot.things):
        values = {name: getattr(thing, name) for name in ("colour", "texture", "shape", "motion")}
        found += [(name, value) for name, value in values.items() if value]
    return sorted(found)


def draw_shown(rng: np.random.Generator) -> Shown:
    shots = []
    for _ in range(int(rng.integers(1, 3))):
        things = tuple(draw_thing(rng, int(rng.integers(1, 4))) for _ in range(int(rng.integers(1, 3))))
        shots.append(Shot(things, draw_sounds(rng, 0.3)))
    return tuple(shots)


@pytest.mark.parametrize("voice", ["plain", "heard", "unheard"])
def test_a_caption_can_be_read_back(voice: Voice) -> None:
    rng = np.random.default_rng(1)
    for _ in range(250):
        shown = (Shot((draw_thing(rng, int(rng.integers(1, 4))),), draw_sounds(rng, 0.3, double_ratio=0)),)
        assert read_values(write_caption(shown, rng, voice).text) == claimed_values(shown)


def test_partial_captions_are_true_and_never_empty() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        shown = draw_shown(rng)
        caption = partial_caption(shown, rng)
        assert caption is not None and holds(caption.claims, shown) and caption.text
        assert all(shot != Shot() and Thing() not in shot.things for shot in caption.claims)
    assert partial_caption((Shot(),), rng) is None


def test_a_noun_is_counted() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        caption = partial_caption(draw_shown(rng), rng)
        assert caption is not None
        assert all(thing.count is not None for shot in caption.claims for thing in shot.things if thing.shape)


def test_one_attribute_captions_follow_the_vocabulary() -> None:
    claims = [caption.claims for caption in one_attribute_captions(np.random.default_rng(0))]
    named = [(name, value) for name, values in ATTRIBUTES.items() for value in values]
    assert [claimed_values(claim) for claim in claims] == [[pair] for pair in named]


ORANGE = Thing("orange", "plain", "ring", "left", 1)
PAIR = Thing("blue", "striped", "star", "growing", 2)


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ((Shot((ORANGE,), ("low tone",)),), "a plain orange ring moving left with a low tone"),
        ((Shot(sounds=("clicks",)),), "clicks"),
        ((Shot((Thing(motion="up"),)),), "something moving up"),
        ((Shot((PAIR, ORANGE)),), "two striped blue stars growing and a plain orange ring moving left"),
        (
            (Shot((ORANGE,), ("bell",)), Shot((PAIR,), ("hiss", "buzz"))),
            "a plain orange ring moving left with a bell, then two striped blue stars growing with a hiss and a buzz",
        ),
        (
            (Shot((ORANGE,)), Shot((Thing("orange", "plain", "ring", "up", 1),))),
            "a plain orange ring moving left, then moving up",
        ),
        ((Shot((Thing(shape="arrow", count=1),)),), "an arrow"),
        ((Shot((Thing(colour="red", count=3),)),), "three red shapes"),
    ],
)
def test_plain_captions_are_plain(claims: Shown, text: str) -> None:
    assert plain_caption(claims).text == text


def test_numbers_agree_with_their_nouns_and_verbs() -> None:
    rng = np.random.default_rng(6)
    several = "|".join(word for forms in lexicon.SHAPE_WORDS.values() for _, word in forms)
    for _ in range(600):
        for text in (write_caption(draw_shown(rng), rng).text, write_caption(draw_shown(rng), rng, "unheard").text):
            assert not re.search(r"\bthere is (two|three)\b|\bthere are an?\b", text), text
            assert not re.search(rf"\b(two|three) (\w+ ){{0,2}}({several}) (is|that is|moves|does)\b", text), text
            assert not re.search(r"\ban? [^aeiou ]\w* \ban? |\ba [aeiou]|\ban [^aeiou]|  ", text), text


def test_order_is_told_whichever_is_mentioned_first() -> None:
    rng = np.random.default_rng(7)
    first, second = Shot((Thing(shape="star", count=1),)), Shot((Thing(shape="heart", count=1),))
    for _ in range(100):
        text = write_caption((first, second), rng).text
        star_first = text.index("star") < text.index("heart")
        assert star_first == (" after a star" not in text and not text.startswith("after a heart")), text


def test_unheard_phrases_are_new_and_made_of_heard_words() -> None:
    rng = np.random.default_rng(8)
    heard = {
        text for _ in range(3000) for text in [write_caption((Shot((draw_thing(rng),), draw_sounds(rng)),), rng).text]
    }
    known = {word for text in heard for word in words(text)}
    known |= {word for _ in range(300) for word in words(write_caption(draw_shown(rng), rng).text)}
    unheard = [write_caption((Shot((draw_thing(rng),), draw_sounds(rng)),), rng, "unheard").text for _ in range(300)]
    assert not heard & set(unheard)
    assert {word for text in unheard for word in words(text)} <= known


def test_every_word_is_in_the_vocabulary() -> None:
    rng, known = np.random.default_rng(9), set(vocabulary())
    for _ in range(500):
        for voice in ("plain", "heard", "unheard"):
            assert set(words(write_caption(draw_shown(rng), rng, voice).text)) <= known


def test_tuning_captions_are_many_different_and_the_same_each_time() -> None:
    texts = tuning_captions()
    assert len(set(texts)) == len(texts) >= 500
    assert texts == tuning_captions()
