"""Is the best row of a query a match, and which space has most to say of it: by the scores that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shotlake.index.manifest import Manifest
from shotlake.query.live import LiveRows, Rows
from shotlake.query.terms import JoinedQuery
from shotlake.records import Hit, Space


@dataclass(frozen=True, slots=True)
class Match:
    """The best score of an answer against the one at which those of queries with an answer begin."""

    score: float
    threshold: float

    @property
    def good(self) -> bool:
        """False: most likely nothing in the lake is what was asked for."""
        return self.score >= self.threshold

    def to_json(self) -> dict[str, float | bool]:
        """As `search --json` shows it."""
        return {"good": self.good, "score": self.score, "threshold": self.threshold}


def judge(hits: Sequence[Hit], query: JoinedQuery, manifest: Manifest, stated: float | None) -> Match | None:
    """Of a text in the space `fused` by what the encoder has `stated`, else by what the index told from its own scores.

    None where scores do not tell: of more than one text or segment, joined by rank, not calibrated, a later page.
    """
    request = query.request
    is_plain = len(request.terms) == 1 and request.terms[0].kind != "vector" and not request.negative
    if not hits or request.cursor or not is_plain or len(query.ranked_by) > 1:
        return None
    measured = manifest.spaces[query.space].tuning[query.kind].match
    threshold = measured.threshold if measured else None
    if stated is not None and (query.kind, query.space) == ("text", "fused"):
        threshold = stated
    return None if threshold is None else Match(hits[0].score, threshold)


def strongest_space(query: JoinedQuery, rows: LiveRows, allowed: Rows | None) -> Space:
    """Of the spaces that could rank, the one in which the best row lacks least of what strong scores are there."""
    lacks: dict[Space, float] = {}
    for space in query.ranked_by:
        scores, _ = rows.nearest(query.vectors[space], space, 1, query.depth, allowed)
        strong = rows.manifest.spaces[space].tuning[query.kind].strong
        lacks[space] = strong - float(scores[0]) if len(scores) else np.inf
    return min(lacks, key=lacks.__getitem__)
