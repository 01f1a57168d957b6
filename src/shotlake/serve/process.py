"""The process that answers where there is no cluster: the HTTP API under uvicorn, at a socket of the command.

`python -m shotlake.serve.process SOCKET PIPE`, with a pickled configuration in its standard input; see `alone.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shotlake.config import Config, ServeConfig
from shotlake.errors import ShotlakeError
from shotlake.serve.replica import Replica


def main(listening_fd: int, told_fd: int) -> int:
    """The process that answers: of the configuration in its standard input, at a socket that it was given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the command gets it too, and says what to do
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form)
    config: Config = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_command, name="command", daemon=True).start()
    replica = Replica(config)
    generation, error = replica.state()
    with os.fdopen(told_fd, "wb") as told:
        pickle.dump(generation or error or ShotlakeError("no index was loaded; see the log"), told)
    if not generation:
        return 1
    asyncio.run(_serve(replica, socket.socket(fileno=listening_fd), config.serve))
    return 0


def _end_with_the_command() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(replica: Replica, listening: socket.socket, config: ServeConfig) -> None:
    """Answer until SIGTERM, then what was asked before."""
    asked_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_end.set)
    server = _Server(uvicorn.Config(named(replica.api()), log_level="warning", access_log=False, server_header=False))
    serving = asyncio.create_task(server.serve([listening]))
    ending = asyncio.create_task(asked_to_end.wait())
    await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    until = time.monotonic() + config.body_s + config.timeout_s
    while replica.drain() and time.monotonic() < until and not serving.done():
        await asyncio.sleep(0.05)
    server.should_exit = True
    await serving


class _Server(uvicorn.Server):
    """One whose process decides what a signal means."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def named(api: ASGIApp) -> ASGIApp:
    """The API, with the request's id on every answer, as the proxy of a cluster has it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                request_id: str = scope["state"]["id"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        await api(scope, receive, send_named)

    return answer


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
