"""EmbeddingGemma 2 behind the encoder contract: frames, sound and prompt in one sequence, one space for everything.

Preprocessing is that of the checkpoint on frames and sound as `clip_spec` has them: one frame a second, its shape kept
inside a box that the model's token budget leaves unchanged. Towers run once a clip, the language model once a space. A
vector is the mean of the projected tokens, so a text has the same vector in all three spaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.config import EmbedConfig
from shotlake.embed.checkpoint import Checkpoint
from shotlake.embed.encoder import normalise
from shotlake.embed.feed import Arrays, Bucket, Feed, Inputs, Outputs, Rows, check_clips, heard_samples
from shotlake.embed.grid import clip_grid, network_dtypes
from shotlake.embed.pretrained import import_transformers, load_network, load_tokenizer
from shotlake.embed.queries import everyday_queries
from shotlake.embed.text import check_texts, tokens
from shotlake.errors import BadModel
from shotlake.records import SPACES, ClipBatch, QueryVectors, Space, VectorBatch

ARCHITECTURE = "embedding_gemma2"
WINDOW_S = 10.0
QUERY_PROMPT = "task: search result | query: "
CLIP_PROMPT = "title: none | text: "
_MAX_FRAMES = 32
_VIDEO = "<|video|>"
_BOX_PX = (528, 288)  # of 16:9; what a budget of 630 patches leaves of it is all of it
_MAX_TOKENS = 2_048
_RULES = "1 fps, at most 32 frames; frames / 255 in patches; sound up to its last sample, log-mel of the checkpoint"


class EmbeddingGemma2Encoder:
    """An `embedding_gemma2` checkpoint. Errors: BadModel, ConfigError."""

    prompts = {"query": QUERY_PROMPT, "clip": CLIP_PROMPT}

    def __init__(self, checkpoint: Checkpoint, config: EmbedConfig, device: str, dtype: torch.dtype) -> None:
        video = checkpoint.processor("video_processor", "video_preprocessor_config.json")
        sound = checkpoint.processor("feature_extractor", "preprocessor_config.json")
        self._patch_px, self._pooled = int(video.get("patch_size", 16)), int(video.get("pooling_kernel_size", 3))
        self._max_patches = int(video.get("max_soft_tokens", 70)) * self._pooled**2
        window_s = config.window_s or WINDOW_S
        uniform = window_s > _MAX_FRAMES
        self.clip_spec = clip_grid(
            config,
            WINDOW_S,
            n_frames=_MAX_FRAMES if uniform else max(1, round(window_s)),
            sampling="uniform" if uniform else "fps",
            fps=0.0 if uniform else 1.0,
            width_px=_BOX_PX[0],
            height_px=_BOX_PX[1],
            resize="pad",
            sample_rate_hz=int(sound.get("sampling_rate", 16_000)),
        )
        self._network: Any = load_network("EmbeddingGemma2Model", checkpoint, dtype, device)
        if self._network.vision_tower is None or self._network.audio_tower is None:
            raise BadModel(f"{checkpoint.folder} holds no vision or no audio tower; fetch the model with both")
        self._tokenizer = load_tokenizer(checkpoint)
        self._marks = _Marks.of(self._tokenizer)
        self._mel = import_transformers().Gemma4AudioFeatureExtractor(**_without_type(sound))
        self._device, self._dtype = device, dtype
        self._feed = Feed(device, config.batch_size)
        self.dtypes = network_dtypes(config)
        self.spaces: tuple[Space, ...] = SPACES
        self.dim = int(self._network.config.text_config.embedding_dim)
        self.fingerprint = checkpoint.fingerprint(f"{_RULES}; {self.prompts}; {self._patch_px} {self._max_patches}")

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        """A vector of frames and sound, of frames and of sound; clips with as many of both go together, unpadded."""
        check_clips(batch, self.clip_spec, "embeddinggemma2")
        frames, samples = batch["frame_mask"].sum(axis=1), heard_samples(batch["sample_mask"])
        shapes = np.stack([frames, samples], axis=1)
        buckets = [
            Bucket(np.flatnonzero((shapes == shape).all(axis=1)), partial(self._arrays, batch, shape), self._forward)
            for shape in np.unique(shapes, axis=0)
            if shape.any()
        ]
        return self._feed.embed(batch, buckets, self.dim)

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> QueryVectors:
        """With the prompt of a query; one vector for all spaces. Errors: QueryError for an empty text."""
        check_texts(texts)
        words = tokens(self._tokenizer, [QUERY_PROMPT + text for text in texts], _MAX_TOKENS, self._device)
        found = self._network(**words).last_hidden_state.float()
        mask = words["attention_mask"][:, :, None].float()
        raw = ((found * mask).sum(dim=1) / mask.sum(dim=1)).cpu().numpy()
        return dict.fromkeys(SPACES, normalise(raw, np.ones(len(texts), bool))[0])

    @property
    def match_score(self) -> float | None:
        """Not measured."""
        return None

    def captions(self) -> list[str]:
        """Everyday queries; the model ships none."""
        return everyday_queries()

    def _arrays(self, batch: ClipBatch, shape: NDArray[np.intp], rows: Rows) -> Arrays:
        """The frames that are there, and the log-mel of what is heard."""
        n_frames, n_samples = map(int, shape)
        arrays: Arrays = {}
        if n_frames:
            mask = batch["frame_mask"][rows]
            arrays["frames"] = batch["frames"][rows][mask].reshape(len(rows), n_frames, *batch["frames"].shape[2:])
        if n_samples:
            own = slice(0, n_samples)
            heard = np.where(batch["sample_mask"][rows, own], batch["waveform"][rows, own], np.float32(0))
            found = self._mel([*heard], return_tensors="np")
            arrays["mel"], arrays["mel_mask"] = found["input_features"], found["input_features_mask"]
        return arrays

    def _forward(self, inputs: Inputs) -> Outputs:
        """Soft tokens of both towers, then the sequence of each space."""
        soft: dict[str, Tensor] = {}
        pieces: dict[str, str] = {}
        if "frames" in inputs:
            soft["video"], pieces["video"] = self._see(inputs["frames"])
        if "mel" in inputs:
            soft["audio"], pieces["audio"] = self._hear(inputs["mel"], inputs["mel_mask"])
        own: dict[Space, tuple[str, ...]] = {"visual": ("video",), "audio": ("audio",)}
        found = {space: self._read(soft, pieces, kinds) for space, kinds in own.items() if kinds[0] in soft}
        both = self._read(soft, pieces, ("video", "audio")) if len(soft) == 2 else next(iter(found.values()))
        return {**found, "fused": both}

    def _see(self, frames_BTHW3: Tensor) -> tuple[Tensor, str]:
        """[B, tokens, H] of the vision tower, and their place in the sequence of one clip."""
        n_clips, n_frames, height_px, width_px, _ = frames_BTHW3.shape
        rows, columns, p = height_px // self._patch_px, width_px // self._patch_px, self._patch_px
        patches = frames_BTHW3.reshape(n_clips * n_frames, rows, p, columns, p, 3).transpose(2, 3)
        patches = patches.reshape(n_clips * n_frames, rows * columns, -1).float() / 255
        free = self._max_patches - rows * columns
        values = torch.nn.functional.pad(patches, (0, 0, 0, free)).to(self._dtype)
        grid = torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy")
        places = torch.nn.functional.pad(torch.stack(grid, dim=-1).reshape(-1, 2), (0, 0, 0, free), value=-1)
        places = places.to(values.device).expand(n_clips * n_frames, -1, -1)
        counts = torch.full((n_clips,), n_frames)
        found = self._network.get_video_features(values, places, counts, return_dict=True).pooler_output
        n_soft = rows * columns // self._pooled**2
        marks = self._marks
        return torch.stack(list(found)), (marks.begin_image + marks.video * n_soft + marks.end_image) * n_frames

    def _hear(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, str]:
        """[B, tokens, H] of the audio tower, and their place in the sequence of one clip."""
        found = self._network.get_audio_features(mel.to(self._dtype), mask, return_dict=True)
        kept = found.pooler_output[found.attention_mask].reshape(len(mel), -1, found.pooler_output.shape[-1])
        marks = self._marks
        return kept, marks.begin_audio + marks.audio * kept.shape[1] + marks.end_audio

    def _read(self, soft: dict[str, Tensor], pieces: dict[str, str], kinds: tuple[str, ...]) -> Tensor:
        """[B, dim] the mean of the tokens of prompt and `kinds`; every row has the same length, so none is padded."""
        network, settings = self._network, self._network.config
        text = CLIP_PROMPT + " ".join(pieces[kind] for kind in kinds)
        ids = self._tokenizer([text], return_tensors="pt")["input_ids"].to(self._device)
        own = {"video": settings.video_token_id, "audio": settings.audio_token_id}
        places = {kind: ids[0] == own[kind] for kind in kinds}
        is_soft = torch.stack(list(places.values())).any(dim=0)
        words = torch.where(is_soft, settings.text_config.pad_token_id, ids)
        n_clips = len(next(iter(soft.values())))
        embedded = network.get_input_embeddings()(words).repeat(n_clips, 1, 1)
        for kind in kinds:
            embedded[:, places[kind]] = soft[kind].to(embedded.dtype)
        everything = torch.ones(embedded.shape[:2], dtype=torch.long, device=embedded.device)
        found: Tensor = network.language_model(inputs_embeds=embedded, attention_mask=everything).last_hidden_state
        return found.float().mean(dim=1)


@dataclass(frozen=True, slots=True)
class _Marks:
    """The tokens that stand for soft ones and around them."""

    begin_image: str
    end_image: str
    begin_audio: str
    end_audio: str
    audio: str
    video: str = _VIDEO

    @classmethod
    def of(cls, tokenizer: Any) -> _Marks:
        """Those that a tokenizer names. Errors: BadModel."""
        names = ("boi_token", "eoi_token", "boa_token", "eoa_token", "audio_token")
        found = {name: getattr(tokenizer, name, None) for name in names}
        missing = [name for name, token in found.items() if not token]
        if missing:
            raise BadModel(f"the tokenizer of {tokenizer.name_or_path} names no {', '.join(missing)}; fetch it again")
        tokenizer.add_special_tokens({"additional_special_tokens": [_VIDEO]})
        return cls(*(str(token) for token in found.values()))


def _without_type(settings: dict[str, Any]) -> dict[str, Any]:
    names = ("feature_extractor_type", "processor_class", "image_processor_type", "frame_length", "hop_length")
    derived = ("fft_length", "mel_filters", "window")
    return {name: value for name, value in settings.items() if name not in (*names, *derived)}
