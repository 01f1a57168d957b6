"""What is imagined: nothing that is held out, near misses that miss by one thing, and truth as it is elsewhere."""

from collections.abc import Callable

import numpy as np
import pytest

from shotlake.embed.mini.imagined import (
    CAPTIONS_OF_GROUP,
    CLIPS_OF_GROUP,
    FILLS_S,
    Imagined,
    Shots,
    draw_shots,
    exchanged,
    first_thing,
    imagine,
    moving_otherwise,
    near_miss,
    some_of,
    without_sounds,
    without_things,
)
from shotlake.embed.mini.labels import FIELDS, Parts
from shotlake.embed.mini.split import is_trained
from shotlake.embed.mini.windows import MOTION_TAKES_S
from shotlake.world.scenes import SOUNDS, Shot, Shown, Thing, holds

CUTS = np.array([[0.3, 0.2], [0.8, 0.45], [1.0, 0.5], [1.6, 0.7]], np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def as_shot(values: np.ndarray, there: np.ndarray, sounds: np.ndarray) -> Shot:
    fields = list(FIELDS.items())
    things = tuple(
        Thing(
            **{
                name: None if place < 0 else options[place]
                for place, (name, options) in zip(thing, fields, strict=True)
            }
        )
        for thing, is_there in zip(values, there, strict=True)
        if is_there
    )
    return Shot(things, tuple(sound for sound, on in zip(SOUNDS, sounds, strict=True) if on))


def as_shots(shots: Shots) -> list[Shot]:
    return [as_shot(*row) for row in zip(shots.values, shots.there, shots.sounds, strict=True)]


def as_shown(parts: Parts) -> list[Shown]:
    return [
        tuple(
            as_shot(parts.values[row, side], parts.there[row, side], parts.sounds[row, side]) for side in range(n_shots)
        )
        for row, n_shots in enumerate(parts.n_shots)
    ]


def test_scenes_are_of_the_kinds_that_are_painted() -> None:
    shots = as_shots(draw_shots(3000, rng()))
    assert all(is_trained((shot,)) for shot in shots)
    assert all(shot.things or shot.sounds for shot in shots)
    n_things = [sum(thing.count or 1 for thing in shot.things) for shot in shots]
    assert max(n_things) == 3
    two, several = np.mean([len(shot.things) == 2 for shot in shots]), np.mean([n > 1 for n in n_things])
    assert 0.2 < two < 0.35 and 0.35 < several < 0.5
    assert 0.02 < np.mean([not shot.things for shot in shots]) < 0.08


@pytest.mark.parametrize("change", [near_miss, exchanged, moving_otherwise])
def test_what_is_almost_a_scene_is_not_it_and_not_held_out(
    change: Callable[[Shots, np.random.Generator], Shots],
) -> None:
    shots = draw_shots(800, rng())
    changed = change(shots, rng(1))
    assert all(is_trained((shot,)) for shot in as_shots(changed))
    assert np.mean(changed.equal(shots)) < 0.01


def test_a_near_miss_has_one_value_wrong_or_the_sounds() -> None:
    shots = draw_shots(800, rng())
    missed = near_miss(shots, rng(1))
    wrong = ((missed.values != shots.values) & shots.there[..., None]).sum((1, 2))
    other_sounds = (missed.sounds != shots.sounds).any(1)
    assert ((wrong == 1) ^ other_sounds).mean() > 0.99
    assert 0.2 < other_sounds.mean() < 0.4


def test_exchanged_things_have_the_same_values_between_them() -> None:
    shots = draw_shots(800, rng())
    two = shots.there.all(1)
    before, after = (np.sort(some.values[two], axis=1) for some in (shots, exchanged(shots, rng(1))))
    assert (before == after).all(
        (1, 2)
    ).mean() > 0.6  # the others have the same value there, or the exchange is held out


def test_parts_claim_less_of_the_same() -> None:
    shots = draw_shots(400, rng())
    for part in (some_of(shots, rng(2)), first_thing(shots), without_sounds(shots), without_things(shots)):
        claims = as_shots(part)
        assert all(claim.things or claim.sounds for claim in claims)
        assert all(holds((claim,), (shot,)) for claim, shot in zip(claims, as_shots(shots), strict=True))
    assert not any(claim.sounds for claim in as_shots(without_sounds(shots)) if claim.things)


@pytest.fixture(scope="module")
def imagined() -> Imagined:
    return imagine(6, CUTS, rng(4))


def test_truth_is_what_holds(imagined: Imagined) -> None:
    clips, claims = as_shown(imagined.clips), as_shown(imagined.captions)
    assert imagined.held.tolist() == [[holds(claim, clip) for claim in claims] for clip in clips]
    assert all(is_trained(claim) for claim in claims)
    for row, clip in enumerate(clips):
        for column, claim in enumerate(claims):
            long = (
                clip
                if len(claim) == 2 or len(clip) == 1
                else tuple(
                    shot for shot, seconds in zip(clip, imagined.seconds[row], strict=True) if seconds >= FILLS_S
                )
            )
            assert imagined.right[row, column] == holds(claim, long)
    assert len(clips) == 6 * CLIPS_OF_GROUP and 6 * (CAPTIONS_OF_GROUP - 1) < len(claims) <= 6 * CAPTIONS_OF_GROUP
    assert not (imagined.right & ~imagined.held).any() and not (imagined.right & imagined.unclear).any()


def test_short_shots_have_no_motion_and_shares_are_those_that_were_read(imagined: Imagined) -> None:
    cut = imagined.clips.n_shots == 2
    assert {round(float(share), 2) for share in imagined.shares[~cut]} == {0.5}
    assert set(imagined.shares[cut].tolist()) <= set(CUTS[:, 1].tolist())
    assert imagined.seconds[cut].sum(1) == pytest.approx(2.0)
    short = imagined.seconds < MOTION_TAKES_S
    assert short.any() and (imagined.clips.values[short][..., 3] == -1).all()


def test_whole_captions_are_the_first_ones_and_ask_among_near_misses(imagined: Imagined) -> None:
    whole = imagined.captions.values[imagined.whole], imagined.captions.there[imagined.whole]
    assert (whole[0][whole[1]] >= 0).all()
    n_right = imagined.right[:, imagined.whole].sum(0)
    assert n_right.max() >= 2 and n_right.mean() < 6
