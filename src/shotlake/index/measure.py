"""How good a generation is in one space: tuned for each kind of query, and stored with the truth that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shotlake.config import IndexConfig
from shotlake.index.density import dense_lists
from shotlake.index.draft import Draft
from shotlake.index.filtered import with_filters
from shotlake.index.manifest import DenseList, File, QueryKind, Tuning
from shotlake.index.scan import SpaceVectors
from shotlake.index.truth import Truth
from shotlake.index.tuning import tune
from shotlake.records import Space


@dataclass(frozen=True, slots=True)
class Measured:
    """The curves and chosen points, and where the queries with their answers are stored."""

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
    text_source: str,
    config: IndexConfig,
) -> Measured:
    """Tune to the targets of `config` and store the truth. Errors: IndexingError if no query is left."""
    sources: dict[QueryKind, tuple[str, float]] = {
        "text": (text_source, config.target_recall),
        "segment": ("rows of the table", config.target_recall_segment),
    }
    dense = dense_lists(vectors)
    vectors = vectors.with_dense(dense)
    tuning = {
        kind: with_filters(vectors, truths[kind], tune(vectors, truths[kind], *sources[kind])) for kind in sources
    }
    stored = {kind: draft.put(truth.save, f"{space}/truth-{kind}.npz") for kind, truth in truths.items()}
    return Measured(tuning, {kind: file.path for kind, file in stored.items()}, dense, tuple(stored.values()))
