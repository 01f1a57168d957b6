"""The snapshot that is being served, and how the next one takes its place.

The next snapshot is opened and verified beside the one in use, then one reference is swapped: a query keeps the one
that it began with. A reload never raises; after a failed one the old snapshot stays, and the failure can be read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from shotlake.errors import NoIndex, ShotlakeError
from shotlake.query.search import LakeSearch

_log = logging.getLogger(__name__)


class LiveIndex:
    """Holds the newest snapshot that could be opened. Any thread may call any method.

    `open_search` opens the first one and may raise whatever it likes; from then on `LakeSearch.refreshed` does.
    """

    def __init__(self, open_search: Callable[[], LakeSearch]) -> None:
        self._open = open_search
        self._one_at_a_time = threading.Lock()
        self._search: LakeSearch | None = None
        self.error: ShotlakeError | None = None
        self.reloads = self.failed_reloads = 0
        self.loaded_at = 0.0  # seconds since 1970

    def refresh(self) -> None:
        """Look at the lake again: the current generation, newer rows, retired videos."""
        with self._one_at_a_time:
            try:
                self._swap(self._search.refreshed() if self._search else self._open())
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

    @property
    def generation(self) -> str:
        """The generation in use, "" while there is none."""
        return self._search.manifest.generation if self._search else ""

    def _swap(self, search: LakeSearch) -> None:
        before, self._search, self.error = self.generation, search, None
        if before != self.generation:
            self.loaded_at = time.time()
            self.reloads += 1
            _log.info("event=generation_swapped before=%s after=%s", before, self.generation)

    def _keep(self, error: ShotlakeError) -> None:
        self.error = error
        self.failed_reloads += 1
        _log.warning("event=reload_failed code=%s kept=%s message=%s", error.code, self.generation, error.message)
