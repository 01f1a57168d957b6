"""Late fusion: a picture model and a sound model, each with its own text tower, joined by their scores.

A vector is [picture; sound], each half of length one, scaled by the square root of its share. So the inner product
with a query of the same make is the weighted sum of both models' scores, and one index answers it exactly. The share
comes from a weight and the spread of each model's scores, which makes the sum one of z-scores. A clip that lacks a half
is the other half alone.
"""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shotlake.config import EmbedConfig, LateFusionConfig
from shotlake.embed.checkpoint import open_checkpoint
from shotlake.embed.encoder import normalise
from shotlake.embed.feed import Arrays, Bucket, Feed, Inputs, Outputs, Rows, check_clips, heard_samples
from shotlake.embed.grid import clip_grid, network_dtypes
from shotlake.embed.queries import everyday_queries
from shotlake.embed.text import check_texts
from shotlake.embed.towers import picture_tower, sound_tower
from shotlake.errors import ConfigError
from shotlake.records import SPACES, ClipBatch, Fingerprint, QueryVectors, Space, VectorBatch

WINDOW_S = 10.0


class LateFusionEncoder:
    """The models of `embed.late`. Errors: BadModel, ConfigError."""

    def __init__(self, config: EmbedConfig, device: str, dtype: torch.dtype) -> None:
        late = config.late
        visual = open_checkpoint(late.visual, late.visual_revision)
        audio = open_checkpoint(late.audio, late.audio_revision)
        self._picture, self._sound = picture_tower(visual, device, dtype), sound_tower(audio, device, dtype)
        if config.window_s is not None and config.window_s > self._sound.longest_s:
            raise ConfigError(
                f"embed.window_s is {config.window_s:g}; {late.audio} hears {self._sound.longest_s:g} s at the most"
            )
        self._feed = Feed(device, config.batch_size)
        share = picture_share(late)
        self._scales = share**0.5, (1 - share) ** 0.5
        self.clip_spec = clip_grid(
            config,
            WINDOW_S,
            n_frames=self._picture.n_frames,
            width_px=self._picture.size_px,
            height_px=self._picture.size_px,
            sample_rate_hz=self._sound.sample_rate_hz,
        )
        self.dtypes = network_dtypes(config)
        self.spaces: tuple[Space, ...] = SPACES if late.vectors == "two" else ("fused",)
        self.dim = self._picture.dim + self._sound.dim
        weights = hashlib.sha256(f"{visual.weights_sha256} {audio.weights_sha256}".encode()).hexdigest()
        rules = f"{self._picture.rules}; {self._sound.rules}; picture's share {share:.6f}"
        self.fingerprint = Fingerprint(
            f"late-fusion: {visual.name} + {audio.name}",
            f"{visual.revision}+{audio.revision}".strip("+"),
            weights,
            hashlib.sha256(rules.encode()).hexdigest(),
        )

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        """The joined vector, and those of picture and sound beside it if two are wanted."""
        check_clips(batch, self.clip_spec, "late-fusion")
        seen, heard = batch["frame_mask"].any(axis=1), batch["sample_mask"].any(axis=1)
        frames, sounds = partial(self._frames, batch), partial(self._sounds, batch)
        buckets = [
            Bucket(np.flatnonzero(seen & ~heard), frames, self._forward),
            Bucket(np.flatnonzero(~seen & heard), sounds, self._forward),
            Bucket(np.flatnonzero(seen & heard), lambda rows: frames(rows) | sounds(rows), self._forward),
        ]
        return self._feed.embed(batch, buckets, self.dim)

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> QueryVectors:
        """Both text towers read every text. Errors: QueryError for an empty text."""
        check_texts(texts)
        found = self._join(self._picture.read(texts), self._sound.read(texts))
        there = np.ones(len(texts), bool)
        return {space: normalise(found[space].cpu().numpy(), there)[0] for space in self.spaces}

    @property
    def match_score(self) -> float | None:
        """Not measured."""
        return None

    def captions(self) -> list[str]:
        """Everyday queries; the models ship none."""
        return everyday_queries()

    def _frames(self, batch: ClipBatch, rows: Rows) -> Arrays:
        """Where a frame is masked, the last one before it that is there stands for it, or else the first."""
        mask = batch["frame_mask"][rows]
        last = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), -1), axis=1)
        place = np.where(last < 0, mask.argmax(axis=1)[:, None], last)
        return {"frames": np.take_along_axis(batch["frames"][rows], place[:, :, None, None, None], axis=1)}

    def _sounds(self, batch: ClipBatch, rows: Rows) -> Arrays:
        lengths = heard_samples(batch["sample_mask"][rows])
        heard = np.where(batch["sample_mask"][rows], batch["waveform"][rows], np.float32(0))
        return {"mel": self._sound.mel([sound[:length] for sound, length in zip(heard, lengths)])}

    def _forward(self, inputs: Inputs) -> Outputs:
        picture = self._picture.see(inputs["frames"]) if "frames" in inputs else None
        sound = self._sound.hear(inputs["mel"]) if "mel" in inputs else None
        return {space: vectors for space, vectors in self._join(picture, sound).items() if space in self.spaces}

    def _join(self, picture: Tensor | None, sound: Tensor | None) -> dict[Space, Tensor]:
        """[B, dim] of each space that there is something for; halves that are missing are zero."""
        there = picture if picture is not None else sound
        assert there is not None  # a bucket has one of them
        n_rows, device = len(there), there.device
        halves = [
            torch.zeros(n_rows, size, device=device) if half is None else half.float()
            for half, size in ((picture, self._picture.dim), (sound, self._sound.dim))
        ]
        unit = [torch.nn.functional.normalize(half, dim=-1) * scale for half, scale in zip(halves, self._scales)]
        joined: dict[Space, Tensor] = {"fused": torch.cat(unit, dim=-1)}
        if picture is not None:
            joined["visual"] = torch.cat([halves[0], torch.zeros_like(halves[1])], dim=-1)
        if sound is not None:
            joined["audio"] = torch.cat([torch.zeros_like(halves[0]), halves[1]], dim=-1)
        return joined


def picture_share(late: LateFusionConfig) -> float:
    """The picture's part of the sum of raw scores that is the weighted sum of z-scores, up to a constant a query."""
    picture, sound = late.weight / late.visual_spread, (1 - late.weight) / late.audio_spread
    return picture / (picture + sound)
