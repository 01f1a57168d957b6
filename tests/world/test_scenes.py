"""Vocabularies, truth, reverses and drawing."""

from dataclasses import replace

import numpy as np
import pytest

from shotlake.world.scenes import (
    ATTRIBUTES,
    MOTIONS,
    REVERSE,
    Shot,
    Thing,
    draw_camera,
    draw_scene,
    draw_sounds,
    holds,
    reversed_shown,
)

STAR = Thing("red", "plain", "star", "left", 1)
BARS = Thing("blue", "dotted", "bar", "growing", 2)
SHOT = Shot((STAR, BARS), ("bell", "hiss"))
LATER = Shot((replace(STAR, motion="up"),), ("hiss",))


def test_the_world_is_as_large_as_it_says() -> None:
    assert [len(values) for values in ATTRIBUTES.values()] == [12, 4, 10, 14, 12]
    assert all(len(set(values)) == len(values) for values in ATTRIBUTES.values())


def test_the_reverse_of_a_reverse_is_the_motion() -> None:
    assert all(REVERSE[REVERSE[motion]] == motion != REVERSE[motion] for motion in REVERSE)
    assert set(MOTIONS) - set(REVERSE) == {"still", "bouncing", "swinging", "blinking"}
    turned = reversed_shown((SHOT, LATER))
    assert [shot.things[0].motion for shot in turned] == ["down", "right"]
    assert [shot.sounds for shot in turned] == [SHOT.sounds, LATER.sounds]
    assert turned[1].things[1].motion == "shrinking" and reversed_shown(turned) == (SHOT, LATER)


@pytest.mark.parametrize(
    "claim",
    [
        (SHOT,),
        (LATER,),
        (SHOT, LATER),
        (Shot((Thing(colour="blue"), Thing(motion="left")), ("hiss",)),),
        (Shot((Thing(shape="bar", count=2),)), Shot(sounds=("hiss",))),
        (Shot(sounds=("bell",)),),
    ],
)
def test_what_is_shown_holds_in_part_and_in_any_order_of_mention(claim: tuple[Shot, ...]) -> None:
    assert holds(claim, (SHOT, LATER))


@pytest.mark.parametrize(
    "claim",
    [
        (LATER, SHOT),
        (Shot((Thing(colour="red", shape="bar"),)),),
        (Shot((Thing(shape="bar", count=3),)),),
        (Shot((STAR, STAR)),),
        (Shot((STAR, replace(STAR, motion="up"))),),
        (Shot(sounds=("bell", "buzz")),),
        (SHOT, LATER, LATER),
        (Shot((Thing(colour="green"),)),),
    ],
)
def test_wrong_order_binding_number_or_value_does_not_hold(claim: tuple[Shot, ...]) -> None:
    assert not holds(claim, (SHOT, LATER))


def test_what_is_not_told_holds_for_no_claim() -> None:
    assert not holds((Shot((STAR,)),), (Shot((replace(STAR, motion=None),)),))


def test_drawing_is_seeded_and_reaches_every_value() -> None:
    drawn = [draw_scene(np.random.default_rng([1, place]), silent_ratio=0.2) for place in range(600)]
    assert drawn == [draw_scene(np.random.default_rng([1, place]), silent_ratio=0.2) for place in range(600)]
    for name in ("colour", "texture", "shape", "motion"):
        assert {getattr(scene.things[0], name) for scene in drawn} == set(ATTRIBUTES[name])
    assert {sound for scene in drawn for sound in scene.sounds} == set(ATTRIBUTES["sound"])
    assert 80 < sum(not scene.sounds for scene in drawn) < 160


def test_two_sounds_differ_and_half_of_the_cameras_stand() -> None:
    rng = np.random.default_rng(2)
    assert all(len(set(draw_sounds(rng, double_ratio=1.0))) == 2 for _ in range(100))
    assert 150 < sum(draw_camera(rng) == "still" for _ in range(400)) < 250
