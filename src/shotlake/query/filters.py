"""The filter of a query: a small language over the columns of a row, parsed and never evaluated as code or SQL.

    collection = news and date >= 2026-01-01 and not (has_audio or codec in (hevc, av1))
    uri ~ "s3://bucket/2024/*" and time >= 22:00 and duration_s < 90

    text contains "good evening" and meta.season >= 3

A filter also tells which shards can hold no such row, by what the manifest says of their collections and times.

A comparison with a missing value is false. Fields: segment_id, video_id, uri, collection, codec, has_audio, start_s,
end_s, duration_s (of the video), recorded_at (of the video), and date and time (of day, UTC) at which the segment was
recorded; `text`, what the subtitles say meanwhile; `run_id`, or `run`, that embedded the segment; `meta.NAME`, the
column NAME of `catalog.metadata`. `~` is a glob over the whole text, `contains` finds a part of it whatever its case;
where a text is to be less or more than a number, texts that are numbers are compared as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import reduce
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.errors import QueryError
from shotlake.index.manifest import Shard

Column = Callable[[pa.RecordBatch], pa.Array]
Predicate = Callable[[pa.RecordBatch], pa.BooleanArray]
ShardPredicate = Callable[[Shard], bool]

MAX_TOKENS = 400  # bounds the depth of the parser

_TOKEN = re.compile(r"""\s*(?:(?P<op><=|>=|!=|[=<>~(),])|"(?P<quoted>[^"]*)"|(?P<word>[^\s"=<>~!(),]+))""")
_NUMBER = r"^[+-]?\d+(\.\d+)?$"
META = "meta."
_COMPARE: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "=": pc.equal,
        "!=": pc.not_equal,
        "<": pc.less,
        "<=": pc.less_equal,
        ">": pc.greater,
        ">=": pc.greater_equal,
    }
)


@dataclass(frozen=True, slots=True)
class Filter:
    """`rows(batch of columns)`: which rows pass. `may_hold(shard)`: false if no row of the shard can."""

    rows: Predicate
    may_hold: ShardPredicate = lambda _: True


@dataclass(frozen=True, slots=True)
class _Field:
    """What a name stands for, and how its values are written."""

    column: Column
    parse: Callable[[str], Any]
    example: str


def parse_filter(text: str) -> Filter:
    """A filter of batches with the columns of the index. Errors: QueryError naming the place and what is allowed."""
    tokens = _tokens(text)
    parser = _Parser(text, tokens)
    parsed = parser.either()
    parser.expect_end()
    return parsed


def _plain(name: str) -> Column:
    return lambda batch: batch.column(name)


def _since(name: str) -> Column:
    """A column that indexes of earlier versions do not have."""
    return lambda batch: batch.column(name) if name in batch.schema.names else pa.nulls(len(batch), pa.string())


def _told(name: str) -> Column:
    """What the metadata say under a name."""

    def look(batch: pa.RecordBatch) -> pa.Array:
        if "metadata" not in batch.schema.names:
            return pa.nulls(len(batch), pa.string())
        return pc.map_lookup(batch.column("metadata"), pa.scalar(name), "first")

    return look


def _numbers(texts: pa.Array) -> pa.Array:
    """Texts that are numbers as such, null for others."""
    is_number = pc.match_substring_regex(texts, _NUMBER)
    return pc.cast(pc.if_else(is_number, texts, pa.scalar(None, pa.string())), pa.float64())


def _field(name: str) -> _Field | None:
    if name.startswith(META) and name != META:
        return _Field(_told(name.removeprefix(META)), str, "a text")
    return _FIELDS.get(name)


def _seconds(name: str) -> Column:
    return lambda batch: pc.divide(pc.cast(batch.column(name), pa.float64()), 1e6)


def _begin(batch: pa.RecordBatch) -> pa.Array:
    return pc.add(batch.column("recorded_at"), pc.cast(batch.column("start_us"), pa.duration("us")))


def _date(batch: pa.RecordBatch) -> pa.Array:
    return pc.cast(_begin(batch), pa.date32())


def _time(batch: pa.RecordBatch) -> pa.Array:
    return pc.cast(_begin(batch), pa.time64("us"))


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_FIELDS: Mapping[str, _Field] = MappingProxyType(
    {name: _Field(_plain(name), str, "a text") for name in ("segment_id", "video_id", "uri", "collection", "codec")}
    | {
        f"{name}_s": _Field(_seconds(f"{name}_us"), float, "seconds such as 2.5")
        for name in ("start", "end", "duration")
    }
    | {
        "text": _Field(_since("text"), str, "a text"),
        "run": _Field(_since("run_id"), str, "a text"),
        "run_id": _Field(_since("run_id"), str, "a text"),
        "has_audio": _Field(_plain("has_audio"), _boolean, "true or false"),
        "recorded_at": _Field(_plain("recorded_at"), _moment, "a time such as 2026-01-31T12:00"),
        "date": _Field(_date, date.fromisoformat, "a date such as 2026-01-31"),
        "time": _Field(_time, time.fromisoformat, "a time of day such as 22:00"),
    }
)


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
        self._text, self._tokens, self._next = text, tokens, 0

    def either(self) -> Filter:
        parts = [self.both()]
        while self._take("or"):
            parts.append(self.both())
        return Filter(
            lambda batch: reduce(pc.or_, [_known(part.rows(batch)) for part in parts]),
            lambda shard: any(part.may_hold(shard) for part in parts),
        )

    def both(self) -> Filter:
        parts = [self.negated()]
        while self._take("and"):
            parts.append(self.negated())
        return Filter(
            lambda batch: reduce(pc.and_, [_known(part.rows(batch)) for part in parts]),
            lambda shard: all(part.may_hold(shard) for part in parts),
        )

    def negated(self) -> Filter:
        if self._take("not"):
            inner = self.negated()
            return Filter(lambda batch: pc.invert(_known(inner.rows(batch))))
        if self._take("("):
            inside = self.either()
            self._require(")")
            return inside
        return self.comparison()

    def comparison(self) -> Filter:
        token = self._pop("a field")
        field = _field(token.text)
        if field is None or token.kind != "word":
            raise self._error(token, f"{token.text!r} is not a field; there are {META}NAME, {', '.join(_FIELDS)}")
        if self._take("in"):
            return _prunable(token.text, "in", self._one_of(field))
        if self._take("~"):
            return _prunable(token.text, "~", self._like(token, field))
        if self._take("contains"):
            return _prunable(token.text, "contains", self._contains(token, field))
        for sign, compare in _COMPARE.items():
            if self._take(sign):
                return _prunable(token.text, sign, _compared(field, compare, self._value(field)))
        if field.parse is _boolean:
            return Filter(field.column)
        raise self._error(token, f"behind {token.text!r} one of {' '.join(_COMPARE)} ~ in contains is missing")

    def expect_end(self) -> None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise self._error(token, f"{token.text!r} is too much; join comparisons with and, or")

    def _one_of(self, field: _Field) -> Predicate:
        self._require("(")
        values = [self._value(field)]
        while self._take(","):
            values.append(self._value(field))
        self._require(")")
        return lambda batch: pc.is_in(field.column(batch), value_set=pa.array(values, field.column(batch).type))

    def _like(self, token: _Token, field: _Field) -> Predicate:
        if field.parse is not str:
            raise self._error(token, f"~ compares texts, and {token.text!r} takes {field.example}")
        pattern = "".join({"*": ".*", "?": "."}.get(letter) or re.escape(letter) for letter in self._value(field))
        return lambda batch: pc.match_substring_regex(field.column(batch), f"(?s)^{pattern}$")

    def _contains(self, token: _Token, field: _Field) -> Predicate:
        if field.parse is not str:
            raise self._error(token, f"contains looks into texts, and {token.text!r} takes {field.example}")
        wanted = self._value(field)
        return lambda batch: pc.match_substring(field.column(batch), wanted, ignore_case=True)

    def _value(self, field: _Field) -> Any:
        token = self._pop("a value")
        try:
            return field.parse(token.text) if token.kind != "op" else field.parse("")
        except (ValueError, KeyError):
            raise self._error(token, f"{token.text!r} is not {field.example}") from None

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


def _compared(field: _Field, compare: Callable[..., Any], wanted: Any) -> Predicate:
    if isinstance(wanted, str) and compare not in (pc.equal, pc.not_equal) and re.match(_NUMBER, wanted):
        number = float(wanted)
        return lambda batch: compare(_numbers(field.column(batch)), number)
    return lambda batch: compare(field.column(batch), wanted)


def _prunable(name: str, sign: str, rows: Predicate) -> Filter:
    """A comparison; of a collection, or of a time with an order, it is asked of what a shard says of itself too."""

    def may_hold(shard: Shard) -> bool:
        if name == "collection":
            said = pa.record_batch({name: pa.array(shard.collections, pa.string())})
        else:
            said = pa.record_batch(
                {name: pa.array([shard.recorded_from, shard.recorded_to], pa.timestamp("us", "UTC"))}
            )
        return bool(pc.any(_known(rows(said)), min_count=0).as_py())

    is_ordered = name == "recorded_at" and sign in ("<", "<=", ">", ">=")
    return Filter(rows, may_hold) if is_ordered or name == "collection" else Filter(rows)


def _known(values: pa.BooleanArray) -> pa.BooleanArray:
    """A missing value answers no question with yes."""
    return pc.fill_null(values, False)
