"""When a video was recorded, as far as its name tells."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shotlake.config import CatalogConfig
from shotlake.errors import ConfigError

PARTS = ("year", "month", "day", "hour", "minute", "second")


def recorded_at(key: str, config: CatalogConfig) -> datetime | None:
    """The time in a key, in UTC; None where the pattern finds none, or no such day exists.

    Errors: ConfigError if the pattern or the time zone is wrong.
    """
    if not config.recorded_pattern:
        return None
    found = _compiled(config.recorded_pattern).search(key)
    if not found:
        return None
    parts = {name: int(text) for name, text in found.groupdict().items() if text}
    try:
        return datetime(**parts, tzinfo=zone(config.time_zone)).astimezone(UTC)
    except ValueError:
        return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"catalog.recorded_pattern is {pattern!r}: {error}; correct it") from None
    names = set(compiled.groupindex)
    if not {"year", "month", "day"} <= names or not names <= set(PARTS):
        raise ConfigError(
            f"catalog.recorded_pattern is {pattern!r}: it needs the groups (?P<year>..), (?P<month>..) and "
            "(?P<day>..); hour, minute and second are allowed as well"
        )
    return compiled


@cache
def zone(name: str) -> ZoneInfo:
    """The time zone of a name. Errors: ConfigError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"catalog.time_zone is {name!r}; write one such as Europe/Berlin") from None
