"""PE-AV behind the encoder contract: picture and sound fused, each space with a text head of its own.

Preprocessing is that of the checkpoint on frames and sound as `clip_spec` has them. A clip without sound goes the
video-only way, one without picture the sound-only way, and that one vector is its fused one too; so queries of an
archive without sound are better asked in the space `visual`, whose text head was trained for such vectors.

Sounds of one length go together and none is padded: behind the end of a padded one its convolutions see other values
than behind a whole one, and where its length equals the number of frames the network stretches the picture over the
padding. So a clip's vectors never depend on its neighbours.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.config import EmbedConfig
from shotlake.embed.checkpoint import Checkpoint
from shotlake.embed.encoder import normalise
from shotlake.embed.feed import Arrays, Bucket, Feed, Inputs, Outputs, Rows, check_clips, heard_samples, pixels
from shotlake.embed.grid import clip_grid, network_dtypes
from shotlake.embed.pretrained import load_network, load_tokenizer
from shotlake.embed.queries import everyday_queries
from shotlake.embed.text import check_texts, tokens
from shotlake.records import SPACES, ClipBatch, QueryVectors, Space, VectorBatch

ARCHITECTURE = "pe_audio_video"
WINDOW_S = 10.0
_N_FRAMES = 16
_SIDE_PX = 336
_MAX_WORDS = 512
_RULES = "sound up to its last sample, reflected to whole hops; frames / 255, mean and std; text cut at 512 tokens"


class PeAvEncoder:
    """A `pe_audio_video` checkpoint. Errors: BadModel, ConfigError."""

    def __init__(self, checkpoint: Checkpoint, config: EmbedConfig, device: str, dtype: torch.dtype) -> None:
        video = checkpoint.processor("video_processor", "video_preprocessor_config.json")
        sound = checkpoint.processor("feature_extractor", "preprocessor_config.json")
        self._mean, self._std = video.get("image_mean") or [0.5] * 3, video.get("image_std") or [0.5] * 3
        self._hop = int(sound.get("hop_length", 1920))
        size = video.get("size") or {}
        side_px = int(size.get("height") or size.get("shortest_edge") or _SIDE_PX)
        self.clip_spec = clip_grid(
            config,
            WINDOW_S,
            n_frames=int(video.get("num_frames") or _N_FRAMES),
            width_px=int(size.get("width") or side_px),
            height_px=side_px,
            sample_rate_hz=int(sound.get("sampling_rate", 48_000)),
        )
        self._network: Any = load_network("PeAudioVideoModel", checkpoint, dtype, device)
        self._tokenizer = load_tokenizer(checkpoint)
        self._device, self._dtype = device, dtype
        self._feed = Feed(device, config.batch_size)
        self.dtypes = network_dtypes(config)
        self.spaces: tuple[Space, ...] = SPACES
        self.dim = int(self._network.config.text_config.hidden_size)
        self.fingerprint = checkpoint.fingerprint(f"{_RULES}; {self._mean} {self._std} {self._hop}")

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        """Three vectors a clip that has both; see shotlake.embed.encoder for clips that lack something."""
        check_clips(batch, self.clip_spec, "pe-av")
        seen, lengths = batch["frame_mask"].any(axis=1), heard_samples(batch["sample_mask"])
        whole = -(-lengths // self._hop) * self._hop
        buckets = [Bucket(np.flatnonzero(seen & (lengths == 0)), partial(self._frames, batch), self._see)]
        for length in np.unique(whole[lengths > 0]):
            sound = partial(self._sound, batch, lengths, int(length))
            buckets.append(Bucket(np.flatnonzero(~seen & (whole == length)), sound, self._hear))
            both = partial(self._both, batch, lengths, int(length))
            buckets.append(Bucket(np.flatnonzero(seen & (whole == length)), both, self._see_and_hear))
        return self._feed.embed(batch, buckets, self.dim)

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> QueryVectors:
        """One pass of the text tower, three heads. Errors: QueryError for an empty text."""
        check_texts(texts)
        words = tokens(self._tokenizer, texts, _MAX_WORDS, self._device)
        first = self._network.text_model(**words).last_hidden_state[:, 0]
        heads: dict[Space, Any] = {
            "fused": self._network.text_audio_video_head,
            "visual": self._network.video_model.text_video_head,
            "audio": self._network.audio_model.text_audio_head,
        }
        there = np.ones(len(texts), bool)
        return {space: normalise(head(first).float().cpu().numpy(), there)[0] for space, head in heads.items()}

    @property
    def match_score(self) -> float | None:
        """Not measured."""
        return None

    def captions(self) -> list[str]:
        """Everyday queries; the model ships none."""
        return everyday_queries()

    def _frames(self, batch: ClipBatch, rows: Rows) -> Arrays:
        """Frames with those that are there in front, as the network's mask wants them."""
        mask = batch["frame_mask"][rows]
        if mask.all():
            return {"frames": batch["frames"][rows]}
        order = np.argsort(~mask, axis=1, kind="stable")
        frames = np.take_along_axis(batch["frames"][rows], order[:, :, None, None, None], axis=1)
        return {"frames": frames, "frame_mask": np.take_along_axis(mask, order, axis=1)}

    def _sound(self, batch: ClipBatch, lengths: NDArray[np.intp], whole: int, rows: Rows) -> Arrays:
        """Sounds of one length in whole hops: what was heard, and its reflection up to there."""
        waveform = np.empty((len(rows), whole), np.float32)
        for sound, row in zip(waveform, rows):
            own = slice(0, lengths[row])
            heard = np.where(batch["sample_mask"][row, own], batch["waveform"][row, own], 0)
            sound[:] = np.pad(heard, (0, whole - len(heard)), "reflect" if len(heard) > 1 else "edge")
        return {"waveform": waveform}

    def _both(self, batch: ClipBatch, lengths: NDArray[np.intp], whole: int, rows: Rows) -> Arrays:
        return self._frames(batch, rows) | self._sound(batch, lengths, whole, rows)

    def _see(self, inputs: Inputs) -> Outputs:
        seen = self._network.video_model.video_encoder(**self._picture(inputs)).pooler_output
        vectors = self._network.video_model.video_head(seen)
        return {"visual": vectors, "fused": vectors}

    def _hear(self, inputs: Inputs) -> Outputs:
        vectors = self._network.audio_model.get_audio_embeds(**self._waveform(inputs))
        return {"audio": vectors, "fused": vectors}

    def _see_and_hear(self, inputs: Inputs) -> Outputs:
        found = self._network.get_audio_video_embeds(
            **self._picture(inputs), **self._waveform(inputs), return_audio_embeds=True, return_video_embeds=True
        )
        return {"fused": found.audio_video_embeds, "visual": found.video_embeds, "audio": found.audio_embeds}

    def _picture(self, inputs: Inputs) -> dict[str, Tensor | None]:
        values = pixels(inputs["frames"], self._mean, self._std, self._dtype)
        return {"pixel_values_videos": values, "padding_mask_videos": inputs.get("frame_mask")}

    def _waveform(self, inputs: Inputs) -> Inputs:
        return {"input_values": inputs["waveform"][:, None].to(self._dtype)}
