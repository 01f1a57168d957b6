"""Searching the shards of one space: coarse quantisation once, scan of the codes, exact re-ranking from float16 rows.

Scores are inner products of unit vectors. Answers are padded with row -1 and score -inf. Nothing here is changed by a
search, so that threads may share it; faiss parameters travel with the call.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.index.lists import join_lists, share_quantiser
from shotlake.index.selection import ListCounts, Selection
from shotlake.index.training import padded

BRUTE_FORCE_ROWS = 200_000  # an allowed set up to this size is scored exactly, without the index
BLOCK_ROWS = 16_384
WIDER = 4  # times as many lists, where those before hold too few rows
CACHED_ROWS = 256  # of them, those that are scored together: as float32 they stay in a core's own cache
JOINED_ROWS = 20_000_000  # the lists of several shards with so many rows in all are joined in memory

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]


def map_rows(path: Path, dim: int) -> NDArray[np.float16]:
    """The rows of a shard [n, dim], mapped without read-ahead: they are touched one at a time."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=np.float16).reshape(-1, dim)


def read_rows(file: BinaryIO, n: int, dim: int) -> NDArray[np.float16]:
    """The next rows [n, dim] of a shard, for those who read all of them: a mapping is without read-ahead."""
    return np.fromfile(file, np.float16, n * dim).reshape(n, dim)


