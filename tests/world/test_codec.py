"""Codecs take away what they should: little at a good quality, more at a bad one, and no sample of time."""

import numpy as np
import pytest

from shotlake.world.codec import damage_frames, damage_sound
from shotlake.world.paint import render_frames
from shotlake.world.scenes import Scene, Thing
from shotlake.world.sounds import render_sound

SCENE = Scene((Thing("red", "checked", "star", "left", 1),), ("warble",), 3, "panning")


def test_worse_pictures_for_a_higher_crf() -> None:
    frames = render_frames(SCENE, np.arange(16) / 8, 96, 96)
    small = frames.reshape(16, 48, 2, 48, 2, 3).mean((2, 4))
    errors = [np.abs(damage_frames(frames, crf, 8, 48) - small).mean() for crf in (18, 28, 40)]
    assert damage_frames(frames, 18, 8, 48).shape == (16, 48, 48, 3)
    assert errors[0] < errors[1] < errors[2] and errors[0] < 4 and errors[2] > 4


@pytest.mark.parametrize("bit_rate", [32_000, 128_000])
def test_sound_keeps_its_length_and_its_time(bit_rate: int) -> None:
    samples = render_sound(SCENE, 0.0, 32_000, 16_000)
    heard = damage_sound(samples, bit_rate, 16_000)
    assert heard.shape == samples.shape and (heard != samples).any()
    inner = slice(4_000, -4_000)
    alike = [np.corrcoef(np.roll(heard, lag)[inner], samples[inner])[0, 1] for lag in range(-40, 41)]
    assert int(np.argmax(alike)) == 40 and max(alike) > 0.9
