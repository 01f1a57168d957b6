"""English for scenes: whole captions, captions that leave something out, one-attribute captions, and what they claim.

A caption is (text, claims): the text never says more than the claims, so truth is decided by the claims alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shotlake.world.scenes import ATTRIBUTES, draw_scene


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


MOTION_WORDS: dict[str, tuple[str, ...]] = {
    "still": ("standing still", "not moving", "motionless", "still"),
    "left": ("moving left", "going to the left", "moving to the left", "travelling left"),
    "right": ("moving right", "going to the right", "moving to the right", "travelling right"),
    "up": ("moving up", "rising up", "going up", "moving upwards"),
    "down": ("moving down", "sinking down", "going down", "moving downwards"),
    "circling clockwise": ("circling clockwise", "going around clockwise", "orbiting clockwise"),
    "circling counterclockwise": (
        "circling counterclockwise",
        "circling anticlockwise",
        "going around counterclockwise",
        "orbiting counterclockwise",
    ),
    "spinning clockwise": ("spinning clockwise", "rotating clockwise", "turning clockwise"),
    "spinning counterclockwise": (
        "spinning counterclockwise",
        "spinning anticlockwise",
        "rotating counterclockwise",
        "turning counterclockwise",
    ),
    "growing": ("growing", "getting bigger", "getting larger"),
    "shrinking": ("shrinking", "getting smaller"),
    "bouncing": ("bouncing", "jumping"),
}
SOUND_WORDS: dict[str, tuple[str, ...]] = {
    "low tone": ("a low tone", "a low hum", "a deep tone"),
    "high tone": ("a high tone", "a high whistle", "a high pitched tone"),
    "beeps": ("beeps", "a beeping sound", "repeated beeps"),
    "hiss": ("a hiss", "hissing noise", "white noise"),
    "rising sweep": ("a rising sweep", "a rising tone", "a tone that rises"),
    "falling sweep": ("a falling sweep", "a falling tone", "a tone that falls"),
    "clicks": ("clicks", "a clicking sound", "repeated clicks"),
    "warble": ("a warble", "a warbling tone", "a wavering tone"),
}

_BARE = {*ATTRIBUTES["colour"], *(text for texts in MOTION_WORDS.values() for text in texts)}

GLUE = frozenset(words("a an the there is something thing that shape object with and sound of to"))
"""Words that hold a caption together and claim nothing."""

_BOTH = (
    "{0} with {1}",
    "{0} with {1}",
    "{0} and {1}",
    "{0}, {1}",
    "{0} to the sound of {1}",
    "{1} and {0}",
    "{1} with {0}",
)

Claims = Mapping[str, str]


class Caption(NamedTuple):
    """A text and the attribute values that it claims."""

    text: str
    claims: Claims


def write_caption(claims: Claims, rng: np.random.Generator) -> Caption:
    """A text that says just these claims (attribute to value; at least one), phrased at random."""
    picture = _picture(claims, rng)
    sound = _choose(SOUND_WORDS[claims["sound"]], rng) if "sound" in claims else ""
    if not picture:
        text = _choose(("{}", "{}", "the sound of {}", "something with {}"), rng).format(sound)
    elif not sound:
        text = picture if picture in _BARE or rng.random() < 0.7 else f"there is {picture}"
    else:
        text = _choose(_BOTH, rng).format(picture, sound)
    return Caption(_tidy(text), claims)


def plain_caption(claims: Claims) -> Caption:
    """The same claims in the first and plainest words: 'a red circle moving left with a low tone'."""
    thing = " ".join(filter(None, (claims.get("colour"), claims.get("shape", "shape"))))
    motion = MOTION_WORDS[claims["motion"]][0] if "motion" in claims else ""
    picture = " ".join(filter(None, ("a", thing, motion))) if claims.keys() - {"sound"} else ""
    sound = SOUND_WORDS[claims["sound"]][0] if "sound" in claims else ""
    return Caption(_tidy(" with ".join(filter(None, (picture, sound)))), claims)


def _picture(claims: Claims, rng: np.random.Generator) -> str:
    """'a red circle moving left', 'red', 'something that is growing', or '' where nothing is seen."""
    colour, shape, motion = claims.get("colour", ""), claims.get("shape", ""), claims.get("motion", "")
    moving = _choose(MOTION_WORDS[motion], rng) if motion else ""
    if not shape and not (colour and motion):
        bare = colour or moving
        return _choose(("{}", "something {}", "a thing that is {}"), rng).format(bare) if bare else ""
    thing = shape or _choose(("shape", "thing", "object"), rng)
    link = _choose(("", "", "is", "that is"), rng) if motion else ""
    return " ".join(filter(None, (_choose(("a", "a", "the", ""), rng), colour, thing, link, moving)))


def full_caption(attributes: Claims, rng: np.random.Generator) -> Caption:
    """A caption that claims every attribute given."""
    return write_caption(attributes, rng)


def partial_caption(attributes: Claims, rng: np.random.Generator) -> Caption:
    """A caption that claims a random, non-empty part of the attributes."""
    names = list(attributes)
    kept = rng.permutation(names)[: rng.integers(1, len(names) + 1)]
    return write_caption({name: attributes[name] for name in names if name in kept}, rng)


def one_attribute_captions(rng: np.random.Generator) -> list[Caption]:
    """One caption for each single value of each attribute, in vocabulary order (34)."""
    return [write_caption({name: value}, rng) for name, values in ATTRIBUTES.items() for value in values]


def tuning_captions(count: int = 600, seed: int = 20_261) -> list[str]:
    """`count` different texts, half of them whole, half partial; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        attributes = draw_scene(rng).attributes
        write = full_caption if len(texts) % 2 else partial_caption
        texts.setdefault(write(attributes, rng).text)
    return list(texts)


def vocabulary() -> list[str]:
    """Every word that a caption can contain, sorted."""
    values = " ".join(" ".join(values) for values in ATTRIBUTES.values())
    phrases = " ".join(text for table in (MOTION_WORDS, SOUND_WORDS) for texts in table.values() for text in texts)
    return sorted({*words(f"{values} {phrases}"), *GLUE})


def _tidy(text: str) -> str:
    """'an orange ring', and not 'the sound of a clicking sound'."""
    return re.sub(r"\ba (?=[aeiou])", "an ", re.sub(r"the sound of (a \w+ sound)", r"\1", text))


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
