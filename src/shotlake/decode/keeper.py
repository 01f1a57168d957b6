"""The parent's end of the line: one spawned child that is served with bytes, watched, and replaced when it dies.

Spawned, never forked: an actor has threads. What the child says is JSON, and is not believed: it cannot name memory or
bytes that are not there for it.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from shotlake.config import DecodeConfig
from shotlake.decode.child import EXIT_OUT_OF_MEMORY, OK, READ_BYTES, REFUSED, shared_bytes, unpack
from shotlake.errors import AccessDenied, Crashed, MediaError, OutOfMemory, ShotlakeError, StoreError, TimedOut
from shotlake.records import ClipSpec

Read = Callable[[int, int], bytes]

_START_S = 120
_SHARED = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Child:
    """A running child process, its line and its shared memory."""

    def __init__(self, config: DecodeConfig, spec: ClipSpec | None) -> None:
        size = shared_bytes(config, spec)
        settings = {
            "clip_spec": asdict(spec) if spec else None,
            "config": config.model_dump(),
            "shared_bytes": size,
        }
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


class Keeper:
    """Asks its child, which is started when it is needed and ended when it misbehaves. `spec` is for clips only."""

    def __init__(self, config: DecodeConfig, spec: ClipSpec | None = None) -> None:
        self._config, self._spec = config, spec
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

    def ask(self, request: str, read: Read, limit_s: float) -> Iterator[dict[str, Any]]:
        """What the child answers, batches unpacked, until it is done; `read(start, end)` serves it with bytes.

        Errors: Crashed; OutOfMemory; TimedOut after `decode.idle_s` without a sign of life or `limit_s` in all;
        what `read` raised.
        """
        child = self._child = self._child or Child(self._config, self._spec)
        refused: list[ShotlakeError] = []
        try:
            child.wait_until_ready()
            child.line.send_bytes(request.encode())
            watch = _Watch(self._config.idle_s, limit_s)
            while "done" not in (message := watch.wait(child.line)):
                if "read" in message:
                    child.line.send_bytes(_answer(read, message["read"], child.memory, refused))
                elif "batch" in message:
                    message["batch"] = unpack(message["batch"], child.memory)
                    child.line.send_bytes(OK)
                    yield message
                elif "abort" in message:
                    raise refused[-1] if refused else AccessDenied(message["abort"])
                elif "beat" not in message:
                    yield message
            if message.get(
                "spent"
            ):  # libav keeps what it had when there was no more, and the next file would go without
                self.close()
        except (EOFError, ConnectionError):
            error = child.death()
            self.close()
            raise error from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            self.close()
            raise Crashed(f"the decoder's process does not speak sense ({error})") from error
        except BaseException:  # the conversation broke off: what the child says next is not for us
            self.close()
            raise


class _Watch:
    """How long the child may be waited for."""

    def __init__(self, idle_s: float, limit_s: float) -> None:
        self._idle_s, self._limit_s, self._waited_s = idle_s, limit_s, 0.0

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


def _answer(read: Read, wanted: list[int], memory: mmap.mmap, refused: list[ShotlakeError]) -> bytes:
    """Leave the bytes [start, end) that are wanted in `memory`; how many, or why not."""
    start, end = wanted
    try:
        data = read(max(0, start), min(end, start + READ_BYTES))
    except (StoreError, AccessDenied) as error:
        refused.append(error)
        return REFUSED + json.dumps({"code": error.code, "message": error.message}).encode()
    memory[: len(data)] = data
    return OK + str(len(data)).encode()
