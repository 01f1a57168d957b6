"""Segments to the scores of items: the best segment, the mean vector, the best space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shotlake.records import Space

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
MAX_OF_SPACES = "max of spaces"


@dataclass(frozen=True, slots=True)
class Gallery:
    """The segments [S] of V items, in the order of their items; NaN rows where a segment has no vector."""

    items_S: Ints
    n_items: int
    vectors: Mapping[Space, Floats]  # [S, D]


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


def with_best_space(scores: dict[str, Floats]) -> dict[str, Floats]:
    """The scores of each space, and the greatest of them."""
    if len(scores) < 2:
        return scores
    return {**scores, MAX_OF_SPACES: np.maximum.reduce(list(scores.values()))}
