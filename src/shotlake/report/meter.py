"""CPU, GPU and wall seconds of a block of code, taken in the process that does the work.

A meter adds up over as many `with` blocks as it is given and is never reset, so one meter serves an actor's whole
life. It belongs to one thread: enter it where the work is done.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from shotlake.records import Usage

Scope = Literal["thread", "process", "tree"]


def tree_cpu_s(root: int | None = None) -> float:
    """A process (this one), its living descendants, and those that have ended and been waited for; steps of 10 ms."""
    jiffies: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since; what it used stands with its parent
        children.setdefault(int(fields[1]), []).append(pid)
        jiffies[pid] = sum(map(int, fields[11:15]))  # utime, stime, and both of the children that were waited for
    tree = [os.getpid() if root is None else root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return sum(jiffies.get(pid, 0) for pid in tree) / os.sysconf("SC_CLK_TCK")


_CLOCKS = {"thread": time.thread_time, "process": time.process_time, "tree": tree_cpu_s}


class Meter:
    """`with meter: work()` adds the block's seconds to `meter.usage`; blocks of one meter must not nest.

    `scope` says whose CPU seconds count: this thread, this process with all its threads, or the process and all its
    descendants (Linux only; what was started from here is counted, a cluster that was joined is not). `gpus` is how
    many GPUs the block holds, or the share of one: `gpu_s` is wall seconds times `gpus`, which is busy time only if the
    block waits for the device before it ends.
    """

    __slots__ = ("_clock", "_cpu_start", "_gpus", "_wall_start", "bytes_read", "cpu_s", "requests", "wall_s")

    def __init__(self, scope: Scope = "process", gpus: float = 0.0) -> None:
        self._clock, self._gpus = _CLOCKS[scope], gpus
        self._cpu_start = self._wall_start = 0.0
        self.cpu_s = self.wall_s = 0.0
        self.bytes_read = self.requests = 0

    def __enter__(self) -> Meter:
        self._cpu_start, self._wall_start = self._clock(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s += self._clock() - self._cpu_start
        self.wall_s += time.perf_counter() - self._wall_start

    def count(self, bytes_read: int, requests: int) -> None:
        """Add what a reader fetched from a store."""
        self.bytes_read += bytes_read
        self.requests += requests

    @property
    def usage(self) -> Usage:
        """Everything measured so far, whole blocks only."""
        return Usage(self.cpu_s, self.wall_s * self._gpus, self.wall_s, self.bytes_read, self.requests)
