"""What a table says of videos, by uri: their collection, when they were recorded, and any other column as text.

Collection and time become part of the segments; the rest stays with the row of `videos` as a map from column to text,
and meets the segments when they are indexed, so that a title can be corrected without embedding anything again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake.catalog.recorded import zone
from shotlake.catalog.tables import uris_of
from shotlake.errors import BadTable
from shotlake.storage import ObjectInfo

log = logging.getLogger(__name__)

PAIRS = pa.map_(pa.string(), pa.string())
TOLD = pa.schema(
    [
        ("uri", pa.string()),
        ("collection", pa.string()),
        ("recorded_at", pa.timestamp("us", "UTC")),
        ("recorded_zone", pa.string()),
        ("metadata", PAIRS),
    ]
)
_APART = {*TOLD.names, *ObjectInfo._fields}  # what has a place of its own


class Metadata:
    """A table of metadata, held in memory: some 150 bytes a video that has four short columns."""

    def __init__(self, told: pa.Table) -> None:
        """`told`: the columns of TOLD, each uri once."""
        self._told = {
            name: pa.concat_arrays([pa.array([], told[name].type), *told[name].chunks]) for name in TOLD.names
        }

    @classmethod
    def read(cls, batches: Iterable[pa.RecordBatch], name: str, time_zone: str) -> Metadata:
        """Read a table called `name`; its times without a zone are those of `time_zone`.

        Errors: BadTable without a column `uri`, with a uri twice, or with a time that is none; ConfigError.
        """
        told = pa.Table.from_batches([_told(batch, name, time_zone) for batch in batches if len(batch)], TOLD)
        counts = pc.value_counts(told["uri"].combine_chunks())
        doubled = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(doubled):
            uri = doubled[0].as_py()["values"]
            raise BadTable(f"{name!r} names {uri!r} more than once; one row a video is allowed")
        return cls(told)

    def fill(self, listed: pa.Table) -> pa.Table:
        """The listed videos (`catalog.changes.LISTED`) with what the table says of them; it goes before their names."""
        at = pc.index_in(listed["uri"], self._told["uri"]).combine_chunks()
        told = {name: column.take(at) for name, column in self._told.items() if name != "uri"}
        dated = told["recorded_at"].is_valid()
        columns = {
            "collection": pc.coalesce(told["collection"], listed["collection"]),
            "recorded_at": pc.coalesce(told["recorded_at"], listed["recorded_at"]),
            "recorded_from": pc.if_else(dated, "table", listed["recorded_from"]),
            "recorded_zone": pc.if_else(dated, told["recorded_zone"], listed["recorded_zone"]),
            "metadata": pc.fill_null(told["metadata"], pa.scalar([], PAIRS)),
        }
        for name, column in columns.items():
            listed = listed.set_column(listed.schema.get_field_index(name), listed.schema.field(name), column)
        return listed


def retold(listed: pa.Table, known: pa.Table) -> pa.Table:
    """The rows of `known` whose video is listed with other metadata than it had, with what it has now."""
    if not len(listed):
        return known.slice(0, 0)
    at = pc.index_in(known["video_id"], listed["video_id"].combine_chunks())
    same = known.filter(at.is_valid())
    now = listed["metadata"].combine_chunks().take(at.drop_null().combine_chunks())
    before = pc.fill_null(same["metadata"].combine_chunks(), pa.scalar([], PAIRS))
    if now.equals(before):
        return same.slice(0, 0)
    differs = pa.array([sorted(new or ()) != sorted(old) for new, old in zip(now.to_pylist(), before.to_pylist())])
    told = same.set_column(same.schema.get_field_index("metadata"), same.schema.field("metadata"), now)
    return told.filter(differs)


def _told(batch: pa.RecordBatch, name: str, time_zone: str) -> pa.RecordBatch:
    n_rows = len(batch)
    uris = pa.array(uris_of(batch, name), pa.string())
    names = [column for column in batch.schema.names if column not in _APART]
    texts = {column: text for column in names if (text := _text(batch.column(column))) is not None}
    for column in set(names) - set(texts):
        log.warning("table=%s column=%s: neither text nor number nor time, left out", name, column)
    given = batch.column("collection") if "collection" in batch.schema.names else pa.nulls(n_rows)
    recorded = batch.column("recorded_at") if "recorded_at" in batch.schema.names else pa.nulls(n_rows)
    columns = [uris, given.cast(pa.string()), *_times(recorded, name, time_zone), _pairs(texts, n_rows)]
    return pa.record_batch(columns, schema=TOLD)


def _text(column: pa.Array) -> pa.Array | None:
    """A column as text; None where it holds lists, structures or bytes."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return None
    return column.cast(kind).cast(pa.string())


def _pairs(texts: dict[str, pa.Array], n_rows: int) -> pa.Array:
    """[N] maps from column to text, without those that a row leaves empty."""
    if not texts:
        return pa.array([[]] * n_rows, PAIRS)
    values = pa.concat_arrays(list(texts.values()))  # column behind column
    given = np.asarray(pc.is_valid(values)).reshape(len(texts), n_rows).T  # row by row
    rows, columns = np.nonzero(given)
    offsets = np.concatenate([[0], given.sum(axis=1).cumsum()]).astype(np.int32)
    keys = pa.array(list(texts)).take(pa.array(columns))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, values.take(pa.array(columns * n_rows + rows)))


def _times(column: pa.Array, name: str, time_zone: str) -> tuple[pa.Array, pa.Array]:
    """Times in UTC and the zone in which each was told."""
    if pa.types.is_timestamp(column.type) and column.type.tz:
        return column.cast(TOLD.field("recorded_at").type), pa.array([column.type.tz] * len(column))
    found = [_time(value, name, time_zone) for value in column.to_pylist()]
    moments, zones = zip(*found) if found else ((), ())
    return pa.array(moments, TOLD.field("recorded_at").type), pa.array(zones, pa.string())


def _time(value: Any, name: str, time_zone: str) -> tuple[datetime | None, str | None]:
    if value is None or value == "":
        return None, None
    try:
        told = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise BadTable(
            f"{name!r} has the recorded_at {value!r}; write it as 2026-01-31T12:00:00, with or without an offset"
        ) from None
    if told.tzinfo is None:
        return told.replace(tzinfo=zone(time_zone)).astimezone(UTC), time_zone
    return told.astimezone(UTC), str(told.tzinfo)
