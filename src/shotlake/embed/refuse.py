"""One bad clip never costs the others, and a batch that is too large for memory goes in halves."""

from __future__ import annotations

import logging

import numpy as np
import torch

from shotlake.embed.encoder import Encoder
from shotlake.errors import BadClip
from shotlake.records import ClipBatch, VectorBatch

log = logging.getLogger(__name__)


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
