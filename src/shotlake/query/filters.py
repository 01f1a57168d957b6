"""The filter of a query as people write it: a small language, parsed to conditions and never evaluated as code or SQL.

    collection = news and date >= 2026-01-01 and not (has_audio or codec in (hevc, av1))
    uri ~ "s3://bucket/2024/*" and time >= 22:00 and duration_s < 90

    text contains "good evening" and meta.season >= 3

Fields: segment_id, video_id, uri, collection, codec, has_audio, start_s, end_s, duration_s (of the video), recorded_at
(of the video), and date and time (of day, UTC) at which the segment was recorded; `text`, what the subtitles say
meanwhile; `run_id`, or `run`, that embedded the segment; `meta.NAME`, the column NAME of `catalog.metadata`. `~` is a
glob over the whole text, `contains` finds a part of it whatever its case; where a text is to be less or more than a
number, texts that are numbers are compared as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shotlake.errors import QueryError
from shotlake.query.conditions import (
    COMPARISONS,
    CONTAINS,
    LIKE,
    MAX_DEPTH,
    MAX_PARTS,
    ONE_OF,
    Both,
    Condition,
    Either,
    Not,
    comparison,
    count_parts,
    field_of,
    parse_json,
)

MAX_TOKENS = 400

_TOKEN = re.compile(r"""\s*(?:(?P<op><=|>=|!=|[=<>~(),])|"(?P<quoted>[^"]*)"|(?P<word>[^\s"=<>~!(),]+))""")


def parse_filter(wanted: str | Mapping[str, Any]) -> Condition:
    """The conditions of a filter, given as text or as JSON. Errors: QueryError naming the place and what is allowed."""
    if not isinstance(wanted, str):
        found = parse_json(wanted)
        if count_parts(found) > MAX_PARTS:
            raise QueryError(f"the filter has {count_parts(found)} values; {MAX_PARTS} are allowed")
        return found
    parser = _Parser(wanted, _tokens(wanted))
    parsed = parser.either()
    parser.expect_end()
    return parsed


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # op | quoted | word
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if not match:
            raise QueryError(f"the filter {text!r} cannot be read at {text[position:].strip()[:20]!r}")
        kind = str(match.lastgroup)
        found.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    if len(found) > MAX_TOKENS:
        raise QueryError(f"the filter has {len(found)} words; {MAX_TOKENS} are allowed")
    return found


class _Parser:
    """Recursive descent: or, and, not, then one comparison or a parenthesis."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text, self._tokens, self._next, self._depth = text, tokens, 0, 0

    def either(self) -> Condition:
        parts = [self.both()]
        while self._take("or"):
            parts.append(self.both())
        return Either(tuple(parts)) if len(parts) > 1 else parts[0]

    def both(self) -> Condition:
        parts = [self.negated()]
        while self._take("and"):
            parts.append(self.negated())
        return Both(tuple(parts)) if len(parts) > 1 else parts[0]

    def negated(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError(f"the filter is nested deeper than {MAX_DEPTH}; join its parts with and, or")
        if self._take("not"):
            found: Condition = Not(self.negated())
        elif self._take("("):
            found = self.either()
            self._require(")")
        else:
            found = self.comparison()
        self._depth -= 1
        return found

    def comparison(self) -> Condition:
        token = self._pop("a field")
        if token.kind != "word":
            raise self._error(token, f"{token.text!r} is not a field")
        field = self._checked(token, lambda: field_of(token.text))
        for sign in (ONE_OF, LIKE, CONTAINS, *COMPARISONS):
            if self._take(sign):
                values = self._values() if sign == ONE_OF else (self._pop("a value"),)
                return self._compared(token, sign, values)
        if field.is_boolean:
            return comparison(token.text, "=", ("true",))
        raise self._error(token, f"behind {token.text!r} one of {' '.join(COMPARISONS)} ~ in contains is missing")

    def expect_end(self) -> None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise self._error(token, f"{token.text!r} is too much; join comparisons with and, or")

    def _values(self) -> tuple[_Token, ...]:
        self._require("(")
        values = [self._pop("a value")]
        while self._take(","):
            values.append(self._pop("a value"))
        self._require(")")
        return tuple(values)

    def _compared(self, field: _Token, sign: str, values: tuple[_Token, ...]) -> Condition:
        """Values are looked at one by one, so that an error names the place of the one that is wrong."""
        self._checked(field, lambda: comparison(field.text, sign, ()))
        for value in values:
            if value.kind == "op":
                raise self._error(value, f"{value.text!r} is not {field_of(field.text).example}")
            self._checked(value, lambda value=value: comparison(field.text, sign, (value.text,)))
        return comparison(field.text, sign, tuple(value.text for value in values))

    def _checked(self, token: _Token, work: Any) -> Any:
        try:
            return work()
        except QueryError as error:
            raise self._error(token, error.message) from None

    def _take(self, text: str) -> bool:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            if token.kind != "quoted" and token.text.lower() == text:
                self._next += 1
                return True
        return False

    def _require(self, text: str) -> None:
        if not self._take(text):
            token = self._pop(repr(text))
            raise self._error(token, f"{text!r} is expected instead of {token.text!r}")

    def _pop(self, what: str) -> _Token:
        if self._next == len(self._tokens):
            raise QueryError(f"the filter {self._text!r} ends where {what} is expected")
        self._next += 1
        return self._tokens[self._next - 1]

    def _error(self, token: _Token, what: str) -> QueryError:
        return QueryError(f"the filter {self._text!r}, letter {token.position + 1}: {what}")
