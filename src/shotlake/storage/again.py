"""Another try for what a store may answer better in a moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from shotlake.errors import ShotlakeError, StoreError, Unavailable

TRIES = 8  # some ten seconds in all

Answer = TypeVar("Answer")
Wanted = ParamSpec("Wanted")


def patiently(request: Callable[[], Answer]) -> Answer:
    """Make a request that may be made twice, up to `TRIES` times, and give its answer. Errors: the request's."""
    for attempt in range(TRIES - 1):
        try:
            return request()
        except ShotlakeError as error:
            if not is_transient(error):
                raise
        time.sleep(pause_s(attempt))
    return request()


def patient(function: Callable[Wanted, Answer]) -> Callable[Wanted, Answer]:
    """The function, whose request may be made twice, called `patiently`."""

    @wraps(function)
    def call(*arguments: Wanted.args, **named: Wanted.kwargs) -> Answer:
        return patiently(lambda: function(*arguments, **named))

    return call


def is_transient(error: ShotlakeError) -> bool:
    """True if the same request may succeed later: a 5xx, a broken connection, a body that was cut."""
    return type(error) in (StoreError, Unavailable)


def pause_s(attempt: int) -> float:
    """Seconds to wait behind the try with this number, from 0; doubling, and different for everybody."""
    return min(4.0, 0.1 * 2.0**attempt) * random.uniform(0.5, 1)
