"""Runs of units decoded by a child process, like `decode_run` decodes them in this one.

A crash, a hang or a memory blow-up costs one more try of the unit it happened in, then that unit's outcome; units
before and behind it are untouched.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from shotlake.config import DecodeConfig
from shotlake.decode.keeper import Keeper
from shotlake.decode.ledger import failed
from shotlake.decode.run import OpenReader
from shotlake.errors import MediaError, StoreError
from shotlake.records import ClipBatch, ClipSpec, UnitOutcome, Usage, WorkUnit, work_unit_to_json
from shotlake.storage import ObjectReader

_TRIES = 2


class IsolatedRuns:
    """Decodes runs of units like `decode_run`, in a child that is started when it is needed."""

    def __init__(self, spec: ClipSpec, config: DecodeConfig, open_reader: OpenReader) -> None:
        self._spec, self._config, self._open_reader = spec, config, open_reader
        self._keeper = Keeper(config, spec)

    @property
    def child_pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._keeper.child_pid

    def close(self) -> None:
        """End the child."""
        self._keeper.close()

    def __call__(self, units: list[WorkUnit]) -> Iterator[ClipBatch | UnitOutcome]:
        """The same items as `decode_run` gives. Errors: AccessDenied; everything else is an outcome."""
        left, tries, delivered = deque(units), 0, 0
        while left:
            tries += 1
            repeated = delivered
            try:
                for item in self._converse(list(left)):
                    if isinstance(item, UnitOutcome):
                        left.popleft()
                        tries, delivered, repeated = 1, 0, 0
                    elif repeated:  # the try before got so far
                        repeated -= 1
                        continue
                    else:
                        delivered += 1
                    yield item
                    del item
            except (MediaError, StoreError) as error:
                is_final = isinstance(error, StoreError) or tries == _TRIES
                if is_final:
                    yield failed(left.popleft(), error, Usage())
                    tries = delivered = 0

    def _converse(self, units: list[WorkUnit]) -> Iterator[ClipBatch | UnitOutcome]:
        """One try of all these units. Errors: Crashed, TimedOut, OutOfMemory; what the store raises."""
        request = f'{{"units": [{", ".join(map(work_unit_to_json, units))}]}}'
        with self._open_reader(units[0].video) as reader:
            exactly = self._config.policy == "keyframes"  # whatever lies around what is asked for is left out
            read = reader.read_range if exactly else partial(_read, reader)
            for message in self._keeper.ask(request, read, self._limit_s(units)):
                if "batch" in message:
                    yield message.pop("batch")  # nothing here holds it while the next one is made
                else:
                    yield _with_reading(UnitOutcome.from_json(message["outcome"]), reader)

    def _limit_s(self, units: list[WorkUnit]) -> float:
        """How long these units may take: `slowest` times their length, where it is known."""
        media_s = sum(unit.n_cells for unit in units) * self._spec.stride_us / 1e6
        is_known = all(unit.n_cells for unit in units)
        return 10 * self._config.idle_s + self._config.slowest * media_s if is_known else math.inf


def _with_reading(outcome: UnitOutcome, reader: ObjectReader) -> UnitOutcome:
    """The outcome with what was really read for it since the last one; the child only knows what it asked for."""
    usage = replace(outcome.usage, bytes_read=reader.bytes_read, requests=reader.requests)
    reader.bytes_read = reader.requests = 0
    return replace(outcome, usage=usage, content_sha256=reader.content_sha256)


def _read(reader: ObjectReader, start: int, end: int) -> bytes:
    """The bytes [start, end) by way of the reader's own blocks, which are larger."""
    reader.seek(start)
    parts = []
    while start < end and (part := reader.read(end - start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
