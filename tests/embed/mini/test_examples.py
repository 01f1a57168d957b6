"""Clips show what they say they show, and are imperfect in the promised ways."""

from dataclasses import replace

import numpy as np

from shotlake.embed.mini.examples import N_SAMPLES, draw_training, lose_modalities, render_examples, shuffle_frames
from shotlake.embed.mini.split import drawer
from shotlake.embed.mini.windows import WINDOW_S
from shotlake.world.scenes import Scene, Shot, Thing

DRAW = drawer("train")
STAR = Scene((Thing("red", "plain", "star", "left", 1),), ("hiss",), 7)
HEART = Scene((Thing("blue", "plain", "heart", "up", 1),), ("low tone",), 8)


def test_a_clip_has_its_frames_and_samples() -> None:
    examples = render_examples([((STAR, WINDOW_S),), ((STAR, 0.5),)], np.random.default_rng(0))
    assert examples.frames.shape == (2, 16, 48, 48, 3) and examples.frame_mask.all()
    assert examples.sample_mask.sum(1).tolist() == [N_SAMPLES, 8_000] and not examples.waveform[1, 8_000:].any()
    assert examples.shown[0] == (STAR.shot,)
    assert examples.shown[1][0].things[0] == replace(STAR.things[0], motion=None)
    assert (examples.take([1]).frames == examples.frames[1:]).all() and examples.take([1]).shown == examples.shown[1:]


def test_what_is_lost_is_not_shown() -> None:
    examples = render_examples([((STAR, WINDOW_S),), ((HEART, WINDOW_S),)], np.random.default_rng(0))
    lost = lose_modalities(examples, np.array([True, False]), np.array([False, True]))
    assert lost.shown == ((Shot((), STAR.sounds),), (Shot(HEART.things),))
    assert not lost.frames[0].any() and not lost.frame_mask[0].any() and lost.frame_mask[1].all()
    assert not lost.waveform[1].any() and not lost.sample_mask[1].any()


def test_frames_out_of_order_tell_no_motion() -> None:
    still = replace(STAR, things=(replace(STAR.things[0], motion="still"),))
    examples = render_examples([((s, WINDOW_S),) for s in (STAR, HEART, still)], np.random.default_rng(0))
    mixed = shuffle_frames(examples, [1, 2], np.random.default_rng(0))
    assert [shown[0].things[0].motion for shown in mixed.shown] == ["left", None, "still"]
    assert (mixed.frames[0] == examples.frames[0]).all() and (mixed.frames[1] != examples.frames[1]).any()
    assert sorted(map(bytes, mixed.frames[1])) == sorted(map(bytes, examples.frames[1]))


def test_training_clips_are_seeded_and_imperfect_in_the_promised_ways() -> None:
    examples, again = (draw_training(DRAW, 240, np.random.default_rng(4), loss_ratio=0.15) for _ in range(2))
    assert (examples.frames == again.frames).all() and (examples.waveform == again.waveform).all()
    assert examples.shown == again.shown
    no_picture, no_sound = ~examples.frame_mask.any(1), ~examples.sample_mask.any(1)
    assert 15 < no_picture.sum() < 65 and 15 < no_sound.sum() < 65 and not (no_picture & no_sound).any()
    assert all(not shot.things for row in np.flatnonzero(no_picture) for shot in examples.shown[row])
    assert all(not shot.sounds for row in np.flatnonzero(no_sound) for shot in examples.shown[row])
    n_samples = examples.sample_mask.sum(1)
    assert ((n_samples > 0) & (n_samples < N_SAMPLES)).sum() > 5
    assert sum(len(shown) == 2 for shown in examples.shown) > 25
    assert any(thing.motion is None for shown in examples.shown for shot in shown for thing in shot.things)


def test_easy_clips_are_single_things_and_foils_of_them() -> None:
    shown = draw_training(DRAW, 60, np.random.default_rng(5), easy=1.0).shown
    assert all(len(shots) == 1 and len(shots[0].things) <= 1 for shots in shown)
    assert sum(thing.count == 1 for shots in shown for thing in shots[0].things) > 45
