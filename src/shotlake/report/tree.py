"""CPU seconds of a process and of all that it started, whoever waits for them in the end.

What an ended process has used stands with its parent only if that waited for it. Ray's daemon waits for none of its
workers, and who lost its parent is no descendant any more: so each is remembered as it was when last looked at.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_LOOK_S = 1.0


class _Process(NamedTuple):
    """A line of /proc: its parent, when it began (pids are given again), and what it has used itself."""

    parent: int
    began: int
    jiffies: int


class ProcessTree:
    """A process (this one), its descendants, and those of them that have ended; Linux only, in steps of 10 ms.

    A process that comes and goes between two looks is not seen, and what one used after the last look is lost: look
    often, or let `watched` do it.
    """

    def __init__(self, root: int | None = None) -> None:
        self._root = os.getpid() if root is None else root
        self._living: dict[tuple[int, int], int] = {}
        self._ended = 0
        self._lock = threading.Lock()

    def cpu_s(self) -> float:
        """Look, and add up all that has been seen."""
        with self._lock:
            now = _processes()
            tree = [self._root, *(pid for pid, began in self._living if pid in now and now[pid].began == began)]
            children: dict[int, list[int]] = {}
            for pid, process in now.items():
                children.setdefault(process.parent, []).append(pid)
            for pid in tree:  # grows while it is walked
                tree.extend(children.get(pid, []))
            living = {(pid, now[pid].began): now[pid].jiffies for pid in tree if pid in now}
            self._ended += sum(jiffies for process, jiffies in self._living.items() if process not in living)
            self._living = living
            return (self._ended + sum(living.values())) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def watched(self) -> Iterator[ProcessTree]:
        """Look each second while the block runs."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_LOOK_S):
                self.cpu_s()

        watcher = threading.Thread(target=look, name="process-tree", daemon=True)
        watcher.start()
        try:
            yield self
        finally:
            over.set()
            watcher.join()


def _processes() -> dict[int, _Process]:
    found = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since the listing
        found[pid] = _Process(int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12]))
    return found
