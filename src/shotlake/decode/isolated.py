"""The parent's side of an isolated decoder: one spawned child, served with bytes, watched, and replaced when it dies.

A crash, a hang or a memory blow-up costs one more try of the unit it happened in, then that unit's outcome; units
before and behind it are untouched. Spawned, never forked: an actor has threads.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from shotlake.config import DecodeConfig
from shotlake.decode.child import EXIT_OUT_OF_MEMORY, OK, READ_BYTES, REFUSED, shared_bytes, unpack
from shotlake.decode.ledger import failed
from shotlake.decode.run import OpenReader
from shotlake.errors import AccessDenied, Crashed, MediaError, OutOfMemory, ShotlakeError, StoreError, TimedOut
from shotlake.records import ClipBatch, ClipSpec, UnitOutcome, Usage, WorkUnit, work_unit_to_json
from shotlake.storage import ObjectReader

Read = Callable[[int, int], bytes]

_TRIES = 2
_START_S = 120
_SHARED = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Child:
    """A running child process, its line and its shared memory."""

    def __init__(self, spec: ClipSpec, config: DecodeConfig) -> None:
        size = shared_bytes(spec, config.clips_per_batch)
        settings = {"clip_spec": asdict(spec), "config": config.model_dump(), "shared_bytes": size}
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile(dir=_SHARED) as file, theirs:
            file.truncate(size)
            self.memory = mmap.mmap(file.fileno(), size)
            fds = (theirs.fileno(), file.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shotlake.decode.child", *map(str, fds), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=fds,
                env=_environment(),
            )
        self.line = Connection(ours.detach())
        self._is_ready = False
        self.stop = weakref.finalize(self, _stop, self._process, self.line)

    def wait_until_ready(self) -> None:
        """Imports take a second, many on a busy machine. Errors: TimedOut; EOFError."""
        if not self._is_ready:
            if not self.line.poll(_START_S):
                raise TimedOut(f"the decoder's process did not start within {_START_S} s")
            self.line.recv_bytes()
            self._is_ready = True

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def death(self) -> MediaError:
        """Why the child is gone, which it is."""
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return Crashed("the decoder's process does not answer any more")
        if status == EXIT_OUT_OF_MEMORY:
            return OutOfMemory("the decoder asked for more memory than decode.memory_bytes")
        return Crashed(f"the decoder's process died ({f'signal {-status}' if status < 0 else f'exit {status}'})")


def _environment() -> dict[str, str]:
    """What Python and its libraries are found with, and nothing else."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}


def _stop(process: subprocess.Popen[bytes], line: Connection) -> None:
    line.close()
    process.kill()
    process.wait()


class IsolatedRuns:
    """Decodes runs of units like `decode_run`, in a child that is started when it is needed."""

    def __init__(self, spec: ClipSpec, config: DecodeConfig, open_reader: OpenReader) -> None:
        self._spec, self._config, self._open_reader = spec, config, open_reader
        self._child: Child | None = None

    @property
    def child_pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._child.pid if self._child is not None else None

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.stop()
            self._child = None

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
            except (MediaError, StoreError) as error:
                is_final = isinstance(error, StoreError) or tries == _TRIES
                if is_final:
                    yield failed(left.popleft(), error, Usage())
                    tries = delivered = 0

    def _converse(self, units: list[WorkUnit]) -> Iterator[ClipBatch | UnitOutcome]:
        """Serve the child while it decodes. Errors: Crashed, TimedOut, OutOfMemory; what the store raises."""
        refused: list[ShotlakeError] = []
        with self._open_reader(units[0].video) as reader:
            child = self._child = self._child or Child(self._spec, self._config)
            read = reader.read_range if self._config.policy == "keyframes" else partial(_read, reader)
            try:
                child.wait_until_ready()
                child.line.send_bytes(f'{{"units": [{", ".join(map(work_unit_to_json, units))}]}}'.encode())
                budget = _Budget(self._config, self._spec, units)
                while True:
                    message = budget.wait(child.line)
                    if "read" in message:
                        child.line.send_bytes(_answer(read, message["read"], child.memory, refused))
                    elif "batch" in message:
                        batch = unpack(message["batch"], child.memory)
                        child.line.send_bytes(OK)
                        yield batch
                    elif "outcome" in message:
                        yield _with_reading(UnitOutcome.from_json(message["outcome"]), reader)
                    elif "abort" in message:
                        raise refused[-1] if refused else AccessDenied(message["abort"])
                    elif "done" in message:
                        return
            except (EOFError, ConnectionError):
                error = child.death()
                self.close()
                raise error from None
            except BaseException:  # the conversation broke off: what the child says next is not for us
                self.close()
                raise


class _Budget:
    """How long the units of a run may take: `idle_s` without a sign of life, `slowest` times their length in all."""

    def __init__(self, config: DecodeConfig, spec: ClipSpec, units: list[WorkUnit]) -> None:
        self._idle_s, self._waited_s = config.idle_s, 0.0
        media_s = sum(unit.n_cells for unit in units) * spec.stride_us / 1e6
        self._limit_s = (
            10 * config.idle_s + config.slowest * media_s if all(unit.n_cells for unit in units) else math.inf
        )

    def wait(self, line: Connection) -> dict[str, Any]:
        """The child's next message. Errors: TimedOut; EOFError."""
        since = time.monotonic()
        if not line.poll(self._idle_s):
            raise TimedOut(f"the decoder made no progress for {self._idle_s:g} s (decode.idle_s)")
        self._waited_s += time.monotonic() - since
        if self._waited_s > self._limit_s:
            raise TimedOut(f"the decoder took more than {self._limit_s:g} s (decode.slowest)")
        message: dict[str, Any] = json.loads(line.recv_bytes())
        return message


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


def _answer(read: Read, wanted: list[int], memory: mmap.mmap, refused: list[ShotlakeError]) -> bytes:
    """Leave the bytes [start, end) that are wanted in `memory`; how many, or why not."""
    start, end = wanted
    try:
        data = read(start, min(end, start + READ_BYTES))
    except (StoreError, AccessDenied) as error:
        refused.append(error)
        return REFUSED + json.dumps({"code": error.code, "message": error.message}).encode()
    memory[: len(data)] = data
    return OK + str(len(data)).encode()
