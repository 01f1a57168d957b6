"""Vocabularies, reverses and drawing."""

import numpy as np

from shotlake.world.scenes import ATTRIBUTES, MOTIONS, REVERSE, Scene, combinations, draw_scene


def test_combinations_are_every_choice_once() -> None:
    everything = combinations()
    assert len(set(everything)) == len(everything) == 8 * 6 * 12 * 8
    assert everything[0] == tuple(values[0] for values in ATTRIBUTES.values())


def test_the_reverse_of_a_reverse_is_the_motion() -> None:
    assert all(REVERSE[REVERSE[motion]] == motion != REVERSE[motion] for motion in REVERSE)
    assert set(MOTIONS) - set(REVERSE) == {"still", "bouncing"}


def test_drawing_is_seeded_and_reaches_every_value() -> None:
    drawn = [draw_scene(np.random.default_rng([1, place]), silent_ratio=0.2) for place in range(600)]
    assert drawn == [draw_scene(np.random.default_rng([1, place]), silent_ratio=0.2) for place in range(600)]
    for name, values in ATTRIBUTES.items():
        assert {getattr(scene, name) for scene in drawn} - {None} == set(values)
    assert 80 < sum(scene.sound is None for scene in drawn) < 160


def test_silence_is_not_an_attribute() -> None:
    assert "sound" not in Scene("red", "circle", "left", None, 1).attributes
    assert Scene("red", "circle", "left", "hiss", 1).attributes["sound"] == "hiss"
