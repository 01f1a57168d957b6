"""What answers, wherever it runs: the encoder and the current index in one process, looked after, behind the HTTP API.

It looks at the pointer every `serve.poll_s` seconds in a thread of its own, so that a slow store delays no answer.
Nothing here raises because an index or a model is bad: it stays up, says so, and tries again.
"""

from __future__ import annotations

import threading

from fastapi import FastAPI

from shotlake.config import Config
from shotlake.errors import ShotlakeError
from shotlake.serve.app import create_app
from shotlake.serve.guard import Traffic
from shotlake.serve.live import LiveIndex


class Replica:
    """Loads the first index, or finds out what is wrong with it."""

    def __init__(self, config: Config) -> None:
        from shotlake.serve.opener import Opener  # with every encoder and torch, which commands have no use for

        self._config, self._traffic = config, Traffic()
        opener = Opener(config)
        self.live = LiveIndex(opener.open, opener.is_moved, opener.look)
        self.live.refresh()
        threading.Thread(target=self._poll, name="poll", daemon=True).start()

    def api(self) -> FastAPI:
        """The HTTP API over it."""
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
