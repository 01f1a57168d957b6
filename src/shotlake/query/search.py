"""Search: a text or a vector becomes moments, out of the current generation and the rows that are newer than it.

A LakeSearch is one snapshot: its generation, its newer rows and what was retired when it was opened. It never changes,
so threads share it and a query ends on the generation that it began with; `refreshed` gives the next snapshot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shotlake import storage
from shotlake.config import Config
from shotlake.embed.encoder import Encoder
from shotlake.errors import BadModel, NoIndex, QueryError
from shotlake.index.manifest import Manifest, QueryKind
from shotlake.index.publish import current, list_embed_keys
from shotlake.index.searcher import Searcher
from shotlake.query.fresh import FreshRows, read_fresh, retired_videos
from shotlake.query.moments import Candidate, Moment, merge_moments
from shotlake.records import SPACES, Hit, QueryVectors, Space
from shotlake.table.lake import Lake

HIT_COLUMNS = ["segment_id", "video_id", "uri", "start_us", "end_us"]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, and what they were found with."""

    hits: tuple[Hit, ...]
    generation: str
    embed_key: str
    table_version: int
    unindexed_rows: int
    recall_at_10: dict[QueryKind, float]
    took_ms: dict[str, float]
    partial: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object that `search --json` and `POST /v1/search` give."""
        return {
            "index": {
                "generation": self.generation,
                "embed_key": self.embed_key,
                "table_version": self.table_version,
                "unindexed_rows": self.unindexed_rows,
                "recall_at_10": self.recall_at_10,
            },
            "took_ms": self.took_ms,
            "partial": self.partial,
            "hits": [hit.to_json() for hit in self.hits],
        }


@dataclass(frozen=True)
class LakeSearch:
    """Answers queries on one snapshot of a lake. Rows behind the generation's own are the newer ones."""

    lake: Lake
    encoder: Encoder
    config: Config
    searcher: Searcher
    fresh: FreshRows
    cache_dir: Path | None = None

    @classmethod
    def open(cls, lake_root: str, encoder: Encoder, config: Config, cache_dir: Path | None = None) -> LakeSearch:
        """Load the current generation of the encoder's space; uses `config.query` and `config.index.unindexed_cap`.

        Errors: SourceMissing (no lake), NoIndex, BadModel (indexed by another model), CorruptGeneration, LakeFormat.
        """
        lake = Lake.open(lake_root)
        index_root = storage.join(lake.root, "index")
        manifest = _generation_of(index_root, encoder)
        return _snapshot(lake, encoder, config, Searcher.load(index_root, manifest, cache_dir), cache_dir)

    def refreshed(self) -> LakeSearch:
        """A snapshot of now: the current generation, the rows newer than it, and without what was retired since."""
        index_root = storage.join(self.lake.root, "index")
        manifest = current(index_root, self.manifest.embed_key)
        searcher = self.searcher
        if manifest.generation != self.manifest.generation:
            searcher = Searcher.load(index_root, manifest, self.cache_dir)
        return _snapshot(self.lake, self.encoder, self.config, searcher, self.cache_dir)

    @property
    def manifest(self) -> Manifest:
        """The generation that answers."""
        return self.searcher.manifest

    def search(self, text: str, limit: int | None = None, space: Space | None = None) -> SearchResult:
        """The best moments for a text. Errors: QueryError (no words that the model knows, a space or limit unknown)."""
        started = time.perf_counter()
        if not text.strip():
            raise QueryError("the query is empty; write what should be seen or heard")
        vectors = self.encoder.embed_text([text])
        encoded = _milliseconds(encode=time.perf_counter() - started)
        result = self.search_vectors(vectors, limit, space)
        total = _milliseconds(total=time.perf_counter() - started)
        return replace(result, took_ms={**result.took_ms, **encoded, **total})

    def search_vectors(
        self, vectors: QueryVectors, limit: int | None = None, space: Space | None = None, kind: QueryKind = "text"
    ) -> SearchResult:
        """The best moments for one query, given as [1, D] in the space that ranks and in those to be scored.

        Errors: QueryError for a space that the index or the query has not, or a limit below 1.
        """
        started = time.perf_counter()
        limit = self.config.query.limit if limit is None else limit
        space = space or self.config.query.space
        if limit < 1:
            raise QueryError(f"limit is {limit}; it has to be at least 1")
        if space not in self.searcher.spaces or space not in vectors:
            known = ", ".join(name for name in self.searcher.spaces if name in vectors)
            raise QueryError(f"this index cannot be searched in the space {space!r}; it can in {known} (index.spaces)")
        query = {name: np.ascontiguousarray(rows[0], dtype=np.float32) for name, rows in vectors.items()}
        moments, search_s = self._moments(query[space], space, kind, limit)
        hits = self._hits(moments[:limit], query)
        total_s = time.perf_counter() - started
        return SearchResult(
            hits=hits,
            generation=self.manifest.generation,
            embed_key=self.manifest.embed_key,
            table_version=self.manifest.table_version,
            unindexed_rows=self.fresh.counted,
            recall_at_10=self.manifest.recall_at_10(space),
            took_ms=_milliseconds(encode=0.0, search=search_s, columns=total_s - search_s, total=total_s),
        )

    def _moments(
        self, query: NDArray[np.float32], space: Space, kind: QueryKind, limit: int
    ) -> tuple[list[Moment], float]:
        """Moments of as many candidates as `limit` moments take, and the seconds spent on vectors."""
        everything = self.manifest.n_rows + len(self.fresh)
        k = max(self.config.query.candidates, limit)
        search_s = 0.0
        while True:
            started = time.perf_counter()
            scores, rows = self._nearest(query, space, kind, k)
            search_s += time.perf_counter() - started
            moments = merge_moments(self._candidates(scores, rows), self.config.query.merge_drop)
            if len(moments) >= limit or len(rows) < k or k >= everything:
                return moments, search_s
            k *= 4  # many candidates of the same moments: look further rather than answer short

    def _nearest(
        self, query: NDArray[np.float32], space: Space, kind: QueryKind, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best live rows, indexed or newer: exact scores and row numbers, without padding."""
        indexed, rows = self.searcher.search_vectors(query[None, :], space, k, kind)
        newer = self.fresh.scores(query, space)
        scores = np.concatenate([indexed[0], newer])
        rows = np.concatenate([rows[0], self.manifest.n_rows + np.arange(len(newer))])
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[np.isfinite(scores[best])]
        return scores[best], rows[best]

    def _candidates(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Candidate]:
        columns = self._columns(rows, HIT_COLUMNS)
        values = zip(rows.tolist(), scores.tolist(), *(columns[name].to_pylist() for name in HIT_COLUMNS))
        return [Candidate(*value) for value in values]

    def _columns(self, rows: NDArray[np.int64], names: list[str]) -> pa.Table:
        """Columns of rows of either kind, in their order."""
        newer = rows >= self.manifest.n_rows
        order = np.concatenate([np.flatnonzero(~newer), np.flatnonzero(newer)])
        indexed = self.searcher.columns(rows[~newer], names)
        added = self.fresh.columns.select(names).take(pa.array(rows[newer] - self.manifest.n_rows))
        return pa.concat_tables([indexed, added]).take(pa.array(np.argsort(order)))

    def _hits(self, moments: list[Moment], query: dict[Space, NDArray[np.float32]]) -> tuple[Hit, ...]:
        best = np.array([moment.best.row for moment in moments], dtype=np.int64)
        scores = {space: self._scores(query.get(space), space, best) for space in SPACES}
        return tuple(
            Hit(
                rank=number + 1,
                score=moment.best.score,
                video_uri=moment.best.uri,
                start_us=moment.start_us,
                end_us=moment.end_us,
                segment_ids=tuple(segment.segment_id for segment in moment.segments),
                scores={space: scores[space][number] for space in SPACES},
            )
            for number, moment in enumerate(moments)
        )

    def _scores(self, query: NDArray[np.float32] | None, space: Space, rows: NDArray[np.int64]) -> list[float | None]:
        """Exact scores in one space; None where the index, the query or the segment has no vector in it."""
        if query is None or space not in self.searcher.spaces:
            return [None] * len(rows)
        n_indexed = self.manifest.n_rows
        newer = self.fresh.scores(query, space)
        indexed = iter(self.searcher.score_rows(query, space, rows[rows < n_indexed]))
        both = [next(indexed) if row < n_indexed else float(newer[row - n_indexed]) for row in rows.tolist()]
        return [score if score is not None and np.isfinite(score) else None for score in both]


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {name: round(value * 1000, 2) for name, value in seconds.items()}


def _snapshot(lake: Lake, encoder: Encoder, config: Config, searcher: Searcher, cache_dir: Path | None) -> LakeSearch:
    retired = retired_videos(lake, searcher.manifest.embed_key)
    fresh = read_fresh(lake, searcher.manifest, retired, config.index.unindexed_cap)
    visible = searcher.without(searcher.find("video_id", retired))
    return LakeSearch(lake, encoder, config, visible, fresh, cache_dir)


def _generation_of(index_root: str, encoder: Encoder) -> Manifest:
    """The current generation of the space that this encoder fills, the last published if there are several."""
    keys = list_embed_keys(index_root)
    if not keys:
        raise NoIndex(f"{index_root} has no published index yet; run shotlake index build")
    manifests = [current(index_root, key) for key in keys]
    for manifest in manifests:
        if manifest.fingerprint == encoder.fingerprint:
            return manifest
    names = ", ".join(f"{m.fingerprint.model_id} {m.fingerprint.revision}".strip() for m in manifests)
    asked = f"{encoder.fingerprint.model_id} {encoder.fingerprint.revision}".strip()
    raise BadModel(
        f"the lake is indexed for {names}, the query's model is {asked}; set embed.model to that of the lake"
    )
