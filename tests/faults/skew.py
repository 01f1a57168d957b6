"""Wrong clocks and other machines, for one process: what its own code is told of the time and of its host."""

from __future__ import annotations

import platform
import sys
from datetime import datetime, timedelta
from typing import Any


class _AnyDatetime(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


def apply(clock_s: float, host: str) -> None:
    """Move the clock of this process by so many seconds, and let it be on a host of this name."""
    if host:
        platform.node = lambda: host
    if not clock_s:
        return

    class Skewed(datetime, metaclass=_AnyDatetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=clock_s)

    for name, module in list(sys.modules.items()):
        if name.startswith("shotlake.") and getattr(module, "datetime", None) is datetime:
            module.datetime = Skewed  # type: ignore[attr-defined]
