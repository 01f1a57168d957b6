"""The service of one machine without a cluster: one process that answers, and the command that watches it.

The command holds the socket. If the process that answers dies, another one takes its place, and who asks meanwhile
waits in the queue of the socket. If the command dies, the other one ends too.
"""

from __future__ import annotations

import logging
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from shotlake.config import Config
from shotlake.errors import ShotlakeError

PROCESS = "shotlake.serve.process"  # not imported here: with the encoder it takes seconds
LOOK_S = 0.2  # between two looks at the process that answers
LEAST_LIFE_S, PAUSE_S = 10.0, 5.0  # one that dies younger is started again only after a pause
_LAST_S = 10.0  # for what is left to do when every request was answered

_log = logging.getLogger(__name__)


@dataclass
class Answering:
    """The process that answers, and the pipe in which it says that it does, or why not."""

    process: subprocess.Popen[bytes]
    told: BinaryIO
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, config: Config, listening: socket.socket) -> Answering:
        """Start one that takes the socket; its standard input is open for as long as this process lives."""
        read, write = os.pipe()
        command = [sys.executable, "-P", "-m", PROCESS, str(listening.fileno()), str(write)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(listening.fileno(), write))
        os.close(write)
        assert process.stdin
        pickle.dump(config, process.stdin)
        process.stdin.flush()
        return cls(process, os.fdopen(read, "rb"))

    def generation(self, stop: threading.Event) -> str:
        """The generation that it answers from, once it does; "" if `stop` came first. Errors: why it does not."""
        while not select.select([self.told], [], [], LOOK_S)[0]:
            if stop.is_set():
                return ""
        try:
            said: str | ShotlakeError = pickle.load(self.told)
        except EOFError:
            raise ShotlakeError(f"the process that answers ended with {self.process.wait()} before it did") from None
        if isinstance(said, ShotlakeError):
            raise said
        return said

    def end(self, within_s: float) -> None:
        """Let it answer what was asked, and end it."""
        self.process.terminate()
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            _log.warning("event=not_drained")
        self.process.kill()
        self.process.wait()
        self.told.close()


@contextmanager
def answering(config: Config, listening: socket.socket, stop: threading.Event) -> Iterator[str]:
    """Answer until the end of the block, from the generation that is given. Errors: what kept it from its first index.

    `stop`: ends the wait for that.
    """
    first = Answering.start(config, listening)
    ended = threading.Event()
    watched = [first]
    watcher = threading.Thread(target=_watch, args=(config, listening, watched, ended), name="watch", daemon=True)
    try:
        generation = first.generation(stop)
        watcher.start()
        yield generation
    finally:
        ended.set()
        if watcher.ident:
            watcher.join()
        watched[0].end(config.serve.body_s + config.serve.timeout_s + _LAST_S)


def _watch(config: Config, listening: socket.socket, watched: list[Answering], ended: threading.Event) -> None:
    """Put another process in the place of one that died."""
    while not ended.wait(LOOK_S):
        now = watched[0]
        if now.process.poll() is None:
            continue
        _log.error("event=replica_died status=%d", now.process.returncode)
        if time.monotonic() - now.since < LEAST_LIFE_S and ended.wait(PAUSE_S):
            return
        now.told.close()
        try:
            watched[0] = Answering.start(config, listening)
        except OSError as error:  # no memory for it, or it died at once: the next look tries again
            _log.error("event=replica_not_started error=%r", error)
