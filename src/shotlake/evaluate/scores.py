"""Segments to the scores of items: the best segment, the mean vector; spaces joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.records import Space

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
MAX_OF_SPACES = "max of spaces"
_RANK_OFFSET = 60  # as reciprocal rank fusion was published


@dataclass(frozen=True, slots=True)
class Gallery:
    """The segments [S] of V items, in the order of their items; NaN rows where a segment has no vector."""

    items_S: Ints
    n_items: int
    vectors: Mapping[Space, Floats]  # [S, D]
    segment_ids: tuple[str, ...] = ()

    @property
    def empty_items(self) -> list[int]:
        """Items without a segment: nothing of their videos could be read."""
        return sorted(set(range(self.n_items)) - set(self.items_S.tolist()))


def score_best_segment(queries: Floats, gallery: Gallery, space: Space) -> Floats:
    """[Q, V] the best score of an item's segments; -inf for an item that has none in the space."""
    scores = np.full((len(queries), gallery.n_items), -np.inf, np.float32)
    there = np.isfinite(gallery.vectors[space][:, 0]) if len(gallery.items_S) else np.zeros(0, bool)
    items, starts = np.unique(gallery.items_S[there], return_index=True)
    if len(items):
        scores[:, items] = np.maximum.reduceat(queries @ gallery.vectors[space][there].T, starts, axis=1)
    return scores


def score_mean(queries: Floats, gallery: Gallery, space: Space) -> Floats:
    """[Q, V] the score of the normalised mean of an item's vectors."""
    scores = np.full((len(queries), gallery.n_items), -np.inf, np.float32)
    there = np.isfinite(gallery.vectors[space][:, 0]) if len(gallery.items_S) else np.zeros(0, bool)
    items, starts = np.unique(gallery.items_S[there], return_index=True)
    if len(items):
        sums = np.add.reduceat(gallery.vectors[space][there], starts, axis=0)
        means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        scores[:, items] = queries @ means.T
    return scores


def with_joined(scores: dict[str, Floats]) -> dict[str, Floats]:
    """The scores of each space; the greatest of them; and picture and sound joined by rank and by z-score."""
    if len(scores) < 2:
        return scores
    joined = {**scores, MAX_OF_SPACES: np.maximum.reduce(list(scores.values()))}
    if {"visual", "audio"} <= scores.keys():
        halves = [scores["visual"], scores["audio"]]
        joined["visual + audio by rank"] = np.add.reduce([_reciprocal_ranks(half) for half in halves])
        joined["visual + audio by z-score"] = np.add.reduce([_z_scores(half) for half in halves])
    return joined


def spread(scores_QV: Floats) -> dict[str, float]:
    """Mean and standard deviation of the scores that are there."""
    there = scores_QV[np.isfinite(scores_QV)]
    return {"mean": float(there.mean()), "std": float(there.std())} if len(there) else {"mean": 0.0, "std": 0.0}


def _reciprocal_ranks(scores_QV: Floats) -> Floats:
    """1 / (60 + rank) of each item for each query; nothing for an item without a vector."""
    ranks = np.argsort(np.argsort(-scores_QV, axis=1, kind="stable"), axis=1) + 1
    return np.where(np.isfinite(scores_QV), 1 / (_RANK_OFFSET + ranks), 0).astype(np.float32)


def _z_scores(scores_QV: Floats) -> Floats:
    """Each query's scores with mean 0 and standard deviation 1; an item without a vector has the mean."""
    there = np.isfinite(scores_QV)
    known = np.where(there, scores_QV, 0)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    mean = known.sum(axis=1, keepdims=True) / count
    deviation = np.where(there, scores_QV - mean, 0)
    scale = np.sqrt((deviation**2).sum(axis=1, keepdims=True) / count)
    return np.asarray(deviation / np.maximum(scale, 1e-12), np.float32)
