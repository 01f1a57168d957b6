"""The grid and the clip specification of an encoder: its own, or the window and stride that are configured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shotlake.config import EmbedConfig
from shotlake.records import ClipSpec


def clip_grid(config: EmbedConfig, window_s: float, **spec: Any) -> ClipSpec:
    """`spec` are the other fields of ClipSpec; segments follow each other without a gap unless configured."""
    window_us = round((config.window_s or window_s) * 1e6)
    stride_us = round(config.stride_s * 1e6) if config.stride_s else window_us
    return replace(ClipSpec(window_us, stride_us, 1, 1, 1, 1), **spec)
