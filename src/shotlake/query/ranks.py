"""Several ranked lists of rows become one by reciprocal rank, which needs no common scale of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shotlake.query.live import Rows, Vector

RANK_OFFSET = 60  # as the method was published


def join_ranks(lists: Sequence[Rows], k: int) -> tuple[Vector, Rows]:
    """The k best rows of lists that are each in the order of their scores, and what they score: 1 if first in all."""
    rows, where = np.unique(np.concatenate(lists), return_inverse=True)
    shares = np.concatenate([(RANK_OFFSET + 1) / (RANK_OFFSET + 1 + np.arange(len(found))) for found in lists])
    scores = np.bincount(where, weights=shares, minlength=len(rows)) / max(1, len(lists))
    best = np.lexsort((rows, -scores))[:k]
    return scores[best].astype(np.float32), rows[best]
