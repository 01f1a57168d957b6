"""The vector space that a configuration writes: its grid, its id, and the encoder behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shotlake.config import Config
from shotlake.decode.decoder import segmenter
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.errors import BadModel
from shotlake.records import ClipSpec, Fingerprint, embed_key
from shotlake.table.lake import Lake
from shotlake.table.readers import written_fingerprints


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


def check_lake(lake: Lake, space: VectorSpace, config: Config) -> None:
    """Refuse to fill a lake beside another encoder's vectors unasked. Errors: BadModel."""
    written = set(written_fingerprints(lake).values())
    if written and space.encoder.fingerprint not in written and not config.embed.new_space:
        raise BadModel(
            f"the lake's vectors are of {', '.join(sorted(map(_name, written)))}, this encoder is "
            f"{_name(space.encoder.fingerprint)}; set embed.model to the lake's, or embed.new_space=true to embed the "
            "archive again beside them"
        )


def _name(fingerprint: Fingerprint) -> str:
    """Enough of an encoder to tell it from another of its name."""
    parts = (fingerprint.model_id, fingerprint.revision[:8], f"(weights {fingerprint.weights_sha256[:8]})")
    return " ".join(part for part in parts if part)


def _clip_spec(own: ClipSpec, config: Config) -> ClipSpec:
    window_us = round((config.embed.window_s or own.window_us / 1e6) * 1e6)
    if config.embed.stride_s:
        stride_us = round(config.embed.stride_s * 1e6)
    else:
        stride_us = window_us if config.embed.window_s else own.stride_us
    return replace(own, window_us=window_us, stride_us=stride_us)
