"""`shotlake serve`: what is checked before anything is started, and where the service runs.

Without holders and without a cluster it is one process beside the command, since what Ray needs to start takes longer
and more than all that is done with it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from shotlake import storage
from shotlake.config import Config, ServeConfig
from shotlake.errors import ConfigError, NoIndex
from shotlake.index.publish import list_embed_keys
from shotlake.table.lake import Lake

_WAITING = 2_048  # connections that nobody has taken yet


def run_service(config: Config, stop: threading.Event | None = None) -> int:
    """Answer queries until SIGTERM, SIGINT or `stop`, then return 0; a line on stderr says when and where it is ready.

    Errors: SourceMissing, NoIndex and ConfigError (a taken port) before anything is started; then whatever kept the
    service from loading its first index (BadModel, CorruptGeneration, ...).
    """
    stop = stop or threading.Event()
    _check_index(config.lake)
    with _listening(config.serve) as place, _stopped_by_signals(stop):
        host, port = place.getsockname()[:2]
        with _answering(config, place, stop) as generation:
            if generation:
                shown = f"[{host}]" if ":" in host else host
                sys.stderr.write(f"ready at http://{shown}:{port} with generation {generation} of {config.lake}\n")
                sys.stderr.flush()
            stop.wait()
    return 0


def _answering(config: Config, place: socket.socket, stop: threading.Event) -> AbstractContextManager[str]:
    """Answer during a block, from the generation that is given."""
    ray = sys.modules.get("ray")
    has_cluster = config.flow.ray_address or os.environ.get("RAY_ADDRESS") or (ray and ray.is_initialized())
    if config.serve.holders or has_cluster:
        from shotlake.serve.deployment import answering_on_cluster  # takes seconds

        return answering_on_cluster(config, place)
    from shotlake.serve.alone import answering

    return answering(config, place, stop)


def _check_index(lake_root: str) -> None:
    """Answer at once what would take Ray seconds to find out. Errors: SourceMissing, NoIndex."""
    lake = Lake.open(lake_root)
    if not list_embed_keys(storage.join(lake.root, "index")):
        raise NoIndex(f"the lake {lake_root!r} has no published index yet; run `shotlake index build`")


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; only the main thread may listen to them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _listening(config: ServeConfig) -> Iterator[socket.socket]:
    """A socket at the configured address; port 0 takes any that is free. Errors: ConfigError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((config.host, config.port))
            place.listen(_WAITING)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on serve.host {config.host!r}, serve.port {config.port}: {error.strerror}"
            ) from None
        yield place
