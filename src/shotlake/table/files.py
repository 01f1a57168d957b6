"""Data files of `segments`: workers write them, the committer proves them; Delta is not needed here.

A file holds rows of one (embed_key, collection). Its name is never used again and never overwritten, so a task that
runs twice makes two files, of which the committer admits one.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shotlake import storage
from shotlake.errors import InvalidFile, NotFound
from shotlake.records import SPACES
from shotlake.table.schemas import SEGMENTS, file_schema, key_columns

SEGMENTS_PATH = ("tables", "segments")
FILE_SCHEMA = file_schema("segments")

ROWS_A_GROUP = 8192  # small enough for the allocator to use its memory again: half the time of large row groups
_PLAIN = {*SPACES, "segment_id", "cell", "start_us", "end_us"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of a table: its path as it lies in the store, its size, and the columns that its rows share."""

    path: str
    size_bytes: int
    partition: dict[str, str]
    stats: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileReport:
    """A finished data file: where it lies under the `segments` table, its size, and the rows of each unit in it.

    `stats` are the log's: numRecords, minValues, maxValues, nullCount of the key columns.
    """

    path: str
    size_bytes: int
    n_rows: int
    embed_key: str
    collection: str
    unit_rows: dict[str, int]
    stats: dict[str, Any]

    @property
    def file(self) -> DataFile:
        """What the log says of it."""
        partition = {"embed_key": self.embed_key, "collection": self.collection}
        return DataFile(self.path, self.size_bytes, partition, self.stats)

    def to_json(self) -> str:
        """One line of JSON, as it travels from a worker to the committer."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FileReport:
        """The report that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class UnitSpan:
    """The rows of one unit in one file: `n_rows` different cells within [first_cell, last_cell]."""

    unit_id: str
    first_cell: int
    last_cell: int
    n_rows: int


def write_segments(lake_root: str, run_id: str, rows: pa.Table) -> list[FileReport]:
    """Write one data file for each (embed_key, collection) in `rows`, which have the columns of SEGMENTS.

    Errors: InvalidFile (wrong columns), AccessDenied, StoreError.
    """
    if not rows.schema.equals(SEGMENTS):
        raise InvalidFile(f"rows have the columns {rows.schema.names}; SEGMENTS has {SEGMENTS.names}")
    groups = rows.group_by(["embed_key", "collection"], use_threads=False).aggregate([]).to_pylist()
    if len(groups) == 1:
        return [_write(lake_root, run_id, rows, **groups[0])]
    reports = []
    for group in groups:
        mine = pc.and_(*(pc.equal(rows[name], value) for name, value in group.items()))
        reports.append(_write(lake_root, run_id, rows.filter(mine), **group))
    return reports


def data_uri(lake_root: str, path: str) -> str:
    """Where a data file lies, by its path in the log."""
    return storage.join(lake_root, *SEGMENTS_PATH, path)


def is_there(lake_root: str, report: FileReport) -> bool:
    """True if the file is in the store, of its size: asked right before it is committed."""
    try:
        return storage.stat(data_uri(lake_root, report.path)).size_bytes == report.size_bytes
    except NotFound:
        return False


def check_file(lake_root: str, report: FileReport) -> list[UnitSpan]:
    """Prove that the file is what its report says and give the spans of its units.

    Reads the size, the footer, and the unit and cell columns. Errors: InvalidFile.
    """
    uri = data_uri(lake_root, report.path)
    try:
        info = storage.stat(uri)
    except NotFound:
        raise InvalidFile(f"the data file {uri!r} is not there") from None
    if info.size_bytes != report.size_bytes:
        raise InvalidFile(f"{uri!r} has {info.size_bytes} bytes, not the {report.size_bytes} of its report")
    with open_parquet(uri, info) as file:
        if not file.schema_arrow.equals(FILE_SCHEMA):
            raise InvalidFile(f"{uri!r} has the columns {file.schema_arrow.names}; the table has {FILE_SCHEMA.names}")
        if file.metadata.num_rows != report.n_rows:
            raise InvalidFile(f"{uri!r} has {file.metadata.num_rows} rows, not the {report.n_rows} of its report")
        rows = file.read(["unit_id", "cell"])
    spans = _spans(rows)
    if {span.unit_id: span.n_rows for span in spans} != report.unit_rows:
        raise InvalidFile(f"{uri!r} does not hold the rows of each unit that its report says")
    doubled = [span.unit_id for span in spans if span.last_cell - span.first_cell + 1 < span.n_rows]
    if doubled or rows.group_by(["unit_id", "cell"]).aggregate([]).num_rows < rows.num_rows:
        raise InvalidFile(f"{uri!r} holds a cell of a unit twice")
    return spans


