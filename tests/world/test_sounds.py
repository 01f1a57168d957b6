"""Sounds are what they are called, continue across cuts, and differ from each other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shotlake.world.scenes import SOUNDS, Scene
from shotlake.world.sounds import render_sound

RATE_HZ = 16_000


def render(*sounds: str, seed: int = 5, start_s: float = 0.0, seconds: float = 2.0) -> NDArray[np.float32]:
    return render_sound(Scene((), sounds, seed), start_s, round(seconds * RATE_HZ), RATE_HZ)


def peak_hz(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE_HZ / len(samples))


@pytest.mark.parametrize("sound", SOUNDS)
def test_a_cut_anywhere_continues_the_same_sound(sound: str) -> None:
    whole = render(sound, seconds=8)
    assert whole.dtype == np.float32 and 0.05 < np.abs(whole).max() <= 1
    np.testing.assert_allclose(render(sound, start_s=5.5), whole[round(5.5 * RATE_HZ) :][: 2 * RATE_HZ], atol=2e-3)


def test_silence_is_zero() -> None:
    assert not render().any()


@pytest.mark.parametrize("seed", range(5))
def test_pitch_tells_tones_and_sweeps_apart(seed: int) -> None:
    assert 140 < peak_hz(render("low tone", seed=seed)) < 250
    assert 1700 < peak_hz(render("high tone", seed=seed)) < 2800
    for sound, sign in (("rising sweep", 1), ("falling sweep", -1)):
        pitches = [peak_hz(piece) for piece in np.split(render(sound, seed=seed), 40)]
        assert sum(np.sign(np.diff(pitches)) == sign) > sum(np.sign(np.diff(pitches)) == -sign)


@pytest.mark.parametrize("seed", range(5))
def test_beeps_and_clicks_pause_and_hiss_does_not(seed: int) -> None:
    def loud_share(sound: str) -> float:
        energy = np.square(render(sound, seed=seed)).reshape(-1, 80).mean(1)
        return float((energy > energy.max() / 50).mean())

    assert 0.35 < loud_share("beeps") < 0.6
    assert loud_share("clicks") < 0.2
    assert loud_share("hiss") > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_noises_and_the_siren_are_what_they_are_called(seed: int) -> None:
    assert peak_hz(render("rumble", seed=seed)) < 400 < peak_hz(render("siren", seed=seed)) < 800
    pitches = {round(peak_hz(piece) / 60) for piece in np.split(render("siren", seed=seed), 20)}
    assert len(pitches) >= 2
    strikes = np.square(render("bell", seed=seed)).reshape(-1, 400).mean(1)
    assert strikes.max() > 10 * np.quantile(strikes, 0.1)
    spectrum = np.abs(np.fft.rfft(render("buzz", seed=seed)))[:4000]
    assert (spectrum > spectrum.max() / 10).sum() >= 8


@pytest.mark.parametrize("seed", range(6))
def test_of_two_sounds_each_can_be_heard(seed: int) -> None:
    both = render("low tone", "high tone", seed=seed)
    spectrum = np.abs(np.fft.rfft(both))
    low, high = spectrum[200:700].max(), spectrum[3000:6000].max()
    assert 0.3 < low / high < 3.2


def test_an_unknown_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="cough"):
        render("cough")
