"""Shards of a generation in processes of their own: which run of shards goes where, and one such process, a Ray actor.

A holder never changes: another generation has other holders, and both end when no snapshot names them any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from shotlake.config import ServeConfig
from shotlake.errors import ShardsLost, TooSlow
from shotlake.index.exact import Rows
from shotlake.index.manifest import Manifest
from shotlake.index.searcher import Searcher

_log = logging.getLogger(__name__)

_HEALTH = "health"  # calls of this group have a thread of their own
KEPT_VIEWS = 8  # sets of hidden rows that a holder remembers: those of the snapshots that are being asked


def cut_runs(manifest: Manifest, n_runs: int) -> list[slice]:
    """At most `n_runs` runs of neighbouring shards, with about as many rows each; every shard is in one."""

    def run_of(number: int) -> int:
        shard = manifest.shards[number]
        return (2 * shard.first_row + shard.n_rows) * n_runs // (2 * manifest.n_rows)  # where its middle falls

    runs = [list(numbers) for _, numbers in groupby(range(len(manifest.shards)), run_of)]
    return [slice(run[0], run[-1] + 1) for run in runs]


class ShardHolder:
    """A run of shards, loaded and verified, that answers as the Searcher of them."""

    def load(self, index_root: str, part: Manifest, cache_dir: Path | None, cache_bytes: int) -> None:
        """Fetch, verify and map the shards. Errors: CorruptGeneration, PreflightError."""
        self._whole = Searcher.load(index_root, part, cache_dir, cache_bytes, in_place=False)
        self._views: dict[str, Searcher] = {}
        self._lock = threading.Lock()

    def ping(self) -> None:
        """Says that the process runs."""

    def sweep(self) -> None:
        """As of the Searcher."""
        self._whole.sweep()

    def ask(self, view: str, hidden: Rows, method: Callable[..., Any], *arguments: Any) -> Any:
        """`method` of the Searcher in which the rows `hidden` are never found; `view` is the name of these rows."""
        with self._lock:
            if view not in self._views:
                self._views[view] = self._whole.without(hidden)
                for oldest in list(self._views)[:-KEPT_VIEWS]:
                    del self._views[oldest]
            searcher = self._views[view]
        return method(searcher, *arguments)


class HolderGroup:
    """The replicas that hold one run of shards. One that dies is replaced; meanwhile the others answer, or nobody.

    One that did not answer in time is sent a ping, for which it has a thread of its own however busy it is. Until that
    is answered it is asked nothing else; if that takes too long, it hangs, and is replaced as well.
    """

    def __init__(
        self, index_root: str, part: Manifest, cache_dir: Path | None, cache_bytes: int, config: ServeConfig
    ) -> None:
        """Start the replicas, which load the shards of `part`."""
        last = part.shards[-1]
        self._rows = part.shards[0].first_row, last.first_row + last.n_rows
        self._arguments = index_root, part, cache_dir, cache_bytes
        self._config = config
        self._lock = threading.Lock()
        self._ready: deque[ActorHandle] = deque()
        self._pings: dict[ActorHandle, tuple[ray.ObjectRef, float]] = {}  # of those that were too slow; and since when
        self._loading = [self._start() for _ in range(config.holder_replicas)]

    @property
    def holders(self) -> tuple[ActorHandle, ...]:
        """The replicas that can be asked."""
        return tuple(self._ready)

    @property
    def n_rows(self) -> int:
        """How many rows they hold."""
        first, end = self._rows
        return end - first

    def wait(self) -> None:
        """Until every replica has loaded. Errors: what kept one from it."""
        for holder, loaded in self._loading:
            _received(loaded)
            self._ready.append(holder)
        self._loading = []

    def owned(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of the rows [K] stand in these shards."""
        first, end = self._rows
        return (rows >= first) & (rows < end)

    def is_reachable(self) -> bool:
        """Whether a replica can be asked. Replacements that have loaded can, from now on."""
        with self._lock:
            for replica in [replica for replica in self._loading if ray.wait([replica[1]], timeout=0)[0]]:
                self._loading.remove(replica)
                self._take_in(*replica)
            return bool(self._ready)

    def ask(self, hidden: ray.ObjectRef, method: Callable[..., Any], *arguments: Any) -> Callable[[float], Any]:
        """Send a call to the next replica. The function that is returned waits for the answer until a deadline of
        `time.monotonic`, for that of another one if need be, and gives None if none is left.

        Errors: those of the call, TooSlow.
        """
        holder = self._next()
        # the rows themselves arrive there: a process that keeps references of others may hang when Ray ends it
        answer = holder.ask.remote(hidden.hex(), hidden, method, *arguments) if holder else None

        def wait(deadline: float) -> Any:
            if not holder:
                return None
            try:
                return _received(answer, max(0.0, min(self._config.answer_s, deadline - time.monotonic())))
            except ShardsLost as error:
                self._replace(holder, error)
                return self.ask(hidden, method, *arguments)(deadline)
            except TooSlow:
                self._suspect(holder)
                raise

        return wait

    def _next(self) -> ActorHandle | None:
        """The replica whose turn it is, of those that owe no ping. Errors: TooSlow if all do."""
        self._judge_suspects()
        with self._lock:
            for _ in range(len(self._ready)):
                self._ready.rotate()
                if self._ready[0] not in self._pings:
                    return self._ready[0]
            if self._ready:
                raise TooSlow("the processes that hold shards of the index hang; they are replaced; try again later")
            return None

    def _suspect(self, slow: ActorHandle) -> None:
        with self._lock:
            if slow in self._ready and slow not in self._pings:
                _log.warning("event=holder_slow first_row=%d end_row=%d", *self._rows)
                self._pings[slow] = slow.ping.options(concurrency_group=_HEALTH).remote(), time.monotonic()

    def _judge_suspects(self) -> None:
        """Who has answered the ping was only busy; who has not for as long as an answer may take is replaced."""
        with self._lock:
            answered = [one for one, (ping, _) in self._pings.items() if ray.wait([ping], timeout=0)[0]]
            for holder in answered:
                del self._pings[holder]
            latest = time.monotonic() - self._config.answer_s
            hung = [one for one, (_, since) in self._pings.items() if since < latest]
        for holder in hung:
            self._replace(holder, ShardsLost("it hangs"))

    def _start(self) -> tuple[ActorHandle, ray.ObjectRef]:
        """A new holder, and what tells that it has loaded."""
        # no core is reserved: holders work while the process that asks them waits
        options = {"num_cpus": 0, "max_concurrency": self._config.concurrency, "scheduling_strategy": "SPREAD"}
        holder = ray.remote(concurrency_groups={_HEALTH: 1})(ShardHolder).options(**options).remote()
        return holder, holder.load.remote(*self._arguments)

    def _replace(self, lost: ActorHandle, error: ShardsLost) -> None:
        with self._lock:
            if lost in self._ready:  # nobody else was quicker
                _log.warning("event=holder_lost first_row=%d end_row=%d error=%s", *self._rows, error)
                self._ready.remove(lost)
                self._pings.pop(lost, None)
                ray.kill(lost)  # for it may only be out of reach
                self._loading.append(self._start())

    def _take_in(self, holder: ActorHandle, loaded: ray.ObjectRef) -> None:
        try:
            _received(loaded)
            self._ready.append(holder)
        except Exception as error:  # noqa: BLE001 - whatever it was, another one may have more luck
            _log.warning("event=holder_not_loaded first_row=%d end_row=%d error=%s", *self._rows, error)
            self._loading.append(self._start())


def _received(answer: ray.ObjectRef, timeout_s: float | None = None) -> Any:
    """What a holder answers. Errors: what it raises; ShardsLost if it is gone, TooSlow if it takes too long."""
    try:
        return ray.get(answer, timeout=timeout_s)
    except RayTaskError as error:
        raise error.cause from error
    except RayActorError as error:
        raise ShardsLost(f"a process that held shards of the index is gone: {error}") from error
    except GetTimeoutError as error:
        raise TooSlow(f"shards of the index did not answer within {timeout_s:.1f} s (serve.timeout_s)") from error
