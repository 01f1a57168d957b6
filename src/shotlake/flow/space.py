"""The vector space that a configuration writes: its grid, its id, and the encoder behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from shotlake.config import Config
from shotlake.decode.decoder import segmenter
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.records import ClipSpec, embed_key


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """An encoder with the grid that it is run on. `key` is frozen into every id that is made from it."""

    encoder: Encoder
    clip_spec: ClipSpec
    key: str


def open_space(config: Config) -> VectorSpace:
    """Load the configured encoder. Errors: BadModel."""
    encoder = load_encoder(config.embed)
    spec = _clip_spec(encoder.clip_spec, config)
    return VectorSpace(
        encoder, spec, embed_key(encoder.fingerprint, spec, segmenter(config.decode), config.decode.policy)
    )


def describe(config: Config) -> dict[str, Any]:
    """What `shotlake models info` prints."""
    space = open_space(config)
    return {
        **asdict(space.encoder.fingerprint),
        "spaces": ", ".join(space.encoder.spaces),
        "dim": space.encoder.dim,
        **asdict(space.clip_spec),
        "embed_key": space.key,
    }


def _clip_spec(own: ClipSpec, config: Config) -> ClipSpec:
    window_us = round((config.embed.window_s or own.window_us / 1e6) * 1e6)
    if config.embed.stride_s:
        stride_us = round(config.embed.stride_s * 1e6)
    else:
        stride_us = window_us if config.embed.window_s else own.stride_us
    return replace(own, window_us=window_us, stride_us=stride_us)
