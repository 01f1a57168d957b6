"""SIGTERM and SIGINT as an exception that never falls into a commit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """A person or a scheduler asked the run to stop; `signum` says how."""

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(signum)
        self.signum = signum


class Interruptible:
    """`with Interruptible() as stop:` raises Interrupted on the first signal, after `with stop.shield():` has ended."""

    def __init__(self) -> None:
        self._shielded = False
        self._pending = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
        return self

    def arm(self) -> None:
        """Take the signals again: Ray's start gives SIGTERM to a handler of its own, which aborts the process."""
        for signum in self._before:
            signal.signal(signum, self._handle)

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Hold a signal back until the block is done."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._pending:
            signum, self._pending = self._pending, 0
            raise Interrupted(signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._pending = signum  # if somebody swallows what is raised here, it is raised again behind the next shield
        if not self._shielded:
            self._shielded = True  # what follows is the clean end, which a second signal must not cut
            raise Interrupted(signum)
