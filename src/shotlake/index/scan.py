"""Searching the shards of one space: coarse quantisation once, scan of the codes, exact re-ranking from float16 rows.

Scores are inner products of unit vectors. Answers are padded with row -1 and score -inf. Nothing here is changed by a
search, so that threads may share it; faiss parameters travel with the call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.index.dense import AskedLists, DenseLists
from shotlake.index.exact import ExactRows, Rows, Scores, ShardVectors, best_of
from shotlake.index.lists import join_lists, share_quantiser
from shotlake.index.manifest import DenseList
from shotlake.index.selection import ListCounts, Selection, decoded_at, ids_of
from shotlake.index.training import padded

BRUTE_FORCE_ROWS = 200_000  # an allowed set up to this size is scored exactly, without the index
WIDER = 4  # times as many lists, where those before hold too few rows
JOINED_ROWS = 20_000_000  # the lists of several shards with so many rows in all are joined in memory


def threads_for(queries: Scores) -> AbstractContextManager[None]:
    """One thread for one query, else all of them."""
    return one_thread() if len(queries) == 1 else nullcontext()


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenMP of this thread alone; a team for one query costs more than it saves."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@dataclass(frozen=True, slots=True)
class _Scanned:
    """Lists that are scanned together: of rows [first_row, first_row + n_rows)."""

    index: faiss.IndexIVF
    first_row: int
    n_rows: int


def _scanned(trained: faiss.IndexIVF, shards: Sequence[ShardVectors]) -> tuple[_Scanned, ...]:
    """The lists of each shard, or those of all in one: every index that is scanned makes its own table of the query."""
    if len(shards) == 1 or sum(len(shard.rows) for shard in shards) > JOINED_ROWS:
        return tuple(_Scanned(shard.index, shard.first_row, len(shard.rows)) for shard in shards)
    n_rows = [len(shard.rows) for shard in shards]
    joined = join_lists(trained, [shard.index for shard in shards], n_rows)
    return (_Scanned(joined, shards[0].first_row, sum(n_rows)),)


class Candidates(NamedTuple):
    """The lists that were probed, [Q, L], and rows of them with their approximate scores, both [Q, n], best first; none
    of dense lists.
    """

    lists: Rows
    scores: Scores
    rows: Rows


class SpaceVectors(ExactRows):
    """Neighbouring shards of one space in row order, all or a run of them, with the quantiser that they share."""

    def __init__(
        self,
        trained: faiss.IndexIVF,
        shards: Sequence[ShardVectors],
        hidden: Rows | None = None,
        scanned: tuple[_Scanned, ...] = (),
        dense: Sequence[DenseList] = (),
    ) -> None:
        super().__init__(shards)
        self._trained = trained  # owns the quantiser
        self.quantiser = trained.quantizer
        for shard in shards:
            share_quantiser(shard.index, trained)
        self._scans = scanned or _scanned(trained, shards)
        self.nlist = int(trained.nlist)
        self.dense = DenseLists(dense, self.quantiser)
        rabitq = isinstance(trained, faiss.IndexIVFRaBitQ)
        self._parameters = faiss.IVFRaBitQSearchParameters if rabitq else faiss.SearchParametersIVF
        self._hidden = hidden if hidden is not None and len(hidden) else None
        self._visible = self._selections(self._hidden, inverted=True)

    @property
    def exact(self) -> bool:
        """True if the codes are the float16 rows themselves, all in one list."""
        return isinstance(self._trained, faiss.IndexIVFScalarQuantizer)

    def without(self, hidden: Rows) -> SpaceVectors:
        """The same shards, in which the rows `hidden` are never found."""
        return SpaceVectors(self._trained, self.shards, hidden, self._scans, self.dense.found)

    def with_dense(self, dense: Sequence[DenseList]) -> SpaceVectors:
        """The same shards, in which every row of the dense lists is scored."""
        return SpaceVectors(self._trained, self.shards, self._hidden, self._scans, dense)

    def list_sizes(self) -> NDArray[np.int64]:
        """Rows in each list [nlist], those that are hidden among them."""
        counts = ListCounts([part.index for part in self._scans], self._visible)
        return counts.rows(np.arange(self.nlist))

    def rows_of(self, number: int) -> Rows:
        """The rows of a list that can be found, ascending."""
        return self._rows_of(self._visible, number)

    def sample_list(self, number: int, n: int) -> tuple[Scores, Scores]:
        """About `n` rows of a list as they are stored and as their codes have them, both [n, D]."""
        parts = [part for part in self._scans if part.index.get_list_size(number)]
        total = sum(part.index.get_list_size(number) for part in parts)
        rows, decoded = [np.empty((0, self.dim), np.float32)], [np.empty((0, self.quantiser.d), np.float32)]
        for part in parts:
            size = part.index.get_list_size(number)
            places = np.linspace(0, size - 1, min(size, -(-n * size // total))).astype(np.int64)
            rows.append(self.gather(ids_of(part.index, number)[places] + part.first_row))
            decoded.append(decoded_at(part.index, number, places, padded(rows[-1], self.quantiser.d)))
        return np.concatenate(rows), np.concatenate(decoded)[:, : self.dim]

    def live(self, rows: Rows) -> Rows:
        """Those of ascending row numbers that can be found."""
        return rows if self._hidden is None else np.setdiff1d(rows, self._hidden, assume_unique=True)

    def search(
        self,
        queries: Scores,
        k: int,
        nprobe: int,
        rerank: int,
        allowed: Rows | None = None,
        reach: float = 1.0,
    ) -> tuple[Scores, Rows]:
        """The `k` best rows [Q, k] with exact scores, of all or of the `allowed` ones (ascending row numbers).

        Of allowed rows as many are looked at as of all without a filter, `reach` times; or every one, where they are
        few. So lists that hold few of them cost a query nothing but time.
        """
        if allowed is not None:
            allowed = self.live(allowed)
            if len(allowed) <= BRUTE_FORCE_ROWS:
                return self.exactly(queries, k, allowed)
            return self._search_allowed(queries, k, nprobe, rerank, allowed, reach)
        reachable = self.n_rows
        while True:
            found = self.candidates(queries, nprobe, min(max(k, rerank), reachable))
            best = self._ranked(queries, found, k, self._asked(queries, k, self._visible))
            if _is_full(best[1], min(k, reachable)) or nprobe >= self.nlist:
                return best
            nprobe = min(nprobe * 4, self.nlist)  # the probed lists hold too few rows: never a short answer

    def _search_allowed(
        self, queries: Scores, k: int, nprobe: int, rerank: int, allowed: Rows, reach: float
    ) -> tuple[Scores, Rows]:
        wide, selections = padded(queries, self.quantiser.d), self._selections(allowed)
        n, n_lists = min(max(k, rerank), len(allowed)), 0
        while True:
            with threads_for(wide):
                coarse, lists = self._nearest_lists(wide, min(nprobe, self.nlist), selections, len(allowed), reach)
                found = Candidates(lists, *self._scan(wide, coarse, lists, n, selections))
            best = self._ranked(queries, found, k, self._asked(queries, k, selections))
            n_lists, before = int((lists >= 0).sum()), n_lists
            if n_lists == before or _is_full(best[1], min(k, n)):  # no list holds a row without a vector
                return best
            reach *= WIDER

    def _nearest_lists(
        self, queries: Scores, nprobe: int, selections: list[Selection], n_allowed: int, reach: float
    ) -> tuple[Scores, Rows]:
        """Of each query the nearest lists [Q, L] in which as many rows are allowed as its `nprobe` nearest hold in all,
        `reach` times; -1 behind them.
        """
        share = n_allowed / self.n_rows
        n, counts = (
            min(self.nlist, math.ceil(nprobe * reach / share)),
            ListCounts([part.index for part in self._scans], selections),
        )
        while True:
            coarse, lists = self.quantiser.search(queries, n)
            wanted = reach * counts.rows(lists[:, :nprobe]).sum(axis=1, keepdims=True)
            seen = np.cumsum(counts.allowed(lists), axis=1)
            if n >= self.nlist or bool((seen[:, -1:] >= wanted).all()):
                break
            n = min(self.nlist, n * WIDER)
        before = np.pad(seen[:, :-1], ((0, 0), (1, 0)))
        return coarse, np.where(before < wanted, lists, -1)

    def candidates(self, queries: Scores, nprobe: int, n: int) -> Candidates:
        """The `n` rows of the nearest lists whose codes have the best scores."""
        queries = padded(queries, self.quantiser.d)
        with threads_for(queries):
            coarse, lists = self.quantiser.search(queries, min(nprobe, self.nlist))
            return Candidates(lists, *self._scan(queries, coarse, lists, n, self._visible))

    def asked_lists(self, queries: Scores, k: int) -> AskedLists:
        """What keeps the best rows of dense lists, for who ranks several lots of candidates for the same queries."""
        return self._asked(queries, k, self._visible)

    def dense_best(self, queries: Scores, found: Candidates, k: int, asked: AskedLists) -> Rows:
        """Of the k best rows [Q, k] those that stand in dense lists; -1 in the place of the candidates."""
        if not self.dense:
            return np.full((len(queries), 0), -1, np.int64)
        best = self._ranked(queries, found, k, asked)[1]
        return np.where((best[:, :, None] == found.rows[:, None, :]).any(axis=2), -1, best)

    def _ranked(self, queries: Scores, found: Candidates, k: int, asked: AskedLists) -> tuple[Scores, Rows]:
        """The k best by their scores, of the candidates and of dense lists."""
        best = best_of(self.scores(queries, found.rows), found.rows, k)
        if not self.dense:
            return best
        return self.dense.better(padded(queries, self.quantiser.d), found.lists, best, asked)

    def _asked(self, queries: Scores, k: int, selections: list[Selection]) -> AskedLists:
        return AskedLists(self, queries, k, partial(self._rows_of, selections))

    def _rows_of(self, selections: list[Selection], number: int) -> Rows:
        parts = zip(self._scans, selections)
        return np.sort(np.concatenate([one.first_row + chosen.of_list(one.index, number) for one, chosen in parts]))

    def _scan(
        self, queries: Scores, coarse: Scores, lists: Rows, n: int, selections: list[Selection]
    ) -> tuple[Scores, Rows]:
        """Candidates by code out of the lists [Q, L], whose centroids have the `coarse` scores [Q, L]; of -1 none, nor
        of dense ones.
        """
        if self.dense:
            lists = np.where(self.dense.among(lists), -1, lists)
        scores = np.full((len(self._scans), len(queries), n), -np.inf, dtype=np.float32)
        rows = np.full(scores.shape, -1, dtype=np.int64)
        parameters = self._parameters(nprobe=lists.shape[1])
        address = faiss.swig_ptr
        given = address(queries), n, address(lists), address(coarse)
        for number, (part, selection) in enumerate(zip(self._scans, selections)):
            if selection.empty:
                continue
            parameters.sel = selection.selector
            found = address(scores[number]), address(rows[number])
            part.index.search_preassigned_c(len(queries), *given, *found, False, parameters)
        missing = rows < 0
        rows += np.array([part.first_row for part in self._scans])[:, None, None]
        rows[missing], scores[missing] = -1, -np.inf
        if len(self._scans) == 1:
            return scores[0], rows[0]
        return best_of(np.concatenate(scores, axis=1), np.concatenate(rows, axis=1), n)

    def _selections(self, rows: Rows | None, inverted: bool = False) -> list[Selection]:
        if rows is None:
            return [Selection() for _ in self._scans]
        end = self._scans[-1].first_row + self._scans[-1].n_rows
        edges = np.searchsorted(rows, [*(part.first_row for part in self._scans), end])
        return [
            Selection(rows[lower:upper] - part.first_row, part.n_rows, inverted)
            for part, lower, upper in zip(self._scans, edges[:-1], edges[1:])
        ]


def _is_full(rows: Rows, k: int) -> bool:
    """Whether each line has `k` rows."""
    return bool(((rows >= 0).sum(axis=1) >= k).all())
