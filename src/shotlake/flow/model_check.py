"""What the configured encoder is, and whether it works: a made-up clip and a text go through it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from shotlake.config import Config
from shotlake.embed.encoder import dtype_name
from shotlake.errors import BadModel, SourceMissing
from shotlake.flow.space import VectorSpace, check_lake, open_space
from shotlake.records import ClipBatch, ClipSpec
from shotlake.table.lake import Lake
from shotlake.table.readers import written_fingerprints


def describe(space: VectorSpace) -> dict[str, Any]:
    """What `shotlake models info` prints."""
    return {
        **asdict(space.encoder.fingerprint),
        "spaces": ", ".join(space.encoder.spaces),
        "dim": space.encoder.dim,
        "dtype": dtype_name(space.encoder, "cpu"),
        **asdict(space.clip_spec),
        "embed_key": space.key,
    }


def check_model(config: Config) -> dict[str, Any]:
    """Load the encoder and put a made-up clip and a text through it; what `shotlake models check` prints.

    Errors: BadModel (it cannot be loaded, gives vectors that are none, or is not the lake's).
    """
    space = open_space(config)
    encoder, started = space.encoder, time.perf_counter()
    found = encoder.embed_clips(_made_up_clip(encoder.clip_spec))
    clip_s, started = time.perf_counter() - started, time.perf_counter()
    texts = encoder.embed_text(encoder.captions()[:1] or ["a person is speaking"])
    text_s = time.perf_counter() - started
    norms = {name: float(found[f"{name}_norm"][0]) for name in encoder.spaces}  # type: ignore[literal-required]
    wrong = [name for name, norm in norms.items() if not (np.isfinite(norm) and norm > 0)]
    wrong += [name for name in encoder.spaces if not np.isfinite(texts[name]).all()]
    if wrong:
        raise BadModel(
            f"{config.embed.model!r} gives no finite vector in {', '.join(wrong)}; fetch or convert it again"
        )
    try:
        lake = Lake.open(config.lake)
    except SourceMissing:
        lake_says = "no lake"
    else:
        check_lake(lake, space, config)
        lake_says = "same encoder" if written_fingerprints(lake) else "no segments yet"
    return {
        **describe(space),
        **{f"{name}_norm": round(norm, 4) for name, norm in norms.items()},
        "clip_ms": round(clip_s * 1000, 1),
        "text_ms": round(text_s * 1000, 1),
        "lake": lake_says,
    }


def _made_up_clip(spec: ClipSpec) -> ClipBatch:
    """One clip of noise: every frame and the whole sound are there."""
    rng = np.random.default_rng(0)
    shape = (1, spec.n_frames, spec.height_px, spec.width_px, 3)
    return ClipBatch(
        segment_id=np.array(["made-up"], dtype=object),
        cell=np.zeros(1, np.int64),
        start_us=np.zeros(1, np.int64),
        end_us=np.full(1, spec.window_us, np.int64),
        frames=rng.integers(0, 256, shape, dtype=np.uint8),
        frame_mask=np.ones((1, spec.n_frames), bool),
        frame_us=np.zeros((1, spec.n_frames), np.int64),
        waveform=(0.1 * rng.standard_normal((1, spec.n_samples))).astype(np.float32),
        sample_mask=np.ones((1, spec.n_samples), bool),
    )
