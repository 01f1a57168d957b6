"""Waveform to log-mel frames: 64 bands, a frame each 20 ms, from 16 kHz mono samples."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000
HOP = 320
N_MELS = 64
_N_FFT = 512
_TOP_HZ = 7_600.0


def log_mel(waveform_BN: Tensor) -> Tensor:
    """[B, N] float32 in [-1, 1] to [B, N // 320, 64] log energies, about -1 (silence) to 1.5 (a loud tone)."""
    window, filters = _window(waveform_BN.device), _filters(waveform_BN.device)
    spectrum = torch.stft(waveform_BN, _N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    energy = spectrum[..., : waveform_BN.shape[1] // HOP].abs().square().transpose(1, 2) @ filters
    return (energy + 1e-4).log10() / 4


@lru_cache(maxsize=2)
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(_N_FFT, device=device)


@lru_cache(maxsize=2)
def _filters(device: torch.device) -> Tensor:
    """[257, 64] triangles, evenly spaced on the mel scale from 60 Hz to 7.6 kHz."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (60.0, _TOP_HZ))
    corners_hz = 700 * (10 ** (torch.linspace(low, high, N_MELS + 2) / 2595) - 1)
    bins_hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, _N_FFT // 2 + 1)[:, None]
    left, centre, right = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    # A band narrower than a bin would see nothing between two bins: its triangle is as wide as one bin at least.
    width_hz = SAMPLE_RATE_HZ / _N_FFT
    rise = (bins_hz - centre) / torch.clamp(centre - left, min=width_hz) + 1
    fall = (centre - bins_hz) / torch.clamp(right - centre, min=width_hz) + 1
    return torch.clamp(torch.minimum(rise, fall), min=0).to(device)
