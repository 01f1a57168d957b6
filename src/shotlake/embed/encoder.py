"""The contract of every encoder: clips and texts to unit vectors of the same spaces.

Vectors are float32 of length one, and the norm that the model gave is kept. A space that a clip has nothing for (no
picture, no sound) gets a zero vector and norm 0; a clip with neither has `fused_norm` 0 (the flow records `bad_clip`);
a vector that is not finite is zeroed and its norm is NaN (`non_finite_vector`). One bad clip never costs the others.
"""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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
