"""Rows that are newer than the index, searched in memory and scored exactly.

`units` says which commit of `segments` holds a unit's rows, so the newer rows are found without reading the older ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.index.columns import COLUMNS, select_columns
from shotlake.index.flat import FlatCodes
from shotlake.index.manifest import Manifest
from shotlake.index.rows import vectors_of
from shotlake.records import Space
from shotlake.table.lake import Lake
from shotlake.table.readers import video_metadata, with_metadata

log = logging.getLogger(__name__)

EXACT_ROWS = 4_096  # up to so many rows every one is scored; of more, the best RERANK by their codes
RERANK = 200

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]

SOURCE_COLUMNS = [name for name in COLUMNS.names if name not in ("codec", "metadata")] + ["video_codec", "audio_codec"]


@dataclass(frozen=True)
class FreshRows:
    """`counted` rows are newer than the index; those that are searched have vectors [N, D] and columns.

    `n_erased` rows that should be among them are not stored any more.
    """

    counted: int
    columns: pa.Table
    vectors: dict[Space, NDArray[np.float32]]
    n_erased: int = 0
    _present: dict[Space, NDArray[np.bool_]] = field(init=False)
    _codes: dict[Space, FlatCodes] = field(init=False)

    def __post_init__(self) -> None:
        coded = self.vectors if len(self) > EXACT_ROWS else {}
        object.__setattr__(self, "_present", {space: rows.any(axis=1) for space, rows in self.vectors.items()})
        object.__setattr__(self, "_codes", {space: FlatCodes(rows) for space, rows in coded.items()})

    def __len__(self) -> int:
        return len(self.columns)

    def nearest(self, query: Vector, space: Space, k: int, allowed: Rows | None) -> tuple[Vector, Rows]:
        """The k best rows for a vector [D] with exact scores, best first; of all, or of the `allowed` ones."""
        rows = allowed
        if rows is None and space in self._codes:
            rows = self._codes[space].candidates(query, max(RERANK, 20 * k))
        if rows is None:
            rows = np.arange(len(self))
        scores = self.scores(query, space, rows)
        best = np.argpartition(-scores, k - 1)[:k] if len(rows) > k else np.arange(len(rows))
        best = best[np.argsort(-scores[best], kind="stable")]
        return scores[best], rows[best]

    def scores(self, query: Vector, space: Space, rows: Rows) -> Vector:
        """Exact scores of rows [K] for one vector [D]; -inf where a row has no vector."""
        every = len(rows) == len(self) and bool((rows[:-1] < rows[1:]).all())  # no copy of all there is
        vectors = self.vectors[space] if every else self.vectors[space][rows]
        return np.where(self._present[space][rows], vectors @ query, np.float32(-np.inf)).astype(np.float32)


def no_fresh_rows(manifest: Manifest) -> FreshRows:
    """Of a generation that is asked alone."""
    none = np.empty((0, manifest.plan.dim), np.float32)
    return FreshRows(0, COLUMNS.empty_table(), dict.fromkeys(manifest.spaces, none))


def read_fresh(
    lake: Lake, manifest: Manifest, retired: pa.Array, cap: int, units_version: int | None = None
) -> FreshRows:
    """The live rows committed after the manifest's table version, whole units up to `cap` rows, oldest first.

    `units_version`: as they were at this version of `units`.
    """
    newer = (
        (pc.field("embed_key") == manifest.embed_key)
        & (pc.field("segments_version") > manifest.table_version)
        & (pc.field("written") > 0)
        & ~pc.field("video_id").isin(retired)
    )
    units = lake.read("units", ["unit_id", "run_id", "written", "segments_version"], newer, units_version)
    units = units.sort_by([("segments_version", "ascending"), ("unit_id", "ascending")])
    running = np.cumsum(np.asarray(units["written"]))
    counted = int(running[-1]) if len(running) else 0
    searched = units.slice(0, int(np.searchsorted(running, cap, side="right")))
    if len(searched) < len(units):
        log.warning("unindexed_rows=%d cap=%d: the rest is not searched; run shotlake index update", counted, cap)
    columns, vectors = _read_units(lake, manifest, searched)
    return FreshRows(counted, columns, vectors, int(running[len(searched) - 1]) - len(columns) if len(searched) else 0)


def _read_units(lake: Lake, manifest: Manifest, units: pa.Table) -> tuple[pa.Table, dict[Space, NDArray[np.float32]]]:
    spaces = list(manifest.spaces)
    wanted = (
        (pc.field("embed_key") == manifest.embed_key)
        & pc.field("run_id").isin(units["run_id"].unique())  # every file is of one run: most are not opened
        & pc.field("unit_id").isin(units["unit_id"].combine_chunks())
    )
    batches = list(lake.batches("segments", [*SOURCE_COLUMNS, *spaces], wanted)) if len(units) else []
    dim = manifest.plan.dim
    parts = {space: [vectors_of(batch, space, dim)[0] for batch in batches] for space in spaces}
    vectors = {
        space: np.concatenate([np.empty((0, dim), np.float16), *rows]).astype(np.float32)
        for space, rows in parts.items()
    }
    known = video_metadata(lake, pc.field("video_id").isin(_videos(batches)))
    columns = [select_columns(with_metadata(batch, known)) for batch in batches]
    return pa.Table.from_batches(columns, COLUMNS), vectors


def _videos(batches: list[pa.RecordBatch]) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.string()), *(batch.column("video_id").unique() for batch in batches)])
