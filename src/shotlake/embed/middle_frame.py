"""A baseline: the same encoder, shown only the middle frame of each clip, and deaf."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from shotlake.embed.encoder import Encoder
from shotlake.records import ClipBatch, QueryVectors, Space, VectorBatch


class MiddleFrameEncoder:
    """Another encoder behind one still picture a clip; what motion and sound are worth is the difference."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.clip_spec, self.dim, self.dtypes = encoder.clip_spec, encoder.dim, getattr(encoder, "dtypes", {})
        self.spaces: tuple[Space, ...] = tuple(space for space in encoder.spaces if space != "audio")
        seen = hashlib.sha256(f"middle frame only; {encoder.fingerprint.preprocess_sha256}".encode()).hexdigest()
        self.fingerprint = replace(encoder.fingerprint, preprocess_sha256=seen)

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        """The middle one of the frames that are there stands for all of them."""
        mask = batch["frame_mask"]
        order = np.argsort(~mask, axis=1, kind="stable")
        middle = order[np.arange(len(mask)), mask.sum(axis=1) // 2]
        still = batch["frames"][np.arange(len(mask)), middle][:, None]
        return self._encoder.embed_clips(
            ClipBatch(
                **{
                    **batch,
                    "frames": np.where(mask[:, :, None, None, None], still, np.uint8(0)),
                    "waveform": np.zeros_like(batch["waveform"]),
                    "sample_mask": np.zeros_like(batch["sample_mask"]),
                }
            )
        )

    def embed_text(self, texts: list[str]) -> QueryVectors:
        """As the encoder does."""
        return self._encoder.embed_text(texts)

    @property
    def match_score(self) -> float | None:
        """Of one picture it is another one, and was not measured."""
        return None

    def captions(self) -> list[str]:
        """As the encoder has them."""
        return self._encoder.captions()
