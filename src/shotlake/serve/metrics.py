"""What a monitoring system reads at /metrics: requests, their seconds, and the state of the index."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shotlake.serve.guard import Traffic
from shotlake.serve.live import LiveIndex

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Counters of one replica, in a registry of their own."""

    def __init__(self, live: LiveIndex, traffic: Traffic) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "shotlake_requests_total", "answers by route and status", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "shotlake_request_seconds", "seconds an answer took", ("route",), registry=self.registry, buckets=_SECONDS
        )
        gauges = {
            "shotlake_index_loaded": ("1 while an index is being served", lambda: float(bool(live.generation))),
            "shotlake_index_loaded_timestamp_seconds": ("when it was loaded", lambda: live.loaded_at),
            "shotlake_index_reloads": ("generations loaded since the start", lambda: live.reloads),
            "shotlake_index_failed_reloads": ("reloads that kept the old generation", lambda: live.failed_reloads),
            "shotlake_index_last_look_age_seconds": ("since a look at the lake ended", lambda: live.look.age_s),
            "shotlake_requests_in_flight": ("of /v1/, and not answered yet", lambda: traffic.in_flight),
            "shotlake_index_stale": ("1 if the last look at the index failed", lambda: float(live.error is not None)),
        }
        for name, (text, value) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(value)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count an answer under its route's template, never under a path that a client made up."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
