"""When the lake was looked at last, and whether a look hangs.

Loading a generation takes as long as its size wants; meanwhile the one before answers, so that it is no reason to send
requests elsewhere. Anything else in a look is small: one that does not come back hangs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Look:
    """Of one service: one thread looks, and any may ask."""

    def __init__(self) -> None:
        self._ended_at = self._moved_at = time.monotonic()
        self._looks: int | None = None  # the thread that does
        self.is_loading = False

    @property
    def age_s(self) -> float:
        """Seconds since a look ended, well or not; since the start before that."""
        return time.monotonic() - self._ended_at

    @property
    def stuck_s(self) -> float:
        """Seconds in which no look got any further; 0 while a generation is loaded."""
        return 0.0 if self.is_loading else time.monotonic() - self._moved_at

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """A look."""
        self._looks = threading.get_ident()
        try:
            yield
        finally:
            self._looks = None
            self._ended_at = self._moved_at = time.monotonic()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """What is loaded for a request of an older generation, in another thread, is no part of a look."""
        if self._looks != threading.get_ident():
            yield
            return
        self.is_loading = True
        try:
            yield
        finally:
            self._moved_at = time.monotonic()
            self.is_loading = False
