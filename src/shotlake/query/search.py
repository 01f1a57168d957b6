"""Search: a query becomes moments, out of the current generation and the rows that are newer than it.

A LakeSearch is one snapshot: its generation, its newer rows and what was retired when it was opened. It never changes,
so threads share it and a query ends on the generation that it began with; `refreshed` gives the next snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.embed.encoder import Encoder
from shotlake.errors import BadModel, NoIndex, NotFound, QueryError, ShardsLost
from shotlake.index.depth import recall_at_10
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current, find_generation, list_embed_keys
from shotlake.index.searcher import Searcher
from shotlake.query.budget import Budget
from shotlake.query.cursor import Cursor, Pin, parse_cursor
from shotlake.query.filters import parse_filter
from shotlake.query.find import RowFinder
from shotlake.query.fresh import no_fresh_rows, read_fresh
from shotlake.query.growth import Grower
from shotlake.query.live import LiveRows, Rows, RowSearcher, Vector
from shotlake.query.match import judge, strongest_space
from shotlake.query.moments import Moment
from shotlake.query.page import choose_moments
from shotlake.query.request import SearchRequest, Term
from shotlake.query.result import SearchResult
from shotlake.query.rounds import moments_in_rounds
from shotlake.query.terms import JoinedQuery, join_terms, resolve_terms
from shotlake.records import SPACES, Fingerprint, Hit, QueryVectors, Space, stable_id
from shotlake.table.lake import Lake
from shotlake.table.readers import retired_videos

MAX_IDS = 100  # of the segments of a moment that a hit names
LoadSearcher = Callable[[str, Manifest, Path | None], RowSearcher]  # index root, generation, cache folder


@dataclass(frozen=True)
class LakeSearch:
    """Answers queries on one snapshot of a lake."""

    lake: Lake
    encoder: Encoder
    config: Config
    rows: LiveRows
    pin: Pin
    gone: pa.Array  # videos that were retired after an older `pin`: they have their place in the order, and no hit
    cache_dir: Path | None = None
    load: LoadSearcher = Searcher.load

    @classmethod
    def open(
        cls,
        lake_root: str,
        encoder: Encoder,
        config: Config,
        cache_dir: Path | None = None,
        load: LoadSearcher | None = None,
        manifest: Manifest | None = None,
    ) -> LakeSearch:
        """Load the current generation of the encoder's space, or that of a `manifest`.

        Uses `config.query` and `config.index.unindexed_cap`.

        Errors: SourceMissing (no lake), NoIndex, BadModel (indexed by another model), CorruptGeneration, LakeFormat.
        """
        lake = Lake.open(lake_root)
        index_root = storage.join(lake.root, "index")
        load = load or partial(Searcher.load, cache_bytes=config.index.cache_bytes)
        searcher = load(index_root, manifest or _generation_of(index_root, encoder), cache_dir)
        searcher.sweep()
        return cls(lake, encoder, config, *_live_rows(lake, searcher, config, _newest(lake, searcher)), cache_dir, load)

    def refreshed(self) -> LakeSearch:
        """A snapshot of now: the current generation, the rows newer than it, and without what was retired since.

        The same one if nothing has changed. Copies of generations that the lake has no more are dropped.
        """
        index_root = storage.join(self.lake.root, "index")
        manifest = current(index_root, self.manifest.embed_key)
        searcher = self.rows.searcher
        if manifest.generation != self.manifest.generation:
            searcher = self.load(index_root, manifest, self.cache_dir)
        searcher.sweep()
        pin = _newest(self.lake, searcher)
        return self if pin == self.pin else self._seeing(searcher, pin)

    def pin_of(self, request: SearchRequest) -> Pin:
        """The rows that a request is to be answered from: its cursor's, its generation's, or these."""
        if request.cursor:
            return parse_cursor(request.cursor).pin
        return replace(self.pin, generation=request.generation, units_version=None) if request.generation else self.pin

    def at(self, pin: Pin) -> LakeSearch:
        """The snapshot of a pin; what was retired since is not shown. Errors: QueryError if it is not stored."""
        searcher, of_then = self.rows.searcher, f"generation {pin.generation!r} or a table version of then"
        if (pin.units_version or 0) > self.lake.version("units") or pin.retired_version > self.lake.version("retired"):
            raise _expired(f"{of_then} is not stored any more")
        try:
            if pin.generation != self.manifest.generation:
                index_root = storage.join(self.lake.root, "index")
                manifest = find_generation(index_root, self.manifest.embed_key, pin.generation)
                searcher = self.load(index_root, manifest, self.cache_dir)
            search = self._seeing(searcher, pin)
        except (NoIndex, NotFound):
            raise _expired(f"{of_then} is not stored any more") from None
        if search.rows.fresh.n_erased:
            raise _expired("rows of then were erased")
        return search

    @property
    def manifest(self) -> Manifest:
        """The generation that answers."""
        return self.rows.manifest

    def search(self, text: str, limit: int | None = None, space: Space | Literal["auto"] | None = None) -> SearchResult:
        """The best moments for a text. Errors: QueryError (no words that the model knows, a space or limit unknown)."""
        return self.answer(SearchRequest((Term("text", text),), limit=limit, space=space))

    def search_vectors(
        self, vectors: QueryVectors, limit: int | None = None, space: Space | None = None
    ) -> SearchResult:
        """The best moments for one vector, given as [1, D] in the space that ranks and in those to be scored."""
        given = {name: np.ascontiguousarray(rows[0], dtype=np.float32) for name, rows in vectors.items()}
        name = stable_id(*(vector.tobytes().hex() for vector in given.values()))
        return self.answer(SearchRequest((Term("vector", name, vectors=given),), limit=limit, space=space))

    def answer(self, request: SearchRequest, budget: Budget | None = None) -> SearchResult:
        """The best moments for a request, as many as its budget allows to find.

        Errors: QueryError for what the model, the index or the filter cannot do.
        """
        started = time.perf_counter()
        pin = self.pin_of(request)
        search = self if pin == self.pin else self.at(pin)
        searcher = search.rows.searcher.reachable()
        if searcher.is_partial:
            search = replace(search, rows=replace(search.rows, searcher=searcher))
        return search._answer(request, budget or Budget(), started)

    def _seeing(self, searcher: RowSearcher, pin: Pin) -> LakeSearch:
        rows, pin, gone = _live_rows(self.lake, searcher, self.config, pin)
        return replace(self, rows=rows, pin=pin, gone=gone)

    def _answer(self, request: SearchRequest, budget: Budget, started: float) -> SearchResult:
        request.check_hits(request.limit or self.config.query.limit)
        asked = [*request.terms, *request.negative, *(exclusion.term for exclusion in request.excluded)]
        terms = resolve_terms(asked, self.encoder, self.rows, self.gone)
        query = join_terms(request, terms, self._spaces(request), list(self.rows.searcher.spaces))
        allowed = self._allowed(request, budget)
        encoded = time.perf_counter()
        if not self._spaces(request):
            query = replace(query, ranked_by=(strongest_space(query, self.rows, allowed),))
        find = RowFinder(self.rows, query, allowed)
        grower = Grower(self.rows, query, allowed, self.config.query.merge_drop)
        moments, page_end, is_more = self._page(query, find, grower, budget)
        if request.group_by:
            moments = self._groups(query, moments, allowed, budget)
        hits = self._hits(moments, query.vectors, page_end.n_hits)
        is_partial = self.rows.searcher.is_partial or bool(budget.spent)
        ended = time.perf_counter()
        took = {"encode": encoded - started, "search": find.search_s, "columns": ended - encoded - find.search_s}
        stated = getattr(self.encoder, "match_score", None)  # an installed class of before has none
        return SearchResult(
            hits=hits,
            generation=self.manifest.generation,
            embed_key=self.manifest.embed_key,
            table_version=self.manifest.table_version,
            unindexed_rows=self.rows.fresh.counted,
            recall_at_10=recall_at_10(self.manifest, query.space, query.depth, self._n_indexed(allowed)),
            took_ms={name: round(s * 1000, 2) for name, s in (took | {"total": ended - started}).items()},
            match=judge(hits, query, self.manifest, stated),
            partial=is_partial,
            coverage=self._coverage(budget),
            spent=budget.spent,
            cursor="" if is_partial or not is_more else replace(page_end, n_hits=page_end.n_hits + len(hits)).to_text(),
        )

    def _spaces(self, request: SearchRequest) -> tuple[Space, ...]:
        """The spaces that rank; none where the query chooses itself."""
        chosen = self.config.query
        if request.space is None and chosen.rank_spaces:
            return chosen.rank_spaces
        space = request.space or chosen.space
        return () if space == "auto" else (space,)

    def _allowed(self, request: SearchRequest, budget: Budget) -> Rows | None:
        """The rows that the filter lets through; None without one."""
        is_given = request.filter.strip() if isinstance(request.filter, str) else True
        return self.rows.where(parse_filter(request.filter), budget) if is_given else None

    def _n_indexed(self, allowed: Rows | None) -> int | None:
        """How many of the allowed rows are in the generation; newer ones are scored exactly."""
        return None if allowed is None else int(np.searchsorted(allowed, self.manifest.n_rows))

    def _coverage(self, budget: Budget) -> float:
        """The share of the rows that was looked at: shards may be out of reach, and a filter may have had no time."""
        n_rows = len(self.rows)
        return round((self.rows.searcher.n_rows + len(self.rows.fresh) - budget.unseen) / n_rows, 6) if n_rows else 1.0

    def _begin(self, request: SearchRequest) -> Cursor | None:
        """Where the page begins, if it is not the first.

        Errors: QueryError for the cursor of another query, ShardsLost while its order is not known.
        """
        if not request.cursor:
            return None
        if self.rows.searcher.is_partial:
            raise ShardsLost("a further page needs all shards, and some are being loaded again; try again in a moment")
        cursor = parse_cursor(request.cursor)
        if cursor.query != self._name(request):
            raise QueryError("the cursor is of another query; repeat the query and all but its limit as they were")
        return cursor

    def _name(self, request: SearchRequest) -> str:
        return request.name(self.config.query.model_dump_json())

    def _page(
        self, query: JoinedQuery, find: RowFinder, grower: Grower, budget: Budget
    ) -> tuple[list[Moment], Cursor, bool]:
        """The moments behind the request's cursor, where the page ends, and whether there may be more."""
        request = query.request
        limit, end = request.limit or self.config.query.limit, self._begin(request)
        end = end or Cursor(self.pin, self._name(request), 0, 0)
        rounds = moments_in_rounds(find, grower.moments, self.config.query.candidates, budget)
        order = choose_moments(rounds, request, partial(self.rows.vectors, query.space), budget)
        gone = set(self.gone.to_pylist())
        page: list[Moment] = []
        for moment in islice(order, end.position, None):
            end = replace(end, position=end.position + 1)
            if moment.best.video_id not in gone:
                page.append(moment)
            if len(page) == limit:
                return page, end, True
        return page, end, False

    def _groups(self, query: JoinedQuery, leaders: list[Moment], allowed: Rows | None, budget: Budget) -> list[Moment]:
        """Of each leader's video the best moments that are chosen, those of one video behind each other."""
        videos = [leader.best.video_id for leader in leaders]
        theirs = self.rows.of_videos(videos)
        theirs = theirs if allowed is None else np.intersect1d(theirs, allowed, assume_unique=True)
        n = len(theirs) if budget.allows(len(theirs)) else min(len(theirs), budget.candidates)
        scores, rows, _ = RowFinder(self.rows, query, theirs)(n)
        request = replace(query.request, group_by=None, per_video=query.request.group_size, group_size=1)
        grown = Grower(self.rows, query, theirs, self.config.query.merge_drop).moments(scores, rows)
        chosen = list(choose_moments(grown, request, partial(self.rows.vectors, query.space), budget))
        return sorted(chosen, key=lambda moment: videos.index(moment.best.video_id))

    def _hits(self, moments: list[Moment], vectors: dict[Space, Vector], before: int) -> tuple[Hit, ...]:
        best = np.array([moment.best.row for moment in moments], dtype=np.int64)
        scores = {space: self.rows.scores(vectors.get(space), space, best) for space in SPACES}
        shown = [_shown(moment) for moment in moments]
        ids = iter(self.rows.columns(np.concatenate([best[:0], *shown]), ["segment_id"])["segment_id"].to_pylist())
        return tuple(
            Hit(
                rank=before + number + 1,
                score=moment.best.score,
                video_uri=moment.best.uri,
                start_us=moment.start_us,
                end_us=moment.end_us,
                segment_ids=tuple(islice(ids, len(shown[number]))),
                scores={space: scores[space][number] for space in SPACES},
                n_segments=len(moment.rows),
            )
            for number, moment in enumerate(moments)
        )


