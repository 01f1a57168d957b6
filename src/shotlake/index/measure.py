"""How good a generation is in one space: tuned for each kind of query, and stored with the truth that says so.

Lists that codes cannot rank are found first. Where a collection is behind all the same, its lists are added to them, if
it is small enough to be scored row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shotlake.config import IndexConfig
from shotlake.index.columns import RowColumns
from shotlake.index.density import dense_lists, lists_of
from shotlake.index.draft import Draft
from shotlake.index.filtered import with_filters
from shotlake.index.gate import least_of_collections
from shotlake.index.manifest import DenseList, File, QueryKind, Tuning
from shotlake.index.scan import BRUTE_FORCE_ROWS, SpaceVectors
from shotlake.index.truth import Truth
from shotlake.index.tuning import Asked, tune
from shotlake.records import Space


@dataclass(frozen=True, slots=True)
class Measured:
    """The curves and chosen points, where the queries with their answers are stored, and the lists scored by row."""

    tuning: dict[QueryKind, Tuning]
    truths: dict[QueryKind, str]
    dense: tuple[DenseList, ...]
    files: tuple[File, ...]

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"tuning": self.tuning, "truths": self.truths, "dense": self.dense}


def measure(
    draft: Draft,
    space: Space,
    vectors: SpaceVectors,
    truths: Mapping[QueryKind, Truth],
    columns: RowColumns,
    text_source: str,
    config: IndexConfig,
) -> Measured:
    """Tune to the targets of `config` and store the truth. Errors: IndexingError if no query is left."""
    text, segment = truths["text"], truths["segment"]
    nowhere = np.full(len(text.queries), None, dtype=np.object_)
    asked: dict[QueryKind, Asked] = {
        "text": Asked(text, text_source, config.target_recall, nowhere),
        "segment": Asked(
            segment, "rows of the table", config.target_recall_segment, columns.collections(segment.own_rows)
        ),
    }
    vectors = vectors.with_dense(dense_lists(vectors))
    tuning = {"segment": tune(vectors, asked["segment"])}
    if added := _lists_of_weak(vectors, tuning["segment"], columns):
        vectors = vectors.with_dense((*vectors.dense.found, *added))
        tuning = {"segment": tune(vectors, asked["segment"])}
    tuning["text"] = tune(vectors, asked["text"])
    tunings: dict[QueryKind, Tuning] = {kind: with_filters(vectors, truths[kind], tuning[kind]) for kind in asked}
    stored = {kind: draft.put(truth.save, f"{space}/truth-{kind}.npz") for kind, truth in truths.items()}
    paths = {kind: file.path for kind, file in stored.items()}
    return Measured(tunings, paths, vectors.dense.found, tuple(stored.values()))


def _lists_of_weak(vectors: SpaceVectors, tuning: Tuning, columns: RowColumns) -> tuple[DenseList, ...]:
    """The lists of the collections that are behind, if their rows are few enough."""
    least = least_of_collections(tuning.target)
    weak = [each.collection for each in tuning.by_collection if each.recall < least and each.collection is not None]
    if not weak or vectors.exact:
        return ()
    rows = columns.find("collection", weak)
    return lists_of(vectors, rows) if len(rows) <= BRUTE_FORCE_ROWS else ()