def copy_units(lake_root: str, run_id: str, report: FileReport, unit_ids: Sequence[str]) -> FileReport:
    """Write the rows of some units of a file to a new file, whose report is given."""
    uri = data_uri(lake_root, report.path)
    with open_parquet(uri, storage.stat(uri)) as file:
        rows = file.read()
    rows = rows.filter(pc.is_in(rows["unit_id"], pa.array(unit_ids, pa.string())))
    for name in ("embed_key", "collection"):
        rows = rows.append_column(name, pa.array([getattr(report, name)] * len(rows), pa.string()))
    return _write(lake_root, run_id, rows.select(SEGMENTS.names), report.embed_key, report.collection)


def _write(lake_root: str, run_id: str, rows: pa.Table, embed_key: str, collection: str) -> FileReport:
    part = rows.select(FILE_SCHEMA.names)
    partition = {"embed_key": embed_key, "collection": collection}
    file = write_file(storage.join(lake_root, *SEGMENTS_PATH), "segments", part, partition, run_id)
    counts = {span.unit_id: span.n_rows for span in _spans(part)}
    return FileReport(file.path, file.size_bytes, len(part), embed_key, collection, counts, file.stats)


def write_file(table_uri: str, table: str, rows: pa.Table, partition: dict[str, str], writer: str) -> DataFile:
    """A new file with the rows of one partition of a table; its name begins with who will commit it."""
    # The log knows the partition; Polars and others believe the folders' names instead.
    folders = [f"{name}={quote(value, safe='')}" for name, value in partition.items()]
    path = "/".join([*folders, f"{writer}-{uuid.uuid4().hex}.parquet"])
    part = rows.select([name for name in rows.column_names if name not in partition])
    data = encode(part)
    storage.create(storage.join(table_uri, path), data)
    return DataFile(path, len(data), partition, log_stats(table, part))


def encode(rows: pa.Table) -> bytes:
    """Rows with the columns of `file_schema` as a Parquet file; vectors are rounded to what float16 can hold."""
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(out, rows.schema, **_options(rows.schema)) as writer:
        for start in range(0, len(rows), ROWS_A_GROUP):
            writer.write_table(_rounded(rows.slice(start, ROWS_A_GROUP).combine_chunks()))
    return out.getvalue().to_pybytes()


def log_stats(table: str, rows: pa.Table) -> dict[str, Any]:
    """What the log says of a file: numRecords, minValues, maxValues and nullCount of the key columns."""
    lows, highs, nulls = {}, {}, {}
    for name in key_columns(table):
        if name not in rows.column_names:
            continue
        ends = pc.min_max(rows[name]).as_py()
        nulls[name] = rows[name].null_count
        if ends["min"] is not None:
            lows[name], highs[name] = _log_value(ends["min"]), _log_value(ends["max"])
    return {"numRecords": len(rows), "minValues": lows, "maxValues": highs, "nullCount": nulls}


def _options(schema: pa.Schema) -> dict[str, Any]:
    """zstd-1 over byte planes: float16 values in float32 leave two of four planes empty (README)."""
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [name for name in schema.names if name not in _PLAIN],
        "column_encoding": {f"{space}.list.element": "BYTE_STREAM_SPLIT" for space in SPACES if space in schema.names},
    }


def _rounded(rows: pa.Table) -> pa.Table:
    """The same rows with vectors that float16 can hold."""
    for space in (name for name in SPACES if name in rows.column_names):
        lists = rows[space].combine_chunks()
        values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float16).astype(np.float32)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
        column = pa.ListArray.from_arrays(offsets, pa.array(values), mask=lists.is_null())
        rows = rows.set_column(rows.schema.get_field_index(space), rows.schema.field(space), column)
    return rows


def _spans(rows: pa.Table) -> list[UnitSpan]:
    found = rows.group_by("unit_id", use_threads=False).aggregate([("cell", "min"), ("cell", "max"), ("cell", "count")])
    columns = ("unit_id", "cell_min", "cell_max", "cell_count")
    return [UnitSpan(*values) for values in zip(*(found[name].to_pylist() for name in columns))]


def _log_value(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value


def open_parquet(uri: str, info: storage.ObjectInfo) -> pq.ParquetFile:
    """A file of which only what is asked for is read. Errors: InvalidFile."""
    reader = storage.open_object(uri, info.etag, info.size_bytes)
    try:
        return pq.ParquetFile(pa.PythonFile(io.BufferedReader(reader), mode="r"))
    except pa.ArrowInvalid as error:
        raise InvalidFile(f"{uri!r} is not a Parquet file: {error}") from None
