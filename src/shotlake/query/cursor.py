"""Where a page ended, as a text that says all that is needed to go on: of which rows, for which query, how far.

Nothing is kept for it: whoever has the lake can go on, another process or replica as well, while the generation and the
table versions that it names are still stored.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from shotlake.errors import QueryError
from shotlake.query.budget import MAX_CANDIDATES
from shotlake.records import stable_id

_MOST_VERSIONS = 2**53


@dataclass(frozen=True, slots=True)
class Pin:
    """The rows that are seen: a generation's, and newer ones up to a version of `units` (None: no newer ones), without
    the videos that were retired at a version of `retired`.
    """

    generation: str
    units_version: int | None
    retired_version: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind `position` of a query's moments (or videos), of which `n_hits` hits were shown; `query` names it."""

    pin: Pin
    query: str
    position: int
    n_hits: int

    def to_text(self) -> str:
        """Letters, digits, - and _."""
        pin = self.pin
        fields = [pin.generation, pin.units_version, pin.retired_version, self.query]
        body = json.dumps([*fields, self.position, self.n_hits], separators=(",", ":"))
        return base64.urlsafe_b64encode(f"{_check(body)}{body}".encode()).decode().rstrip("=")


def parse_cursor(text: str) -> Cursor:
    """What `to_text` gave. Errors: QueryError for anything else."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        check, body = plain[:8], plain[8:]
        if check != _check(body):
            raise ValueError(text)
        return _cursor(*json.loads(body))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise QueryError(f"{text[:20]!r} is no cursor; give that of an answer, unchanged, or none") from None


def _cursor(generation: Any, units: Any, retired: Any, query: Any, position: Any, n_hits: Any) -> Cursor:
    """Anybody can write a text of this form, so nothing in it is believed. Errors: ValueError, TypeError."""
    for name, limit in ((generation, 100), (query, 64)):
        if not (isinstance(name, str) and 0 < len(name) <= limit):
            raise ValueError(name)
    for number, least, most in (
        (0 if units is None else units, 0, _MOST_VERSIONS),
        (retired, 0, _MOST_VERSIONS),
        (position, 0, MAX_CANDIDATES),
        (n_hits, 0, MAX_CANDIDATES),
    ):
        if type(number) is not int or not least <= number <= most:
            raise ValueError(number)
    return Cursor(Pin(generation, units, retired), query, position, n_hits)


def _check(body: str) -> str:
    """Eight letters that a shortened or changed text does not have."""
    return stable_id(body)[:8]
