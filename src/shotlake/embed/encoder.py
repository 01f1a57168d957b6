"""The contract of every encoder: clips and texts to unit vectors of the same spaces.

Vectors are float32 of length one, and the norm that the model gave is kept. A space that a clip has nothing for (no
picture, no sound) gets a zero vector and norm 0; a clip with neither has `fused_norm` 0 (the flow records `bad_clip`);
a vector that is not finite is zeroed and its norm is NaN (`non_finite_vector`). One bad clip never costs the others.
"""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from shotlake.errors import BadClip
from shotlake.records import ClipBatch, ClipSpec, Fingerprint, QueryVectors, Space, VectorBatch

log = logging.getLogger(__name__)


@runtime_checkable
class Encoder(Protocol):
    """What the flow and the query side ask of a model."""

    @property
    def clip_spec(self) -> ClipSpec:
        """What a clip has to be like, and the grid of segments."""

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces that this model has vectors for."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Model, revision, weights and preprocessing."""

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        """B clips to B rows, in order. Errors: BadClip if the arrays do not have the shapes of `clip_spec`."""

    def embed_text(self, texts: list[str]) -> QueryVectors:
        """[Q, dim] a space. Errors: QueryError for a text of which the model knows no word that says something."""

    @property
    def match_score(self) -> float | None:
        """The score from which on a clip answers a text in the space `fused`; None: an index has to find it out."""

    def captions(self) -> list[str]:
        """Texts of the kind that this model answers, for tuning an index; may be empty."""


def embed_or_refuse(encoder: Encoder, batch: ClipBatch) -> VectorBatch:
    """B clips to B rows; of clips that the encoder refuses no row has a vector, and the run goes on.

    An encoder whose memory does not hold the batch gets its halves, one after the other.
    """
    n_clips = len(batch["cell"])
    try:
        return encoder.embed_clips(batch) if n_clips else _no_vectors(batch, encoder.dim)
    except BadClip as error:
        log.warning("model=%s clips=%d code=%s %s", encoder.fingerprint.model_id, n_clips, error.code, error)
        return _no_vectors(batch, encoder.dim)
    except torch.OutOfMemoryError:
        if n_clips == 1:
            raise
        log.warning("model=%s clips=%d halved: out of memory", encoder.fingerprint.model_id, n_clips)
    rows = (slice(None, n_clips // 2), slice(n_clips // 2, None))
    halves = [embed_or_refuse(encoder, ClipBatch(**{name: batch[name][part] for name in batch})) for part in rows]  # type: ignore[literal-required, typeddict-item]
    return VectorBatch(**{name: np.concatenate([half[name] for half in halves]) for name in halves[0]})  # type: ignore[literal-required, typeddict-item]


def _no_vectors(batch: ClipBatch, dim: int) -> VectorBatch:
    vectors, norms = np.zeros((len(batch["cell"]), dim), np.float32), np.zeros(len(batch["cell"]), np.float32)
    return VectorBatch(
        segment_id=batch["segment_id"],
        fused=vectors,
        fused_norm=norms,
        visual=vectors,
        visual_norm=norms,
        audio=vectors,
        audio_norm=norms,
    )


def dtype_name(encoder: Encoder, device: str) -> str:
    """What the network computes in on a device; an encoder that has no `dtypes` computes in float32 everywhere."""
    return str(getattr(encoder, "dtypes", {}).get(device, "float32"))


def normalise(
    raw_BD: NDArray[np.float32], present_B: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Raw vectors to (unit vectors [B, D], norms [B]) by the rules above; absent rows become zero."""
    vectors = np.where(present_B[:, None], raw_BD, np.float32(0)).astype(np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    vectors[~finite] = 0
    norms = np.linalg.norm(vectors, axis=1).astype(np.float32)
    vectors /= np.where(norms > 0, norms, 1)[:, None]
    norms[~finite] = np.nan
    return vectors, norms
