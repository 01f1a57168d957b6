"""The baseline sees one picture of each clip, hears nothing, and is another space than the encoder itself."""

from __future__ import annotations

import numpy as np
from tests.embed.checkpoints import random_clips

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.records import ClipBatch


def test_only_the_middle_frame_counts(encoder: Encoder) -> None:
    still = load_encoder(EmbedConfig(frames="middle"))
    batch = random_clips(encoder.clip_spec, [2.0, 2.0])
    others = ClipBatch(**{name: column.copy() for name, column in batch.items()})
    kept = others["frames"].shape[1] // 2
    others["frames"][:, np.arange(others["frames"].shape[1]) != kept] = 7
    others["waveform"][:] = 0
    one, other = still.embed_clips(batch), still.embed_clips(others)
    np.testing.assert_array_equal(one["fused"], other["fused"])
    assert not one["audio_norm"].any()
    assert ((one["fused"] * encoder.embed_clips(batch)["fused"]).sum(axis=1) < 0.999).all()


def test_the_middle_is_that_of_the_frames_that_are_there(encoder: Encoder) -> None:
    still = load_encoder(EmbedConfig(frames="middle"))
    batch = random_clips(encoder.clip_spec, [2.0, 2.0])
    n_frames = batch["frames"].shape[1]
    batch["frame_mask"][0, : n_frames // 2] = False
    batch["frames"][0, : n_frames // 2] = 0
    vectors = still.embed_clips(batch)
    assert (vectors["fused_norm"] > 0).all()
    others = ClipBatch(**{name: column.copy() for name, column in batch.items()})
    others["frames"][0, n_frames // 2 + n_frames // 4] = 255
    assert (still.embed_clips(others)["fused"][0] * vectors["fused"][0]).sum() < 0.9999
    np.testing.assert_array_equal(still.embed_clips(others)["fused"][1], vectors["fused"][1])


def test_it_is_another_encoder_of_the_same_weights(encoder: Encoder) -> None:
    still = load_encoder(EmbedConfig(frames="middle"))
    assert isinstance(still, Encoder)
    assert still.fingerprint.weights_sha256 == encoder.fingerprint.weights_sha256
    assert still.fingerprint.preprocess_sha256 != encoder.fingerprint.preprocess_sha256
    assert still.spaces == ("fused", "visual")
    assert still.captions() == encoder.captions()
