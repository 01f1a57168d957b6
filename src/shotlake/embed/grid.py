"""What a configuration makes of an encoder: its grid and clip specification, and the numbers it computes in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from shotlake.config import EmbedConfig
from shotlake.records import ClipSpec


def clip_grid(config: EmbedConfig, window_s: float, **spec: Any) -> ClipSpec:
    """`spec` are the other fields of ClipSpec; segments follow each other without a gap unless configured."""
    window_us = round((config.window_s or window_s) * 1e6)
    stride_us = round(config.stride_s * 1e6) if config.stride_s else window_us
    return replace(ClipSpec(window_us, stride_us, 1, 1, 1, 1), **spec)


def network_dtype(config: EmbedConfig, device: str) -> torch.dtype:
    """What a large network computes in on a device."""
    if config.dtype == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


def network_dtypes(config: EmbedConfig) -> dict[str, str]:
    """Its name by device: the run that writes the provenance sits on another machine than the network."""
    return {device: str(network_dtype(config, device)).removeprefix("torch.") for device in ("cpu", "cuda")}
