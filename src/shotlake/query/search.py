"""Search: a query becomes moments, out of the current generation and the rows that are newer than it.

A LakeSearch is one snapshot: its generation, its newer rows and what was retired when it was opened. It never changes,
so threads share it and a query ends on the generation that it began with; `refreshed` gives the next snapshot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shotlake import storage
from shotlake.config import Config
from shotlake.embed.encoder import Encoder
from shotlake.errors import BadModel, NoIndex, QueryError
from shotlake.index.manifest import Manifest, QueryKind
from shotlake.index.publish import current, list_embed_keys
from shotlake.index.searcher import Searcher
from shotlake.query.filters import parse_filter
from shotlake.query.fresh import read_fresh
from shotlake.query.live import LiveRows, Rows, Vector
from shotlake.query.moments import Candidate, Moment, merge_moments
from shotlake.query.page import choose_page
from shotlake.query.ranks import join_ranks
from shotlake.query.request import SearchRequest, Term
from shotlake.query.terms import JoinedQuery, TermVectors, join_terms, resolve_terms
from shotlake.records import SPACES, Fingerprint, Hit, QueryVectors, Space
from shotlake.table.lake import Lake
from shotlake.table.readers import retired_videos

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
    """Answers queries on one snapshot of a lake."""

    lake: Lake
    encoder: Encoder
    config: Config
    rows: LiveRows
    seen: tuple[int, int]  # versions of `units` and `retired` that the rows were read at
    cache_dir: Path | None = None

    @classmethod
    def open(cls, lake_root: str, encoder: Encoder, config: Config, cache_dir: Path | None = None) -> LakeSearch:
        """Load the current generation of the encoder's space; uses `config.query` and `config.index.unindexed_cap`.

        Errors: SourceMissing (no lake), NoIndex, BadModel (indexed by another model), CorruptGeneration, LakeFormat.
        """
        lake = Lake.open(lake_root)
        index_root = storage.join(lake.root, "index")
        searcher = Searcher.load(index_root, _generation_of(index_root, encoder), cache_dir)
        seen = _versions(lake)
        return cls(lake, encoder, config, _live_rows(lake, searcher, config), seen, cache_dir)

    def refreshed(self) -> LakeSearch:
        """A snapshot of now: the current generation, the rows newer than it, and without what was retired since.

        The same one if nothing has changed.
        """
        index_root = storage.join(self.lake.root, "index")
        manifest = current(index_root, self.manifest.embed_key)
        seen, searcher = _versions(self.lake), self.rows.searcher
        if manifest.generation != self.manifest.generation:
            searcher = Searcher.load(index_root, manifest, self.cache_dir)
        elif seen == self.seen:
            return self
        return replace(self, rows=_live_rows(self.lake, searcher, self.config), seen=seen)

    @property
    def manifest(self) -> Manifest:
        """The generation that answers."""
        return self.rows.manifest

    def search(self, text: str, limit: int | None = None, space: Space | None = None) -> SearchResult:
        """The best moments for a text. Errors: QueryError (no words that the model knows, a space or limit unknown)."""
        return self.answer(SearchRequest((Term("text", text),), limit=limit, space=space))

    def search_vectors(
        self, vectors: QueryVectors, limit: int | None = None, space: Space | None = None
    ) -> SearchResult:
        """The best moments for one vector, given as [1, D] in the space that ranks and in those to be scored."""
        given = {name: np.ascontiguousarray(rows[0], dtype=np.float32) for name, rows in vectors.items()}
        request = SearchRequest((Term("vector", "as given"),), limit=limit, space=space)
        return self._answer(request, [given], time.perf_counter())

    def answer(self, request: SearchRequest) -> SearchResult:
        """The best moments for a request. Errors: QueryError for what the model, the index or the filter cannot do."""
        started = time.perf_counter()
        terms = [*request.terms, *request.negative, *(exclusion.term for exclusion in request.excluded)]
        return self._answer(request, resolve_terms(terms, self.encoder, self.rows), started)

    def _answer(self, request: SearchRequest, terms: list[TermVectors], started: float) -> SearchResult:
        query = join_terms(request, terms, request.space or self.config.query.space, list(self.rows.searcher.spaces))
        limit = request.limit or self.config.query.limit
        encoded = time.perf_counter()
        moments, search_s = self._moments(query, limit)
        hits = self._hits(moments, query.vectors)
        ended = time.perf_counter()
        columns_s = ended - encoded - search_s
        return SearchResult(
            hits=hits,
            generation=self.manifest.generation,
            embed_key=self.manifest.embed_key,
            table_version=self.manifest.table_version,
            unindexed_rows=self.rows.fresh.counted,
            recall_at_10=self.manifest.recall_at_10(query.space),
            took_ms=_milliseconds(encode=encoded - started, search=search_s, columns=columns_s, total=ended - started),
        )

    def _moments(self, query: JoinedQuery, limit: int) -> tuple[list[Moment], float]:
        """The first `limit` moments, of as many candidates as they take, and the seconds spent on vectors."""
        request = query.request
        allowed = self.rows.where(parse_filter(request.filter)) if request.filter.strip() else None
        k = max(self.config.query.candidates, limit) + len(query.own_segments)
        search_s = 0.0
        while True:
            started = time.perf_counter()
            scores, rows = self._nearest(query, k, allowed)
            search_s += time.perf_counter() - started
            candidates = self._candidates(*self._without_excluded(scores, rows, query))
            candidates = [c for c in candidates if c.segment_id not in query.own_segments]
            merged = merge_moments(candidates, self.config.query.merge_drop)
            moments = choose_page(merged, request, lambda rows: self.rows.vectors(query.space, rows))
            below = len(scores) and request.score_threshold is not None and scores[-1] < request.score_threshold
            if len(moments) >= limit or len(rows) < k or below:
                return moments[:limit], search_s
            k *= 4  # too many candidates of the same moments: look further rather than answer short

    def _nearest(self, query: JoinedQuery, k: int, allowed: Rows | None) -> tuple[Vector, Rows]:
        """The k best rows by the score in the query's space, or by their ranks in all of `query.rank_spaces`."""
        spaces, recall = self.config.query.rank_spaces or (query.space,), query.request.recall
        missing = [space for space in spaces if space not in query.vectors]
        if missing:
            raise QueryError(
                f"query.rank_spaces has {', '.join(missing)}, in which this query or the index has nothing"
            )
        found = [self.rows.nearest(query.vectors[space], space, k, query.kind, allowed, recall) for space in spaces]
        return found[0] if len(found) == 1 else join_ranks([rows for _, rows in found], k)

    def _without_excluded(self, scores: Vector, rows: Rows, query: JoinedQuery) -> tuple[Vector, Rows]:
        for vector, threshold in query.excluded:
            own = np.array(self.rows.scores(vector, query.space, rows), dtype=np.float32)
            scores, rows = scores[own <= threshold], rows[own <= threshold]
        return scores, rows

    def _candidates(self, scores: Vector, rows: Rows) -> list[Candidate]:
        columns = self.rows.columns(rows, HIT_COLUMNS)
        values = zip(rows.tolist(), scores.tolist(), *(columns[name].to_pylist() for name in HIT_COLUMNS))
        return [Candidate(*value) for value in values]

    def _hits(self, moments: list[Moment], vectors: dict[Space, Vector]) -> tuple[Hit, ...]:
        best = np.array([moment.best.row for moment in moments], dtype=np.int64)
        scores = {space: self.rows.scores(vectors.get(space), space, best) for space in SPACES}
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


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {name: round(value * 1000, 2) for name, value in seconds.items()}


