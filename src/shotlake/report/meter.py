"""CPU, GPU and wall seconds of a block of code, taken in the process that does the work.

A meter adds up over as many `with` blocks as it is given and is never reset, so one meter serves an actor's whole
life. It belongs to one thread: enter it where the work is done.
"""

from __future__ import annotations

import time
from typing import Literal

from shotlake.records import Usage

Scope = Literal["thread", "process"]


_CLOCKS = {"thread": time.thread_time, "process": time.process_time}


class Meter:
    """`with meter: work()` adds the block's seconds to `meter.usage`; blocks of one meter must not nest.

    `scope` says whose CPU seconds count: this thread, or this process with all its threads. `gpus` is how many GPUs the
    block holds, or the share of one: `gpu_s` is wall seconds times `gpus`, which is busy time only if the block waits
    for the device before it ends.
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
