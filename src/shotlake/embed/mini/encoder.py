"""`mini` behind the encoder contract: 2 s windows of 16 small frames and 16 kHz sound, one space of 384 dimensions.

One vector of a text serves all three spaces. A clip shorter than the window is its frames spread over the shorter range
and a sound that is masked at its end: it was trained on such clips.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import normalise
from shotlake.embed.mini.examples import N_SAMPLES
from shotlake.embed.mini.files import find_weights, load_weights
from shotlake.embed.mini.meaning import Conjunctions
from shotlake.embed.mini.mel import SAMPLE_RATE_HZ
from shotlake.embed.mini.model import Tokens
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.windows import N_FRAMES, SIZE_PX, WINDOW_S
from shotlake.embed.weights import Seen
from shotlake.errors import BadClip, ConfigError, QueryError
from shotlake.records import SPACES, ClipBatch, ClipSpec, Fingerprint, QueryVectors, Space, VectorBatch
from shotlake.world.captions import GLUE, tuning_captions, words
from shotlake.world.scenes import ATTRIBUTES

log = logging.getLogger(__name__)

_CPU_BATCH = 16  # more clips at once leave the cache: 64 take 1.27 times the CPU seconds a clip
MINI_FOLDER = Path(__file__).parent / "weights"
_PREPROCESSING = (
    "rgb / 127.5 - 1; tubelet = second of two frames, 2 x (second - first), normal flow; log10 mel 64 x 20 ms / 4"
)


class MiniEncoder:
    """The shipped encoder, or another network of its format. Errors: BadModel, ConfigError."""

    def __init__(self, folder: Path, config: EmbedConfig, device: str = "cpu") -> None:
        path = find_weights(folder)
        seen = Seen.now([path])
        model, vocabulary = load_weights(path)
        self._model, self._device = model.to(device), device
        self._batch_size = min(config.batch_size, _CPU_BATCH) if device == "cpu" else config.batch_size
        self._tokenizer = Tokenizer(vocabulary, model.shape.max_words)
        digest = seen.sha256s()[0]
        self.clip_spec = _clip_spec(config)
        self.spaces: tuple[Space, ...] = SPACES
        self.dim = model.shape.vector_dim
        self.fingerprint = Fingerprint("mini", "", digest, hashlib.sha256(_PREPROCESSING.encode()).hexdigest())

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        """Three vectors a clip; see shotlake.embed.encoder for clips that lack something."""
        _check_shapes(batch)
        n_clips = len(batch["segment_id"])
        raw: dict[Space, NDArray[np.float32]] = {space: np.zeros((n_clips, self.dim), np.float32) for space in SPACES}
        present: dict[Space, NDArray[np.bool_]] = {space: np.zeros(n_clips, bool) for space in SPACES}
        for start in range(0, n_clips, self._batch_size):
            rows = slice(start, start + self._batch_size)
            self._embed_rows(batch, rows, raw, present)
        fused, fused_norm = normalise(raw["fused"], present["fused"])
        visual, visual_norm = normalise(raw["visual"], present["visual"])
        audio, audio_norm = normalise(raw["audio"], present["audio"])
        return VectorBatch(
            segment_id=batch["segment_id"],
            fused=fused,
            fused_norm=fused_norm,
            visual=visual,
            visual_norm=visual_norm,
            audio=audio,
            audio_norm=audio_norm,
        )

    @torch.inference_mode()
    def _embed_rows(
        self,
        batch: ClipBatch,
        rows: slice,
        raw: dict[Space, NDArray[np.float32]],
        present: dict[Space, NDArray[np.bool_]],
    ) -> None:
        """Fill `raw` and `present` of these rows: towers once, fusion for each choice of modalities."""
        waveform, sample_mask = _pad_samples(batch["waveform"][rows]), _pad_samples(batch["sample_mask"][rows])
        arrays = (batch["frames"][rows], batch["frame_mask"][rows], waveform, sample_mask)
        columns = [torch.from_numpy(np.ascontiguousarray(array)).to(self._device) for array in arrays]
        tokens = self._model.tokens(*columns)
        seen, heard = tokens.picture_mask_BP.any(1), tokens.sound_mask_BS.any(1)
        views: dict[Space, tuple[Tokens, Tensor]] = {
            "fused": (tokens, seen | heard),
            "visual": (tokens.picture_only(), seen),
            "audio": (tokens.sound_only(), heard),
        }
        for space in SPACES:
            view, there = views[space]
            raw[space][rows] = self._model.project(self._model.fuse(view)).cpu().numpy()
            present[space][rows] = there.cpu().numpy()

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> QueryVectors:
        """Unknown words are read by their spelling or left out, with a warning that counts them.

        Errors: QueryError if a text says nothing that the model knows.
        """
        for text in texts:
            self._check_words(text)
        pieces, rows = (torch.from_numpy(table).to(self._device) for table in self._tokenizer.ids(texts))
        vectors, _ = normalise(self._model.say(self._model.text(pieces, rows)).cpu().numpy(), np.ones(len(texts), bool))
        return dict.fromkeys(SPACES, vectors)

    @property
    def match_score(self) -> float | None:
        """Measured by the second training."""
        meaning = self._model.meaning
        return float(meaning.get_buffer("match_score")) or None if isinstance(meaning, Conjunctions) else None

    def captions(self) -> list[str]:
        """600 captions of the rendered world."""
        return tuning_captions()

    def _check_words(self, text: str) -> None:
        unknown = self._tokenizer.unknown(text)
        left_out = [word for word in unknown if not self._tokenizer.is_read(word)]
        if not set(words(text)) - GLUE - set(left_out):
            known = "; ".join(f"{name}: {', '.join(values)}" for name, values in ATTRIBUTES.items())
            strange = f" ({', '.join(unknown)} are unknown words)" if unknown else ""
            raise QueryError(
                f"the query {text!r} says nothing that mini knows{strange}; it knows a rendered world only - {known} - "
                "so ask for 'a striped red circle moving left', or index with another embed.model"
            )
        if unknown:
            listed, out = ",".join(unknown), ",".join(left_out) or "none"
            log.warning("query=%r n_unknown=%d unknown_words=%s ignored by mini: %s", text, len(unknown), listed, out)


def _clip_spec(config: EmbedConfig) -> ClipSpec:
    """The trained window, or a shorter one. Errors: ConfigError."""
    window_s = WINDOW_S if config.window_s is None else config.window_s
    if window_s > WINDOW_S:
        raise ConfigError(f"embed.window_s is {window_s:g}; mini sees {WINDOW_S:g} s at the most")
    stride_s = window_s if config.stride_s is None else config.stride_s
    return ClipSpec(
        window_us=round(window_s * 1e6),
        stride_us=round(stride_s * 1e6),
        n_frames=N_FRAMES,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        sample_rate_hz=SAMPLE_RATE_HZ,
    )


def _check_shapes(batch: ClipBatch) -> None:
    n_clips = len(batch["segment_id"])
    frames, waveform = batch["frames"], batch["waveform"]
    if frames.shape != (n_clips, N_FRAMES, SIZE_PX, SIZE_PX, 3) or frames.dtype != np.uint8:
        wanted = f"uint8 [{n_clips}, {N_FRAMES}, {SIZE_PX}, {SIZE_PX}, 3]"
        raise BadClip(f"frames are {frames.dtype} {frames.shape}; mini wants {wanted}")
    if waveform.ndim != 2 or len(waveform) != n_clips or waveform.shape[1] > N_SAMPLES:
        raise BadClip(f"the waveform is {waveform.shape}; mini wants [B, N] with N at most {N_SAMPLES} (16 kHz mono)")


def _pad_samples(column_BN: NDArray[Any]) -> NDArray[Any]:
    """Zeros (or False) up to the two seconds that the network hears."""
    return np.pad(column_BN, ((0, 0), (0, N_SAMPLES - column_BN.shape[1])))
