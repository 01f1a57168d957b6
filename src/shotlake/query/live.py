"""The rows that a query can find: a generation's and, numbered behind them, the newer ones; without retired ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.index.columns import RowCondition
from shotlake.index.depth import TUNED_TEXT, Depth
from shotlake.index.manifest import Manifest
from shotlake.query.budget import Budget
from shotlake.query.conditions import OneOf
from shotlake.query.fresh import FreshRows
from shotlake.records import Space

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]


class RowSearcher(Protocol):
    """A loaded generation, in this process (`index.searcher.Searcher`, which says what each does) or in several.

    Where it is in several, any call may raise ShardsLost.
    """

    @property
    def manifest(self) -> Manifest: ...

    @property
    def spaces(self) -> Collection[Space]: ...

    @property
    def tombstones(self) -> Rows: ...

    @property
    def n_rows(self) -> int:
        """Rows of the shards that can be asked."""

    @property
    def is_partial(self) -> bool:
        """Some shards are left out, and so is whatever stands in them."""

    def sweep(self) -> None:
        """Drop copies of what the lake has no more, wherever its files are held; does not raise for a store."""

    def reachable(self) -> Self:
        """Without the shards that nobody can be asked for now; itself if there are none. Errors: ShardsLost (all)."""

    def without(self, hidden: Rows) -> Self: ...

    def search_vectors(
        self, queries: Vector, space: Space, k: int, depth: Depth = TUNED_TEXT, allowed: Rows | None = None
    ) -> tuple[Vector, Rows]: ...

    def score_rows(self, query: Vector, space: Space, rows: Rows) -> list[float | None]: ...

    def vectors(self, space: Space, rows: Rows) -> Vector: ...

    def columns(self, rows: Rows, names: list[str]) -> pa.Table: ...

    def find(self, name: str, values: pa.Array) -> Rows: ...

    def where(self, condition: RowCondition, seconds: float = math.inf) -> tuple[Rows, int]: ...


@dataclass(frozen=True)
class LiveRows:
    """Both kinds of rows behind one numbering. `hidden` rows of the generation (ascending) are never found."""

    searcher: RowSearcher
    fresh: FreshRows
    hidden: Rows

    @classmethod
    def without_videos(cls, searcher: RowSearcher, fresh: FreshRows, retired: pa.Array) -> LiveRows:
        """The rows of both but those of the `retired` videos, and each segment once: one embedded again is new."""
        again = fresh.columns["segment_id"].combine_chunks()
        gone = np.union1d(searcher.find("video_id", retired), searcher.find("segment_id", again))
        return cls(searcher.without(gone), fresh, np.union1d(gone, searcher.tombstones))

    @property
    def manifest(self) -> Manifest:
        """The generation that answers."""
        return self.searcher.manifest

    def __len__(self) -> int:
        return self.manifest.n_rows + len(self.fresh)

    def nearest(
        self, query: Vector, space: Space, k: int, depth: Depth, allowed: Rows | None = None
    ) -> tuple[Vector, Rows]:
        """The k best live rows for a vector [D], of all or of the ascending `allowed`: exact scores, no padding."""
        first = self.manifest.n_rows
        indexed = allowed[allowed < first] if allowed is not None else None
        scores, rows = self.searcher.search_vectors(query[None, :], space, k, depth, indexed)
        exact, newer = self.fresh.nearest(
            query, space, k, None if allowed is None else allowed[allowed >= first] - first
        )
        all_scores = np.concatenate([scores[0], exact])
        all_rows = np.concatenate([rows[0], first + newer])
        best = np.lexsort((all_rows, -all_scores))[:k]
        best = best[np.isfinite(all_scores[best])]
        return all_scores[best], all_rows[best]

    def columns(self, rows: Rows, names: list[str]) -> pa.Table:
        """Columns of the rows [K], in their order."""
        newer = rows >= self.manifest.n_rows
        order = np.concatenate([np.flatnonzero(~newer), np.flatnonzero(newer)])
        indexed = self.searcher.columns(rows[~newer], names)
        added = self.fresh.columns.select(names).take(pa.array(rows[newer] - self.manifest.n_rows))
        return pa.concat_tables([indexed, added]).take(pa.array(np.argsort(order)))

    def scores(self, query: Vector | None, space: Space, rows: Rows) -> list[float | None]:
        """Exact scores of rows [K] in one space; None where the index, the query or the row has no vector in it."""
        if query is None or space not in self.searcher.spaces:
            return [None] * len(rows)
        first = self.manifest.n_rows
        indexed = iter(self.searcher.score_rows(query, space, rows[rows < first]))
        newer = iter(self.fresh.scores(query, space, rows[rows >= first] - first).tolist())
        both = [next(indexed) if row < first else next(newer) for row in rows.tolist()]
        return [score if score is not None and np.isfinite(score) else None for score in both]

    def vectors(self, space: Space, rows: Rows) -> Vector:
        """The stored vectors [K, D] of rows [K]; zeros where a row has none."""
        newer = rows >= self.manifest.n_rows
        found = np.empty((len(rows), self.manifest.plan.dim), dtype=np.float32)
        found[~newer] = self.searcher.vectors(space, rows[~newer])
        found[newer] = self.fresh.vectors[space][rows[newer] - self.manifest.n_rows]
        return found

    def find(self, name: str, values: Iterable[str]) -> Rows:
        """Ascending numbers of the live rows whose column is one of `values`."""
        wanted = pa.array(list(values), pa.string())
        return self.where(OneOf(name, wanted), Budget())

    def of_videos(self, video_ids: Iterable[str]) -> Rows:
        """Ascending numbers of the live rows of some videos."""
        wanted = pa.array(list(video_ids), pa.string())
        indexed = np.setdiff1d(self.searcher.find("video_id", wanted), self.hidden, assume_unique=True)
        newer = np.flatnonzero(np.asarray(pc.is_in(self.fresh.columns["video_id"], value_set=wanted)))
        return np.concatenate([indexed, self.manifest.n_rows + newer])

    def where(self, condition: RowCondition, budget: Budget) -> Rows:
        """Ascending numbers of the live rows that fulfil a condition, of as many rows as there is time for."""
        indexed, n_unseen = self.searcher.where(condition, budget.left_s)
        budget.leave_out(n_unseen)
        rows = [np.setdiff1d(indexed, self.hidden, assume_unique=True)]
        if len(self.fresh):
            batch = self.fresh.columns.combine_chunks().to_batches()[0]
            passed = np.asarray(pc.fill_null(condition.rows(batch), False))
            rows.append(self.manifest.n_rows + np.flatnonzero(passed))
        return np.concatenate(rows)