def _shown(moment: Moment) -> Rows:
    """The rows whose ids an answer names: all, or of a long run those around the best one."""
    place = int(np.flatnonzero(moment.rows == moment.best.row)[0])
    first = max(0, min(place - MAX_IDS // 2, len(moment.rows) - MAX_IDS))
    return moment.rows[first : first + MAX_IDS]


def _expired(what: str) -> QueryError:
    return QueryError(f"{what}; ask again without cursor and generation")


def _newest(lake: Lake, searcher: RowSearcher) -> Pin:
    return Pin(searcher.manifest.generation, lake.version("units"), lake.version("retired"))


def _live_rows(lake: Lake, searcher: RowSearcher, config: Config, pin: Pin) -> tuple[LiveRows, Pin, pa.Array]:
    """The rows of a pin, the pin, and the videos that were retired after it."""
    manifest = searcher.manifest
    retired = retired_videos(lake, manifest.embed_key, pin.retired_version)
    if pin.units_version is None:
        fresh = no_fresh_rows(manifest)
    else:
        fresh = read_fresh(lake, manifest, retired, config.index.unindexed_cap, pin.units_version)
    now = retired_videos(lake, manifest.embed_key)
    gone = now.filter(pc.invert(pc.is_in(now, value_set=retired)))
    return LiveRows.without_videos(searcher, fresh, retired), pin, gone


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
