"""A generation whose shards are held by other processes: asks all of them at once and merges what they answer.

It has the methods of a Searcher, so that the query room does not know the difference. A call is answered for all of its
shards or raises ShardsLost; `reachable` gives a router that does without those that nobody holds at present.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from shotlake.config import ServeConfig
from shotlake.errors import ShardsLost
from shotlake.index.columns import COLUMNS, RowCondition
from shotlake.index.depth import TUNED_TEXT, Depth
from shotlake.index.exact import Rows, Scores
from shotlake.index.manifest import Manifest
from shotlake.index.searcher import Searcher
from shotlake.records import Space
from shotlake.serve.holders import HolderGroup, cut_runs


@dataclass(frozen=True)
class Router:
    """One generation on its holders. Row numbers are those of the manifest; threads share it."""

    manifest: Manifest
    groups: tuple[HolderGroup, ...]  # in the order of their rows
    hidden: ray.ObjectRef  # rows that are never found
    tombstones: Rows
    is_partial: bool = False
    deadline: float = math.inf  # of `time.monotonic`: when nobody waits any more

    @classmethod
    def load(
        cls, index_root: str, manifest: Manifest, cache_dir: Path | None, cache_bytes: int, config: ServeConfig
    ) -> Router:
        """Start the holders and wait until they have loaded. Errors: CorruptGeneration, PreflightError, ShardsLost."""
        parts = [manifest.part(run) for run in cut_runs(manifest, config.holders)]
        groups = tuple(HolderGroup(index_root, part, cache_dir, cache_bytes, config) for part in parts)
        for group in groups:
            group.wait()
        router = cls(manifest, groups, ray.put(np.empty(0, np.int64)), np.empty(0, np.int64))
        return replace(router, tombstones=router._ask(groups[:1], attrgetter("tombstones"), lambda _: ())[0])

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces of the generation."""
        return tuple(self.manifest.spaces)

    @property
    def n_rows(self) -> int:
        """Rows of the shards that somebody holds."""
        return sum(group.n_rows for group in self.groups)

    def sweep(self) -> None:
        """Have the holders drop the copies, on their machines, of what the lake has no more; nobody waits for it."""
        for group in self.groups:
            for holder in group.holders:
                holder.sweep.remote()

    def reachable(self) -> Router:
        """Without the groups of which no replica is left; itself if there are none. Errors: ShardsLost if it is all."""
        groups = tuple(group for group in self.groups if group.is_reachable())
        if not groups:
            raise ShardsLost("all processes that held shards of the index are gone; new ones load; try again later")
        return self if len(groups) == len(self.groups) else replace(self, groups=groups, is_partial=True)

    def until(self, deadline: float) -> Router:
        """The same holders, for whom nobody waits after `deadline`."""
        return replace(self, deadline=deadline)

    def without(self, hidden: Rows) -> Router:
        """The same holders, for whom `hidden` rows are never found; what an earlier call hid is shown again."""
        return replace(self, hidden=ray.put(hidden))

    def search_vectors(
        self, queries: Scores, space: Space, k: int, depth: Depth = TUNED_TEXT, allowed: Rows | None = None
    ) -> tuple[Scores, Rows]:
        """As of a Searcher: the best of what each group finds best, [Q, k]."""

        def arguments(group: HolderGroup) -> tuple[Any, ...]:
            return queries, space, k, depth, None if allowed is None else allowed[group.owned(allowed)]

        found = self._ask(self.groups, Searcher.search_vectors, arguments)
        scores, rows = (np.concatenate(parts, axis=1) for parts in zip(*found))
        best = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)

    def score_rows(self, query: NDArray[np.float32], space: Space, rows: Rows) -> list[float | None]:
        """Exact scores of `rows` [K] for one vector [D]; None where a segment has no vector in the space."""
        scores = np.full(len(rows), None)
        for mine, found in self._ask_owners(rows, Searcher.score_rows, lambda own: (query, space, own)):
            scores[mine] = found
        return list(scores)

    def vectors(self, space: Space, rows: Rows) -> Scores:
        """The stored vectors [K, D] of `rows`; zeros where a segment has none."""
        vectors = np.zeros((len(rows), self.manifest.plan.dim), np.float32)
        for mine, found in self._ask_owners(rows, Searcher.vectors, lambda own: (space, own)):
            vectors[mine] = found
        return vectors

    def columns(self, rows: Rows, names: list[str]) -> pa.Table:
        """Columns of the `rows` [K], in their order."""
        parts = self._ask_owners(rows, Searcher.columns, lambda own: (own, names))
        none = pa.schema([COLUMNS.field(name) for name in names]).empty_table()
        order = np.concatenate([np.empty(0, np.int64), *(np.flatnonzero(mine) for mine, _ in parts)])
        return pa.concat_tables([none, *(table for _, table in parts)]).take(pa.array(np.argsort(order)))

    def find(self, name: str, values: pa.Array) -> Rows:
        """Ascending numbers of the rows whose column `name` is one of `values`, tombstones among them."""
        return np.concatenate(self._ask(self.groups, Searcher.find, lambda _: (name, values)))

    def where(self, condition: RowCondition, seconds: float = math.inf) -> tuple[Rows, int]:
        """As of a Searcher: the rows that fulfil a condition, and how many there was no time for."""
        found = self._ask(self.groups, Searcher.where, lambda _: (condition, seconds))
        return np.concatenate([rows for rows, _ in found]), sum(n_unseen for _, n_unseen in found)

    def _ask_owners(
        self, rows: Rows, method: Callable[..., Any], arguments: Callable[[Rows], tuple[Any, ...]]
    ) -> list[tuple[NDArray[np.bool_], Any]]:
        """Of each group that holds some of the rows [K]: which ones, and its answer to `arguments(those)`."""
        owned = {group: group.owned(rows) for group in self.groups}
        asked = [group for group, mine in owned.items() if mine.any()]
        answers = self._ask(asked, method, lambda group: arguments(rows[owned[group]]))
        return [(owned[group], answer) for group, answer in zip(asked, answers)]

    def _ask(
        self,
        groups: Sequence[HolderGroup],
        method: Callable[..., Any],
        arguments: Callable[[HolderGroup], tuple[Any, ...]],
    ) -> list[Any]:
        """The answer of each group; all are asked before one is waited for.

        Errors: ShardsLost, TooSlow, those of `method`.
        """
        waits = [group.ask(self.hidden, method, *arguments(group)) for group in groups]
        answers = [wait(self.deadline) for wait in waits]
        if any(answer is None for answer in answers):
            raise ShardsLost("a process that held shards of the index was lost while it was asked; ask again")
        return answers
