"""The service on Ray Serve: where shards are held by processes of their own, or a cluster is there or configured."""

from __future__ import annotations

import logging
import os
import socket
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

from shotlake.config import Config, FlowConfig, ServeConfig
from shotlake.errors import ShotlakeError
from shotlake.serve.replica import Replica

APPLICATION = "shotlake"

_log = logging.getLogger(__name__)


@serve.ingress()
class SearchReplica(Replica):
    """One of Serve's processes that answer."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self.api()


def application(config: Config) -> serve.Application:
    """The Serve application of a configuration, for `serve.run` and for a cluster's own service definition."""
    deployment = serve.deployment(
        name=SearchReplica.__name__,
        max_ongoing_requests=10_000,  # the application sheds, with an answer that clients can read
        graceful_shutdown_wait_loop_s=0.2,
        logging_config=_quiet(),
    )
    return deployment(SearchReplica).bind(config)


@contextmanager
def answering_on_cluster(config: Config, place: socket.socket) -> Iterator[str]:
    """Answer at the address of `place`, which Serve's proxy takes over, until the end of the block.

    Errors: whatever kept the replica from loading its first index.
    """
    host, port = place.getsockname()[:2]
    place.close()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # one line says that it is ready, and where
    with _cluster(config.flow):
        options = HTTPOptions(host=host, port=port, request_timeout_s=config.serve.timeout_s)
        serve.start(http_options=options, logging_config=_quiet())
        try:
            handle = serve.run(application(config), name=APPLICATION, logging_config=_quiet())
            generation, error = handle.state.remote().result()
            if not generation:
                raise error or ShotlakeError("no index was loaded; see the log of the replica")
            yield generation
            _drain(handle, config.serve)
        finally:
            serve.delete(APPLICATION)


def _drain(handle: DeploymentHandle, config: ServeConfig) -> None:
    """Wait until what was asked is answered, but no longer than that may take; whoever asks now is told so."""
    until = time.monotonic() + config.body_s + config.timeout_s
    try:
        while handle.drain.remote().result(timeout_s=config.timeout_s) and time.monotonic() < until:
            time.sleep(0.05)
    except (TimeoutError, RayError) as error:
        _log.warning("event=not_drained error=%r", error)


@contextmanager
def _cluster(config: FlowConfig) -> Iterator[None]:
    """The cluster that is connected or configured, or one of this service alone, which ends with it."""
    if ray.is_initialized():
        yield
        return
    address = config.ray_address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"num_cpus": config.num_cpus or os.cpu_count(), "include_dashboard": False}
    # "local", because without an address Ray would join whatever `ray start` has left on this machine
    ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
    try:
        yield
    finally:
        ray.shutdown()


def _quiet() -> LoggingConfig:
    return LoggingConfig(log_level="WARNING", enable_access_log=False)
