"""Log-mel: shape, place of a tone, level of silence, no dependence on what lies far away."""

import pytest
import torch

from shotlake.embed.mini.mel import N_MELS, SAMPLE_RATE_HZ, log_mel

TIME_S = torch.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ


def test_shape_and_silence() -> None:
    mel = log_mel(torch.zeros(3, 32_000))
    assert mel.shape == (3, 100, N_MELS)
    assert torch.allclose(mel, torch.full_like(mel, -1.0))


@pytest.mark.parametrize(("low_hz", "high_hz"), [(100, 200), (300, 500), (900, 1300), (2500, 4000)])
def test_a_higher_tone_lies_in_a_higher_band(low_hz: float, high_hz: float) -> None:
    mel = log_mel(torch.stack([torch.sin(2 * torch.pi * hz * TIME_S) for hz in (low_hz, high_hz)]))
    low, high = mel[:, 10:90].mean(1).argmax(1)
    assert low < high and mel.max() > 0.5


def test_a_frame_hears_its_own_time() -> None:
    samples = torch.zeros(1, 32_000)
    samples[0, 16_000:16_100] = 0.5
    loud = (log_mel(samples)[0].amax(1) > -0.9).nonzero().flatten()
    assert loud.min() >= 49 and loud.max() <= 51