def _versions(lake: Lake) -> tuple[int, int]:
    return lake.version("units"), lake.version("retired")


def _live_rows(lake: Lake, searcher: Searcher, config: Config) -> LiveRows:
    retired = retired_videos(lake, searcher.manifest.embed_key)
    fresh = read_fresh(lake, searcher.manifest, retired, config.index.unindexed_cap)
    return LiveRows.without_videos(searcher, fresh, retired)


def _generation_of(index_root: str, encoder: Encoder) -> Manifest:
    """The current generation of the space that this encoder fills, the last published if there are several."""
    keys = list_embed_keys(index_root)
    if not keys:
        raise NoIndex(f"{index_root} has no published index yet; run shotlake index build")
    manifests = [current(index_root, key) for key in keys]
    for manifest in manifests:
        if manifest.fingerprint == encoder.fingerprint:
            return manifest
    names = ", ".join(_name(manifest.fingerprint) for manifest in manifests)
    raise BadModel(
        f"the lake is indexed for {names}, the query's model is {_name(encoder.fingerprint)}; "
        "set embed.model to the lake's, or backfill with this one"
    )


def _name(fingerprint: Fingerprint) -> str:
    """Enough of an encoder to tell it from another of its name."""
    revision = f" {fingerprint.revision}" if fingerprint.revision else ""
    return f"{fingerprint.model_id}{revision} (weights {fingerprint.weights_sha256[:8]})"
