"""How the answers of two generations differ, on a set of text queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shotlake.index.exact import Scores
from shotlake.index.searcher import Searcher
from shotlake.index.truth import K, Truth
from shotlake.records import Space


@dataclass(frozen=True, slots=True)
class Difference:
    """Of `n_queries`: mean share of common segments among the ten best, and share with the same best segment.

    `lost`: the share of the first's answers that the second does not give although its tenth best score is lower: rows
    that it has not, or does not find. The other missing ones were pushed out by better rows.
    """

    n_queries: int
    overlap_at_10: float
    same_best: float
    lost: float


def tuned_queries(searcher: Searcher, space: Space) -> Scores:
    """The text queries [Q, D] that a generation was tuned with."""
    return Truth.load(searcher.files[searcher.manifest.spaces[space].truths["text"]]).queries


def compare(first: Searcher, second: Searcher, space: Space, queries: Scores) -> Difference:
    """Ask both generations unit vectors [Q, D]. Errors: QueryError if one has not the space."""
    (old_ids, old_scores), (new_ids, new_scores) = (_answers(searcher, queries, space) for searcher in (first, second))
    common = np.array([np.isin(old, new) for old, new in zip(old_ids, new_ids)]) & (old_ids != "")
    present = old_ids != ""
    lost = present & ~common & (old_scores > new_scores[:, -1:])
    answers = max(1, int(present.sum()))
    return Difference(
        n_queries=len(queries),
        overlap_at_10=float(common.sum() / answers),
        same_best=float((old_ids[:, 0] == new_ids[:, 0]).mean()),
        lost=float(lost.sum() / answers),
    )


def _answers(searcher: Searcher, queries: np.ndarray, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids [Q, K], "" where there are fewer rows, and their scores [Q, K]."""
    scores, rows = searcher.search_vectors(queries, space, K)
    ids = np.full(rows.shape, "", dtype=object)
    ids[rows >= 0] = searcher.columns(rows[rows >= 0], ["segment_id"])["segment_id"].to_pylist()
    return ids, scores
