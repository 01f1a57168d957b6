"""A loaded generation: verified files, vectors to scan, columns to answer from. Pure Python, safe to share by threads.

Row numbers are those of the manifest, the same in every space. A Searcher never changes; a newer generation is another.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shotlake import storage
from shotlake.errors import QueryError
from shotlake.index.cache import CacheSweep
from shotlake.index.columns import RowColumns, RowCondition, ShardColumns
from shotlake.index.depth import TUNED_TEXT, Depth, point_for
from shotlake.index.exact import Rows, Scores, ShardVectors
from shotlake.index.files import LocalFiles, default_cache_dir, fetch
from shotlake.index.manifest import COLUMNS_NAME, INDEX_NAME, ROWS_NAME, Manifest, TunedPoint
from shotlake.index.scan import SpaceVectors
from shotlake.index.stored import load_index, load_trained, map_rows
from shotlake.index.wheel import check_one_faiss
from shotlake.records import Space


@dataclass(frozen=True)
class Searcher:
    """What answers vector queries from one generation."""

    manifest: Manifest
    spaces: dict[Space, SpaceVectors]
    shard_columns: tuple[ShardColumns, ...]
    files: LocalFiles  # every verified file by its path in the manifest
    tombstones: Rows  # ascending; never found, whatever else is hidden
    copies: CacheSweep  # of this space, on this machine
    is_partial: bool = False  # all shards are in this process

    @classmethod
    def load(
        cls,
        index_root: str,
        manifest: Manifest,
        cache_dir: Path | None = None,
        cache_bytes: int = 0,
        in_place: bool = True,
    ) -> Searcher:
        """Fetch, verify and map every file of the generation, a local lake's `in_place` or from a copy.

        Errors: CorruptGeneration, PreflightError.
        """
        check_one_faiss()
        folder = storage.join(index_root, manifest.embed_key)
        files = fetch(folder, manifest.files, cache_dir or default_cache_dir(), cache_bytes, in_place)
        tombstones = np.fromfile(files[manifest.tombstones] if manifest.tombstones else os.devnull, dtype=np.int64)
        first_rows = [shard.first_row for shard in manifest.shards]
        spaces = {
            space: SpaceVectors(
                load_trained(files[entry.trained]),
                [
                    ShardVectors(
                        load_index(files[f"{part.path}/{INDEX_NAME}"]),
                        map_rows(files[f"{part.path}/{ROWS_NAME}"], manifest.plan.dim),
                        first_row,
                    )
                    for part, first_row in zip(entry.shards, first_rows)
                ],
                tombstones,
                dense=entry.dense,
            )
            for space, entry in manifest.spaces.items()
        }
        described = next(iter(manifest.spaces.values())).shards
        columns = tuple(ShardColumns(files[f"{part.path}/{COLUMNS_NAME}"]) for part in described)
        copies = CacheSweep(index_root, manifest.embed_key, cache_dir)
        return cls(manifest, spaces, columns, files, tombstones, copies)

    @property
    def row_columns(self) -> RowColumns:
        """The columns of all shards."""
        return RowColumns(self.shard_columns, [shard.first_row for shard in self.manifest.shards])

    @property
    def n_rows(self) -> int:
        """All rows of the generation are here."""
        return self.manifest.n_rows

    def sweep(self) -> None:
        """Drop this machine's copies of what the lake has no more; those held open go when they are let go."""
        self.copies()

    def reachable(self) -> Searcher:
        """Itself: there is nobody who could be lost."""
        return self

    def without(self, hidden: Rows) -> Searcher:
        """The same generation, in which `hidden` rows are never found; what an earlier call hid is shown again."""
        hidden = np.union1d(self.tombstones, hidden)
        return replace(self, spaces={space: vectors.without(hidden) for space, vectors in self.spaces.items()})

    def search_vectors(
        self, queries: Scores, space: Space, k: int, depth: Depth = TUNED_TEXT, allowed: Rows | None = None
    ) -> tuple[Scores, Rows]:
        """The `k` best rows for unit vectors [Q, D]: exact scores and row numbers [Q, k], padded with -inf and -1.

        `allowed`: ascending row numbers to choose from. Errors: QueryError for a space that the generation has not.
        """
        point, vectors = self.point(space, depth), self._vectors(space)
        reach = self.manifest.spaces[space].tuning[depth.kind].reach
        return vectors.search(queries, k, point.nprobe, point.rerank, allowed, reach)

    def point(self, space: Space, depth: Depth = TUNED_TEXT) -> TunedPoint:
        """The measured (nprobe, R) that answers queries of this depth."""
        self._vectors(space)
        return point_for(self.manifest, space, depth)

    def score_rows(self, query: NDArray[np.float32], space: Space, rows: Rows) -> list[float | None]:
        """Exact scores of `rows` [K] for one vector [D]; None where a segment has no vector in the space."""
        if space not in self.spaces or not len(rows):
            return [None] * len(rows)
        scores = self.spaces[space].scores(query[None, :], rows[None, :])[0]
        return [float(score) if np.isfinite(score) else None for score in scores]

    def vectors(self, space: Space, rows: Rows) -> Scores:
        """The stored vectors [K, D] of `rows`; zeros where a segment has none."""
        return self._vectors(space).gather(rows)

    def columns(self, rows: Rows, names: list[str]) -> pa.Table:
        """Columns of the `rows` [K], in their order."""
        return self.row_columns.take(rows, names)

    def find(self, name: str, values: Iterable[str] | pa.Array) -> Rows:
        """Ascending numbers of the rows whose column `name` is one of `values`, tombstones among them."""
        return self.row_columns.find(name, values)

    def where(self, condition: RowCondition, seconds: float = math.inf) -> tuple[Rows, int]:
        """Ascending numbers of the rows that fulfil a condition, tombstones among them, and how many rows were not
        looked at because the `seconds` were over. Shards that may not hold any are not read.
        """
        deadline = time.monotonic() + seconds
        found, n_unseen = [np.empty(0, np.int64)], 0
        for columns, shard in zip(self.shard_columns, self.manifest.shards):
            if condition.may_hold(shard):
                offsets, unseen = columns.where(condition.rows, deadline)
                found.append(offsets + shard.first_row)
                n_unseen += unseen
        return np.concatenate(found), n_unseen

    def _vectors(self, space: Space) -> SpaceVectors:
        if space not in self.spaces:
            known = ", ".join(self.spaces)
            raise QueryError(f"the index has no space {space!r}; it has {known} (index.spaces)")
        return self.spaces[space]
