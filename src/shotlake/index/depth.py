"""How far a query looks: the point of a measured curve that answers it, by the recall or the time that it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shotlake.index.filtered import stated_recall
from shotlake.index.manifest import Manifest, QueryKind, TunedPoint
from shotlake.records import Space

ROW_COST_IN_CODES = 8  # re-ranking one row costs about as much as scanning so many codes


@dataclass(frozen=True, slots=True)
class Depth:
    """The kind of a query, and what it asks for instead of the tuned recall.

    `recall`: a lower bound. `time_limit_ms`: what one search in one space may take, as it was measured when the index
    was built, on the machine that built it.
    """

    kind: QueryKind = "text"
    recall: float | None = None
    time_limit_ms: float | None = None


TUNED_TEXT = Depth()


def point_for(manifest: Manifest, space: Space, depth: Depth) -> TunedPoint:
    """The tuned point, or the cheapest that reaches the recall. If that takes too long, or only a time is given: of the
    points within the time the one with the best lower bound; the quickest of all where none is.
    """
    tuning, limit_ms = manifest.spaces[space].tuning[depth.kind], depth.time_limit_ms
    if depth.recall is not None:
        point = cheapest(tuning.curve, depth.recall, manifest.table_rows / manifest.plan.nlist)
        if limit_ms is None or (point.ms <= limit_ms and point.reaches(depth.recall)):
            return point
    if limit_ms is None:
        return tuning.chosen
    within = [point for point in tuning.curve if point.ms <= limit_ms]
    if not within:
        return min(tuning.curve, key=lambda point: point.ms)
    return max(within, key=lambda point: (point.lower_bound, -point.ms))


def recall_at_10(
    manifest: Manifest, space: Space, depth: Depth, n_allowed: int | None = None
) -> dict[QueryKind, float]:
    """The recall that was measured where queries of each kind are answered that ask for so much.

    `n_allowed`: how many rows of the generation their filter lets through; None without a filter.
    """
    kinds = manifest.spaces[space].tuning
    points = {kind: point_for(manifest, space, replace(depth, kind=kind)) for kind in kinds}
    if n_allowed is None:
        return {kind: point.recall for kind, point in points.items()}
    return {kind: stated_recall(kinds[kind], points[kind], manifest.n_rows, n_allowed) for kind in kinds}


def cheapest(curve: Sequence[TunedPoint], target: float, rows_per_list: float) -> TunedPoint:
    """The point that reads least among those that reach `target`; else the one that was found best."""
    enough = [point for point in curve if point.reaches(target)]
    if not enough:
        return max(curve, key=lambda point: min(point.chosen_by, point.lower_bound))
    return min(enough, key=lambda point: point.nprobe * rows_per_list + point.rerank * ROW_COST_IN_CODES)
