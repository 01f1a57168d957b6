"""A small search, asked as everybody's are: in the same places, of the same index and the same processes.

Where none of the places becomes free, or whoever answers there hangs, it does not come back either.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np
from anyio import CapacityLimiter, to_thread

from shotlake.embed.encoder import Encoder
from shotlake.errors import TooSlow
from shotlake.query.budget import Budget
from shotlake.query.request import SearchRequest, Term
from shotlake.serve.live import LiveIndex

WAIT_S = 2.0  # for it to come back
KEPT_S = 1.0  # so long an answer counts: health checks may be asked by anybody


class Canary:
    """One at a time, however many ask."""

    def __init__(self, live: LiveIndex, places: CapacityLimiter, answer_s: float) -> None:
        self._live, self._places, self._answer_s = live, places, answer_s
        self._encoder: Encoder | None = None
        self._running: asyncio.Task[None] | None = None
        self._came_back_at = -KEPT_S

    async def check(self) -> None:
        """Errors: TooSlow if it does not come back within WAIT_S; what keeps searches from being answered."""
        if time.monotonic() - self._came_back_at < KEPT_S:
            return
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._in_turn())
            self._running.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may wait for it
        running = self._running
        done, _ = await asyncio.wait({running}, timeout=min(WAIT_S, self._answer_s))
        if not done:
            raise TooSlow(f"a search did not come back within {WAIT_S:g} s: all places are taken, or the index hangs")
        running.result()
        self._came_back_at = time.monotonic()

    async def _in_turn(self) -> None:
        await to_thread.run_sync(self._ask, limiter=self._places)

    def _ask(self) -> None:
        self._live.answer(self._request(), Budget.lasting(self._answer_s))

    def _request(self) -> SearchRequest:
        encoder = self._live.current().encoder
        if encoder is not self._encoder:
            self._encoder, self._text = encoder, next(iter(encoder.captions()), "")
        if self._text:
            return SearchRequest((Term("text", self._text),), limit=1)
        return SearchRequest((Term("vector", tuple(np.ones(encoder.dim))),), limit=1)
