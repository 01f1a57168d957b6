"""The service on Ray Serve: replicas that hold a live index, and the command that runs them on this machine.

A replica looks at the pointer every `serve.poll_s` seconds in a thread of its own, so that a slow store delays no
answer. Nothing in a replica raises because an index or a model is bad: it stays up, says so, and tries again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from shotlake import storage
from shotlake.config import Config, FlowConfig, ServeConfig
from shotlake.errors import ConfigError, NoIndex, ShotlakeError
from shotlake.index.publish import list_embed_keys
from shotlake.serve.app import create_app
from shotlake.serve.guard import Traffic
from shotlake.serve.live import LiveIndex
from shotlake.table.lake import Lake

APPLICATION = "shotlake"

_log = logging.getLogger(__name__)


@serve.ingress()
class SearchReplica:
    """One process that holds the encoder and the current index, and answers HTTP."""

    def __init__(self, config: Config) -> None:
        from shotlake.serve.opener import Opener  # with every encoder and torch, which the command has no use for

        self._config, self._traffic = config, Traffic()
        opener = Opener(config)
        self.live = LiveIndex(opener.open, opener.is_moved, opener.look)
        self.live.refresh()
        threading.Thread(target=self._poll, name="poll", daemon=True).start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self.live, self._config.serve, self._traffic)

    def state(self) -> tuple[str, ShotlakeError | None]:
        """The generation in use, and what went wrong when the pointer was looked at last."""
        return self.live.generation, self.live.error

    def drain(self) -> int:
        """Let no request in from now on; how many are still being answered."""
        self._traffic.is_draining = True
        return self._traffic.in_flight

    def _poll(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._config.serve.poll_s):
            self.live.refresh()


def application(config: Config) -> serve.Application:
    """The Serve application of a configuration, for `serve.run` and for a cluster's own service definition."""
    deployment = serve.deployment(
        name=SearchReplica.__name__,
        max_ongoing_requests=10_000,  # the application sheds, with an answer that clients can read
        graceful_shutdown_wait_loop_s=0.2,
        logging_config=_quiet(),
    )
    return deployment(SearchReplica).bind(config)


def run_service(config: Config, stop: threading.Event | None = None) -> int:
    """Answer queries until SIGTERM, SIGINT or `stop`, then return 0; a line on stderr says when and where it is ready.

    Errors: SourceMissing, NoIndex and ConfigError (a taken port) before anything is started; then whatever kept the
    replica from loading its first index (BadModel, CorruptGeneration, ...).
    """
    stop = stop or threading.Event()
    _check_index(config.lake)
    host, port = _free_address(config.serve)
    with _cluster(config.flow), _stopped_by_signals(stop):
        options = HTTPOptions(host=host, port=port, request_timeout_s=config.serve.timeout_s)
        serve.start(http_options=options, logging_config=_quiet())
        try:
            handle = serve.run(application(config), name=APPLICATION, logging_config=_quiet())
            generation, error = handle.state.remote().result()
            if not generation:
                raise error or ShotlakeError("no index was loaded; see the log of the replica")
            sys.stderr.write(f"ready at http://{host}:{port} with generation {generation} of {config.lake}\n")
            sys.stderr.flush()
            stop.wait()
            _drain(handle, config.serve)
        finally:
            serve.delete(APPLICATION)
    return 0


def _drain(handle: DeploymentHandle, config: ServeConfig) -> None:
    """Wait until what was asked is answered, but no longer than that may take; whoever asks now is told so."""
    until = time.monotonic() + config.body_s + config.timeout_s
    try:
        while handle.drain.remote().result(timeout_s=config.timeout_s) and time.monotonic() < until:
            time.sleep(0.05)
    except (TimeoutError, RayError) as error:
        _log.warning("event=not_drained error=%r", error)


def _check_index(lake_root: str) -> None:
    """Answer at once what would take Ray seconds to find out. Errors: SourceMissing, NoIndex."""
    lake = Lake.open(lake_root)
    if not list_embed_keys(storage.join(lake.root, "index")):
        raise NoIndex(f"the lake {lake_root!r} has no published index yet; run `shotlake index build`")


@contextmanager
def _cluster(config: FlowConfig) -> Iterator[None]:
    """The cluster that is connected or configured, or one of this service alone, which ends with it."""
    if ray.is_initialized():
        yield
        return
    address = config.ray_address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"num_cpus": config.num_cpus or os.cpu_count(), "include_dashboard": False}
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    # "local", because without an address Ray would join whatever `ray start` has left on this machine
    ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
    try:
        yield
    finally:
        ray.shutdown()


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


def _free_address(config: ServeConfig) -> tuple[str, int]:
    """The address to listen on; port 0 takes any that is free. Errors: ConfigError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on serve.host {config.host!r}, serve.port {config.port}: {error.strerror}"
            ) from None
        return config.host, int(probe.getsockname()[1])


def _quiet() -> LoggingConfig:
    return LoggingConfig(log_level="WARNING", enable_access_log=False)