def load_index(path: Path) -> faiss.IndexIVF:
    """An index whose lists stay in the file, at the speed of memory."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def load_trained(path: Path) -> faiss.IndexIVF:
    """The trained, empty index of a space, which owns the quantiser."""
    return faiss.read_index(str(path))


def widened(rows: NDArray[np.float16]) -> Scores:
    """The same finite numbers as float32; numpy's own conversion takes four times as long.

    Sign, exponent and fraction go to their places in three steps over whole numbers, and a product sets the exponent
    right, of the smallest numbers too.
    """
    bits = rows.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _SIGN_EXPONENT_FRACTION
    wide = bits.view(np.float32)
    wide *= _BIAS
    return wide


_SIGN_EXPONENT_FRACTION = np.uint32(0x8FFFE000).astype(np.int32)
_BIAS = np.float32(2.0 ** (127 - 15))


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
class ShardVectors:
    """One shard of a space: codes, exact rows, and its place among the row numbers."""

    index: faiss.IndexIVF
    rows: NDArray[np.float16]
    first_row: int


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


class SpaceVectors:
    """Neighbouring shards of one space in row order, all or a run of them, with the quantiser that they share."""

    def __init__(
        self,
        trained: faiss.IndexIVF,
        shards: Sequence[ShardVectors],
        hidden: Rows | None = None,
        scanned: tuple[_Scanned, ...] = (),
    ) -> None:
        self._trained = trained  # owns the quantiser
        self.quantiser = trained.quantizer
        self.shards = tuple(shards)
        for shard in shards:
            share_quantiser(shard.index, trained)
        self._scans = scanned or _scanned(trained, shards)
        self.nlist = int(trained.nlist)
        self.dim = int(self.shards[0].rows.shape[1])
        self.n_rows = sum(len(shard.rows) for shard in shards)
        rabitq = isinstance(trained, faiss.IndexIVFRaBitQ)
        self._parameters = faiss.IVFRaBitQSearchParameters if rabitq else faiss.SearchParametersIVF
        self._first_rows = np.array([shard.first_row for shard in self.shards])
        self._hidden = hidden if hidden is not None and len(hidden) else None
        self._visible = self._selections(self._hidden, inverted=True)

    @property
    def exact(self) -> bool:
        """True if the codes are the float16 rows themselves, all in one list."""
        return isinstance(self._trained, faiss.IndexIVFScalarQuantizer)

    def without(self, hidden: Rows) -> SpaceVectors:
        """The same shards, in which the rows `hidden` are never found."""
        return SpaceVectors(self._trained, self.shards, hidden, self._scans)

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
            rows = self.candidates(queries, nprobe, min(max(k, rerank), reachable))[1]
            full = bool((rows[:, : min(k, reachable)] >= 0).all())
            if full or nprobe >= self.nlist:
                break
            nprobe = min(nprobe * 4, self.nlist)  # the probed lists hold too few rows: never a short answer
        return _best(self.scores(queries, rows), rows, k)

    def _search_allowed(
        self, queries: Scores, k: int, nprobe: int, rerank: int, allowed: Rows, reach: float
    ) -> tuple[Scores, Rows]:
        wide, selections = padded(queries, self.quantiser.d), self._selections(allowed)
        n, n_lists = min(max(k, rerank), len(allowed)), 0
        while True:
            with threads_for(wide):
                coarse, lists = self._nearest_lists(wide, min(nprobe, self.nlist), selections, len(allowed), reach)
                rows = self._scan(wide, coarse, lists, n, selections)[1]
            n_lists, before = int((lists >= 0).sum()), n_lists
            if n_lists == before or bool((rows[:, : min(k, n)] >= 0).all()):  # no list holds a row without a vector
                return _best(self.scores(queries, rows), rows, k)
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

    def candidates(self, queries: Scores, nprobe: int, n: int) -> tuple[Scores, Rows]:
        """The `n` rows with the best approximate scores, best first, both [Q, n]."""
        queries = padded(queries, self.quantiser.d)
        with threads_for(queries):
            coarse, lists = self.quantiser.search(queries, min(nprobe, self.nlist))
            return self._scan(queries, coarse, lists, n, self._visible)

    def scores(self, queries: Scores, rows: Rows) -> Scores:
        """Exact scores [Q, R] of the rows [Q, R]; -inf where the row is -1 or has no vector in this space."""
        out = np.full(rows.shape, -np.inf, dtype=np.float32)
        for query, wanted, scores in zip(queries, rows, out):
            valid = wanted >= 0
            vectors = self.gather(wanted[valid])
            found = vectors @ query
            unsure = np.flatnonzero(found == 0)  # at a right angle, or no vector at all
            found[unsure[~vectors[unsure].any(axis=1)]] = -np.inf
            scores[valid] = found
        return out

    def gather(self, rows: Rows) -> Scores:
        """The stored vectors [K, D] of rows [K]."""
        if len(self.shards) == 1:
            return widened(self.shards[0].rows[rows - self.shards[0].first_row])
        owners = np.searchsorted(self._first_rows, rows, side="right") - 1
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for owner in np.unique(owners):
            shard, mine = self.shards[owner], owners == owner
            vectors[mine] = widened(shard.rows[rows[mine] - shard.first_row])
        return vectors

    def _scan(
        self, queries: Scores, coarse: Scores, lists: Rows, n: int, selections: list[Selection]
    ) -> tuple[Scores, Rows]:
        """Candidates out of the lists [Q, L], whose centroids have the `coarse` scores [Q, L]; of -1 none."""
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
        return _best(np.concatenate(scores, axis=1), np.concatenate(rows, axis=1), n)

    def _selections(self, rows: Rows | None, inverted: bool = False) -> list[Selection]:
        if rows is None:
            return [Selection() for _ in self._scans]
        end = self._scans[-1].first_row + self._scans[-1].n_rows
        edges = np.searchsorted(rows, [*(part.first_row for part in self._scans), end])
        return [
            Selection(rows[lower:upper] - part.first_row, part.n_rows, inverted)
            for part, lower, upper in zip(self._scans, edges[:-1], edges[1:])
        ]

    def exactly(self, queries: Scores, k: int, allowed: Rows) -> tuple[Scores, Rows]:
        """As `search`, by the score of every row that is `allowed`."""
        best = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(allowed), BLOCK_ROWS):
            rows = allowed[start : start + BLOCK_ROWS]
            scores = self._score_all(queries, rows)
            block = np.broadcast_to(rows, scores.shape)
            best = _best(np.concatenate([best[0], scores], 1), np.concatenate([best[1], block], 1), k)
        return best

    def _score_all(self, queries: Scores, rows: Rows) -> Scores:
        """Exact scores [Q, R] of the same rows [R] for every query; -inf where a row has no vector in this space."""
        scores = np.empty((len(queries), len(rows)), np.float32)
        for start in range(0, len(rows), CACHED_ROWS):
            vectors = self.gather(rows[start : start + CACHED_ROWS])
            found = scores[:, start : start + CACHED_ROWS]
            np.matmul(queries, vectors.T, out=found)
            unsure = np.flatnonzero((found == 0).all(axis=0))
            found[:, unsure[~vectors[unsure].any(axis=1)]] = -np.inf
        return scores


def _best(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best of each line, best first, equal scores by row number; padded if there are fewer."""
    if scores.shape[1] > max(4 * k, 512):  # below it sorting all of them is quicker
        kept = np.argpartition(-scores, k, axis=1)[:, : 2 * k]
        scores, rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    rows = np.where(np.isfinite(scores), rows, -1)
    short = k - scores.shape[1]
    if short > 0:
        scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
    return scores, rows
