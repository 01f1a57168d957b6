"""A filter as data: conditions on the columns of a row, which go to other processes and to JSON and come back.

A condition tells rows of a batch, and which shards can hold no such row, by what the manifest says of their collections
and times. A comparison with a missing value is false.

    {"and": [{"field": "collection", "op": "=", "value": "news"}, {"not": {"field": "has_audio", "op": "=", "value": true}}]}
"""  # noqa: E501 - an example stays in one line

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import reduce
from types import MappingProxyType
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.errors import QueryError
from shotlake.index.manifest import Shard

MAX_DEPTH = 32  # of parentheses and negations
MAX_PARTS = 400  # comparisons and their values

Column = Callable[[pa.RecordBatch], pa.Array]

_NUMBER = r"^[+-]?\d+(\.\d+)?$"
META = "meta."
COMPARISONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "=": pc.equal,
        "!=": pc.not_equal,
        "<": pc.less,
        "<=": pc.less_equal,
        ">": pc.greater,
        ">=": pc.greater_equal,
    }
)
ONE_OF, LIKE, CONTAINS = "in", "~", "contains"


class Condition(Protocol):
    """What a row has to fulfil."""

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Which rows of a batch with the columns of the index pass."""

    def may_hold(self, shard: Shard) -> bool:
        """False if no row of the shard can pass."""

    def to_json(self) -> dict[str, Any]:
        """As `parse_json` reads it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field against values, which are texts; `in` takes several, the others one."""

    field: str
    sign: str
    values: tuple[str, ...]

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See Condition. A missing value answers no question with yes."""
        return pc.fill_null(self._compared(batch), False)

    def _compared(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        field = field_of(self.field)
        column = field.column(batch)
        if self.sign == LIKE:
            return pc.match_substring_regex(column, f"(?s)^{_pattern(self.values[0])}$")
        if self.sign == CONTAINS:
            return pc.match_substring(column, self.values[0], ignore_case=True)
        values = [field.parse(value) for value in self.values]
        if self.sign == ONE_OF:
            return pc.is_in(column, value_set=pa.array(values, column.type))
        if field.parse is str and self.sign not in ("=", "!=") and re.match(_NUMBER, values[0]):
            return COMPARISONS[self.sign](_numbers(column), float(values[0]))
        return COMPARISONS[self.sign](column, values[0])

    def may_hold(self, shard: Shard) -> bool:
        """See Condition: a shard tells of its collections, and between which times it was recorded."""
        if self.field == "collection":
            said = pa.array(shard.collections, pa.string())
        elif self.field == "recorded_at" and self.sign in ("<", "<=", ">", ">="):
            said = pa.array([shard.recorded_from, shard.recorded_to], pa.timestamp("us", "UTC"))
        else:
            return True
        return bool(pc.any(self.rows(pa.record_batch({self.field: said})), min_count=0).as_py())

    def to_json(self) -> dict[str, Any]:
        """See Condition."""
        value = list(self.values) if self.sign == ONE_OF else self.values[0]
        return {"field": self.field, "op": self.sign, "value": value}


@dataclass(frozen=True, slots=True)
class Both:
    """Every part holds."""

    parts: tuple[Condition, ...]

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See Condition."""
        return reduce(pc.and_, (part.rows(batch) for part in self.parts))

    def may_hold(self, shard: Shard) -> bool:
        """See Condition."""
        return all(part.may_hold(shard) for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """See Condition."""
        return {"and": [part.to_json() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Either:
    """Some part holds."""

    parts: tuple[Condition, ...]

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See Condition."""
        return reduce(pc.or_, (part.rows(batch) for part in self.parts))

    def may_hold(self, shard: Shard) -> bool:
        """See Condition."""
        return any(part.may_hold(shard) for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """See Condition."""
        return {"or": [part.to_json() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold; of a shard nothing is known by that."""

    part: Condition

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See Condition."""
        return pc.invert(self.part.rows(batch))

    def may_hold(self, shard: Shard) -> bool:
        """See Condition."""
        return True

    def to_json(self) -> dict[str, Any]:
        """See Condition."""
        return {"not": self.part.to_json()}


@dataclass(frozen=True, slots=True)
class OneOf:
    """A column has one of so many values, such as ids: not for people, so that there may be a million."""

    name: str
    values: pa.Array

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See Condition."""
        return pc.is_in(batch.column(self.name), value_set=self.values)

    def may_hold(self, shard: Shard) -> bool:
        """See Condition."""
        return True


@dataclass(frozen=True, slots=True)
class Field:
    """What a name stands for, and how its values are written."""

    column: Column
    parse: Callable[[str], Any]
    example: str

    @property
    def is_boolean(self) -> bool:
        """It stands alone as a condition."""
        return self.parse is _boolean


def field_of(name: str) -> Field:
    """Errors: QueryError naming the fields that there are."""
    if name.startswith(META) and name != META:
        return Field(lambda batch: _told(batch, name.removeprefix(META)), str, "a text")
    if name not in FIELDS:
        raise QueryError(f"{name[:64]!r} is not a field; there are {META}NAME, {', '.join(FIELDS)}")
    return FIELDS[name]


def comparison(field: str, sign: str, values: tuple[str, ...]) -> Comparison:
    """A comparison that can be made. Errors: QueryError naming what is wrong with the field or a value."""
    kind = field_of(field)
    if sign not in COMPARISONS and sign not in (ONE_OF, LIKE, CONTAINS):
        signs = " ".join((*COMPARISONS, LIKE, ONE_OF, CONTAINS))
        raise QueryError(f"{sign[:64]!r} compares nothing; there are {signs}")
    if sign in (LIKE, CONTAINS) and kind.parse is not str:
        raise QueryError(f"{sign} looks into texts, and {field!r} takes {kind.example}")
    for value in values:
        try:
            kind.parse(value)
        except (ValueError, KeyError):
            raise QueryError(f"{value[:64]!r} is not {kind.example}") from None
    return Comparison(field, sign, values)


def parse_json(tree: object, depth: int = 0) -> Condition:
    """The condition that a JSON tree says. Errors: QueryError."""
    if depth > MAX_DEPTH:
        raise QueryError(f"the filter is nested deeper than {MAX_DEPTH}; join its parts with and, or")
    if not isinstance(tree, dict):
        raise QueryError(f"a part of the filter is {_brief(tree)}; an object with field, op, value or and, or, not")
    match tree:
        case {"not": part} if len(tree) == 1:
            return Not(parse_json(part, depth + 1))
        case {"and": [_, *_] as parts} if len(tree) == 1:
            return Both(tuple(parse_json(part, depth + 1) for part in parts))
        case {"or": [_, *_] as parts} if len(tree) == 1:
            return Either(tuple(parse_json(part, depth + 1) for part in parts))
        case {"field": str(field), "op": str(sign), "value": value} if len(tree) == 3:
            values = value if isinstance(value, list) else [value]
            if (sign == ONE_OF) != isinstance(value, list) or not values:
                raise QueryError(f"{sign[:64]!r} has {_brief(value)}; `in` takes a list, the others one value")
            return comparison(field, sign, tuple(map(_text, values)))
    raise QueryError(
        f"a part of the filter has {', '.join(map(repr, sorted(tree)[:4]))[:64] or 'nothing'}; it takes field, op and "
        "value, or and, or, not alone"
    )


def count_parts(condition: Condition) -> int:
    """How many comparisons and values it holds."""
    match condition:
        case Both(parts) | Either(parts):
            return sum(map(count_parts, parts))
        case Not(part):
            return count_parts(part)
        case Comparison():
            return len(condition.values)
    return 1


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise QueryError(f"a value of the filter is {_brief(value)}; a text, a number, true or false is allowed")


def _brief(value: object) -> str:
    """A few letters of a value; of what holds others, which may be deep, only what it is."""
    return repr(value if isinstance(value, str | int | float | None) else type(value).__name__)[:64]


def _pattern(glob: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(letter) or re.escape(letter) for letter in glob)


def _plain(name: str) -> Column:
    return lambda batch: batch.column(name)


def _since(name: str) -> Column:
    """A column that indexes of earlier versions do not have."""
    return lambda batch: batch.column(name) if name in batch.schema.names else pa.nulls(len(batch), pa.string())


def _told(batch: pa.RecordBatch, name: str) -> pa.Array:
    """What the metadata say under a name."""
    if "metadata" not in batch.schema.names:
        return pa.nulls(len(batch), pa.string())
    return pc.map_lookup(batch.column("metadata"), pa.scalar(name), "first")


def _numbers(texts: pa.Array) -> pa.Array:
    """Texts that are numbers as such, null for others."""
    is_number = pc.match_substring_regex(texts, _NUMBER)
    return pc.cast(pc.if_else(is_number, texts, pa.scalar(None, pa.string())), pa.float64())


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


FIELDS: Mapping[str, Field] = MappingProxyType(
    {name: Field(_plain(name), str, "a text") for name in ("segment_id", "video_id", "uri", "collection", "codec")}
    | {
        f"{name}_s": Field(_seconds(f"{name}_us"), float, "seconds such as 2.5")
        for name in ("start", "end", "duration")
    }
    | {
        "text": Field(_since("text"), str, "a text"),
        "run": Field(_since("run_id"), str, "a text"),
        "run_id": Field(_since("run_id"), str, "a text"),
        "has_audio": Field(_plain("has_audio"), _boolean, "true or false"),
        "recorded_at": Field(_plain("recorded_at"), _moment, "a time such as 2026-01-31T12:00"),
        "date": Field(_date, date.fromisoformat, "a date such as 2026-01-31"),
        "time": Field(_time, time.fromisoformat, "a time of day such as 22:00"),
    }
)
