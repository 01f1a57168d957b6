"""Labels are the truth in numbers."""

import numpy as np

from shotlake.embed.mini.examples import draw_training
from shotlake.embed.mini.labels import FIELDS, matches, parts_of
from shotlake.embed.mini.losses import write_captions
from shotlake.embed.mini.split import drawer
from shotlake.world.scenes import SOUNDS, Shot, Thing, holds

STAR, BARS = Thing("red", "plain", "star", "left", 1), Thing("blue", "dotted", "bar", "up", 2)
CLIPS = [
    (Shot((STAR, BARS), ("hiss", "bell")),),
    (Shot((STAR,), ("hiss",)), Shot((BARS,), ("bell",))),
    (Shot((Thing("red", "plain", "star", None, 1),)),),
    (Shot(),),
]


def test_matches_are_what_holds() -> None:
    rng = np.random.default_rng(3)
    shown = draw_training(drawer("train"), 48, rng).shown
    whole, partial, foils, prompts = write_captions(shown, rng, hard=True)
    claims = [caption.claims for caption in (*whole, *partial, *foils.values(), *prompts)]
    expected = [[holds(claim, clip) for claim in claims] for clip in shown]
    assert matches(shown, claims).tolist() == expected


def test_parts_are_those_of_the_first_and_of_the_last_shot() -> None:
    parts = parts_of(CLIPS)
    fields, (both, cut, still, nothing) = list(FIELDS), parts.values

    def value(side: int, number: int, name: str, of: np.ndarray) -> object:
        place = of[side, number, fields.index(name)]
        return None if place < 0 else FIELDS[name][place]

    assert parts.there.sum((1, 2)).tolist() == [4, 2, 2, 0]
    assert [value(side, 1, "motion", both) for side in (0, 1)] == ["up", "up"]
    assert [value(side, 0, "colour", cut) for side in (0, 1)] == ["red", "blue"]
    assert value(0, 0, "shape", still) == "star" and value(0, 0, "motion", still) is None
    assert (nothing == -1).all()
    heard = [[{SOUNDS[place] for place in np.flatnonzero(side)} for side in clip] for clip in parts.sounds]
    assert heard == [[{"hiss", "bell"}] * 2, [{"hiss"}, {"bell"}], [set(), set()], [set(), set()]]


def test_what_is_not_there_has_no_parts() -> None:
    parts = parts_of([()])
    assert not parts.there.any() and (parts.values == -1).all() and not parts.sounds.any()
