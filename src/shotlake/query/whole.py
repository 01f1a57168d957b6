"""Whole videos and scenes: an exact search of the vectors that stand for them, streamed from the lake."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.embed.encoder import Encoder
from shotlake.errors import BadModel, QueryError
from shotlake.index.default import default_space
from shotlake.query.live import Vector
from shotlake.query.result import SearchResult
from shotlake.records import SPACES, Hit, QueryVectors, Space
from shotlake.table.lake import Lake
from shotlake.table.readers import matrix, retired_videos, written_fingerprints

Kind = Literal["video", "scene"]


@dataclass(frozen=True)
class WholeSearch:
    """Answers from `pooled` as it is now. A mean says what a video is about; moments are found by their segments."""

    lake: Lake
    encoder: Encoder
    config: Config
    embed_key: str

    @classmethod
    def open(cls, lake_root: str, encoder: Encoder, config: Config) -> WholeSearch:
        """Errors: SourceMissing (no lake), BadModel (its vectors are of another model)."""
        lake = Lake.open(lake_root)
        keys = [key for key, of in written_fingerprints(lake).items() if of == encoder.fingerprint]
        if not keys:
            raise BadModel(
                f"the lake {lake_root!r} has no vectors of {encoder.fingerprint.model_id} with these weights; "
                "set embed.model to the lake's, or backfill with this one"
            )
        chosen = default_space(storage.join(lake.root, "index"))
        return cls(lake, encoder, config, chosen.embed_key if chosen and chosen.embed_key in keys else keys[-1])

    def search(self, text: str, kind: Kind = "video", limit: int | None = None) -> SearchResult:
        """The best videos or scenes for a text, in `query.space`. Errors: QueryError."""
        started = time.perf_counter()
        return self._answer(self.encoder.embed_text([text]), kind, limit, started)

    def like(self, uri: str, kind: Kind = "video", limit: int | None = None) -> SearchResult:
        """The videos or scenes that are most like a video, itself left out. Errors: QueryError if it is not known."""
        started = time.perf_counter()
        for batch in self._batches("video", pc.field("uri") == uri):
            own = {space: matrix(batch.column(space)[:1]) for space in SPACES if batch.column(space)[0].is_valid}
            return self._answer(own, kind, limit, started, without=uri)
        raise QueryError(f"the lake knows no whole video {uri!r}; `shotlake search --of videos` lists some")

    def _answer(
        self, vectors: QueryVectors, kind: Kind, limit: int | None, started: float, without: str = ""
    ) -> SearchResult:
        chosen, encoded = self.config.query.space, time.perf_counter()
        space: Space = "fused" if chosen == "auto" else chosen  # a mean is of all that is seen and heard
        if space not in vectors:
            raise QueryError(f"there is no query vector in the space {space!r}; there is in {', '.join(vectors)}")
        query = {name: np.ascontiguousarray(rows[0], np.float32) for name, rows in vectors.items()}
        best = self._best(query[space], space, kind, limit or self.config.query.limit, without)
        hits = tuple(_hit(rank, row, query) for rank, row in enumerate(best, start=1))
        ended = time.perf_counter()
        spent = {"encode": encoded - started, "search": ended - encoded, "columns": 0.0, "total": ended - started}
        return SearchResult(
            hits=hits,
            generation="",
            embed_key=self.embed_key,
            table_version=self.lake.version("pooled"),
            unindexed_rows=0,
            recall_at_10={"text": 1.0, "segment": 1.0},  # nothing is approximate here
            took_ms={name: round(seconds * 1000, 2) for name, seconds in spent.items()},
        )

    def _best(self, query: Vector, space: Space, kind: Kind, limit: int, without: str) -> list[dict[str, Any]]:
        """The rows with the greatest scores, best first, with their `score`; as few as possible are held."""
        best: pa.Table | None = None
        for batch in self._batches(kind, pc.field(space).is_valid() & (pc.field("uri") != without)):
            scored = batch.append_column("score", pa.array(matrix(batch.column(space)) @ query))
            both = [pa.Table.from_batches([scored])] + ([best] if best is not None else [])
            best = pa.concat_tables(both).sort_by([("score", "descending"), ("uri", "ascending")])[:limit]
        return [] if best is None else best.to_pylist()

    def _batches(self, kind: Kind, wanted: pc.Expression) -> Iterator[pa.RecordBatch]:
        mine = (pc.field("embed_key") == self.embed_key) & (pc.field("kind") == kind)
        retired = retired_videos(self.lake, self.embed_key)
        alive = mine & ~pc.field("video_id").isin(retired) if len(retired) else mine
        yield from self.lake.batches("pooled", ["uri", "start_us", "end_us", *SPACES], alive & wanted)


def _hit(rank: int, row: dict[str, Any], query: dict[Space, Vector]) -> Hit:
    scores: dict[Space, float | None] = {}
    for space in SPACES:
        own = row[space]
        scores[space] = float(np.asarray(own, np.float32) @ query[space]) if own and space in query else None
    return Hit(rank, row["score"], row["uri"], row["start_us"], row["end_us"], (), scores)
