"""The snapshot that is being served, and how the next one takes its place.

The next snapshot is opened and verified beside the one in use, then one reference is swapped: a query keeps the one
that it began with, and its later pages find that one again. A reload never raises; after a failed one the old snapshot
stays, and the failure can be read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

from shotlake.errors import NoIndex, ShardsLost, ShotlakeError, TooSlow
from shotlake.query.budget import Budget
from shotlake.query.cursor import Pin
from shotlake.query.request import SearchRequest
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.serve.look import Look
from shotlake.serve.pins import PinnedSnapshots

_log = logging.getLogger(__name__)


@runtime_checkable
class Deadlined(Protocol):
    """A searcher that waits for others, and may be told how long."""

    def until(self, deadline: float) -> Self:
        """The same, which waits for nobody after the `deadline` of `time.monotonic`."""


class LiveIndex:
    """Holds the newest snapshot that could be opened. Any thread may call any method.

    `open_search` opens the first one and may raise whatever it likes; from then on `LakeSearch.refreshed` does, until
    `is_moved` says that another space is to answer. `look` says when that was last done.
    """

    def __init__(
        self,
        open_search: Callable[[], LakeSearch],
        is_moved: Callable[[], bool] = lambda: False,
        look: Look | None = None,
    ) -> None:
        self._open, self._is_moved = open_search, is_moved
        self._one_at_a_time = threading.Lock()
        self._search: LakeSearch | None = None
        self._pinned = PinnedSnapshots()
        self.look = look or Look()
        self.error: ShotlakeError | None = None
        self.reloads = self.failed_reloads = 0
        self.loaded_at = 0.0  # seconds since 1970

    def refresh(self) -> None:
        """Look at the lake again: the current generation, newer rows, retired videos."""
        with self._one_at_a_time, self.look.going_on():
            try:
                if self._search and not self._is_moved():
                    self._swap(self._search.refreshed())
                else:
                    self._swap(self._open())
                    self._swap(self.current().refreshed())  # where an earlier one was opened, this says why
            except ShotlakeError as error:
                self._keep(error)
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the old snapshot still answers
                _log.exception("event=reload_failed")
                self._keep(ShotlakeError(f"{type(error).__name__}: {error}"))

    def current(self) -> LakeSearch:
        """The snapshot to answer with. Errors: what kept the first one from being opened, NoIndex before that."""
        if self._search is not None:
            return self._search
        error = self.error or NoIndex("the index is still being loaded; try again in a moment")
        raise type(error)(error.message)

    def answer(
        self, request: SearchRequest, budget: Budget | None = None, snapshot: LakeSearch | None = None
    ) -> SearchResult:
        """Answer from the snapshot in use, or from that of the request's cursor or generation, which may be given.

        Errors: QueryError, TooSlow if the time was over before it was its turn.
        """
        budget = budget or Budget()
        snapshot = snapshot or self.snapshot(request, budget)
        if not budget.left_s:
            raise TooSlow("other requests took all the time that this one had; try again in a moment")
        searcher = snapshot.rows.searcher
        if isinstance(searcher, Deadlined):
            until = searcher.until(budget.deadline)
            snapshot = replace(snapshot, rows=replace(snapshot.rows, searcher=until))
        try:
            return snapshot.answer(request, budget)
        except ShardsLost:  # in the middle of a query; now it is known who is gone, and it begins without them
            return snapshot.answer(request, budget)

    def snapshot_at_hand(self, request: SearchRequest) -> LakeSearch | None:
        """The snapshot that answers a request, unless it has to be opened first; never waits. Errors: QueryError."""
        search, pin = self._asked(request)
        return search if pin == search.pin else self._pinned.at_hand(search, pin)

    def snapshot(self, request: SearchRequest, budget: Budget) -> LakeSearch:
        """The same, opened if need be, which may take long. Errors: QueryError, TooSlow, those of a load."""
        search, pin = self._asked(request)
        return search if pin == search.pin else self._pinned.get(search, pin, budget)

    def _asked(self, request: SearchRequest) -> tuple[LakeSearch, Pin]:
        search = self.current()
        return search, search.pin_of(request)

    @property
    def generation(self) -> str:
        """The generation in use, "" while there is none."""
        return self._search.manifest.generation if self._search else ""

    def _swap(self, search: LakeSearch) -> None:
        before, self._search, self.error = self.generation, search, None
        if before != self.generation:
            self._pinned.clear()  # what they hold may have been erased; who asks for one again opens it again
            self.loaded_at = time.time()
            self.reloads += 1
            _log.info("event=generation_swapped before=%s after=%s", before, self.generation)

    def _keep(self, error: ShotlakeError) -> None:
        self.error = error
        self.failed_reloads += 1
        _log.warning("event=reload_failed code=%s kept=%s message=%s", error.code, self.generation, error.message)
