"""What a hit says and a filter asks, beside the vectors: an uncompressed Arrow file a shard, memory-mapped.

All batches but the last have BATCH_ROWS rows, so that a row is found by division and only its page is touched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.errors import IndexingError
from shotlake.index.manifest import Shard

BATCH_ROWS = 65_536
MANY_VIDEOS = 10_000  # of so many all rows are looked at, which is quicker than each by itself

COLUMNS = pa.schema(
    [
        ("segment_id", pa.string()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("start_us", pa.int64()),
        ("end_us", pa.int64()),
        ("recorded_at", pa.timestamp("us", "UTC")),
        ("collection", pa.string()),
        ("codec", pa.string()),
        ("has_audio", pa.bool_()),
        ("duration_us", pa.int64()),
        ("text", pa.string()),  # of the subtitles
        ("metadata", pa.map_(pa.string(), pa.string())),  # of the video
        ("run_id", pa.string()),  # that embedded the segment
    ]
)
LATER = ("text", "metadata", "run_id")  # null where the rows do not have them; shards of earlier versions lack them
RowPredicate = Callable[[pa.RecordBatch], pa.BooleanArray]

IDS_ONLY = pa.schema([COLUMNS.field("segment_id")])  # of all spaces but the first: enough to name their rows


class RowCondition(Protocol):
    """What rows have to fulfil; a plain value, which can be sent to another process."""

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Which rows of a batch pass."""

    def may_hold(self, shard: Shard) -> bool:
        """False if no row of the shard can pass, by what the manifest says of it."""


def select_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns of COLUMNS with their types; rows of the segments table have two codecs, the picture's goes first.

    Errors: IndexingError naming what is missing.
    """
    if "codec" not in batch.schema.names and {"video_codec", "audio_codec"} <= set(batch.schema.names):
        codec = pc.coalesce(batch.column("video_codec"), batch.column("audio_codec"))
        batch = batch.append_column("codec", codec)
    for name in set(LATER) - set(batch.schema.names):
        batch = batch.append_column(name, pa.nulls(len(batch), COLUMNS.field(name).type))
    missing = set(COLUMNS.names) - set(batch.schema.names)
    if missing:
        raise IndexingError(f"the rows lack the columns {sorted(missing)}; an index needs {COLUMNS.names}")
    return pa.record_batch([batch.column(field.name).cast(field.type) for field in COLUMNS], schema=COLUMNS)


class ColumnWriter:
    """Writes rows of `schema` to `path` in batches of BATCH_ROWS."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pa.ipc.new_file(str(path), schema)
        self._pending: list[pa.RecordBatch] = []
        self._n_pending = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a batch, which may have more columns."""
        self._pending.append(batch.select(self._schema.names))
        self._n_pending += len(batch)
        while self._n_pending >= BATCH_ROWS:
            self._write(BATCH_ROWS)

    def close(self) -> None:
        """Write what is left and the footer."""
        if self._n_pending:
            self._write(self._n_pending)
        self._writer.close()

    def _write(self, n_rows: int) -> None:
        table = pa.Table.from_batches(self._pending, self._schema).combine_chunks()
        self._writer.write_batch(table.slice(0, n_rows).to_batches()[0])
        self._pending = table.slice(n_rows).to_batches()
        self._n_pending -= n_rows


class VideoRuns:
    """Where the rows of a video stand: neighbours are of one video, so a shard has a few runs of each.

    Twelve bytes a run, made when it is first asked for.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        starts, hashes, n_rows, last = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0, None
        for batch in batches:
            ids = batch.column("video_id")
            is_first = np.ones(len(ids), np.bool_)
            is_first[1:] = np.asarray(pc.not_equal(ids[1:], ids[:-1]))
            is_first[0] = ids[0].as_py() != last
            heads = np.flatnonzero(is_first)
            starts.append(n_rows + heads)
            hashes.append(_hashes(ids.take(pa.array(heads))))
            n_rows, last = n_rows + len(ids), ids[-1].as_py()
        self._starts = np.append(np.concatenate(starts), n_rows).astype(np.int32)
        unsorted = np.concatenate(hashes)
        self._order = np.argsort(unsorted, kind="stable").astype(np.int32)
        self._hashes = unsorted[self._order]

    def of(self, video_ids: pa.Array) -> NDArray[np.int64]:
        """The runs [R, 2] of some videos, from their first rows to behind their last ones, ascending; and of others
        that have the hash of one.
        """
        wanted = np.unique(_hashes(video_ids))
        edges = np.searchsorted(self._hashes, wanted), np.searchsorted(self._hashes, wanted, side="right")
        runs = [self._order[first:last] for first, last in zip(*edges)]
        found = np.sort(np.concatenate([*runs, _NO_RUN]))
        return np.stack([self._starts[found], self._starts[found + 1]], axis=1).astype(np.int64)


_NO_RUN = np.empty(0, np.int32)


def _hashes(ids: pa.Array) -> NDArray[np.int64]:
    """64 bits of each id, the same within this process."""
    return np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))


class ShardColumns:
    """The columns of one shard, mapped from `path`."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches: dict[int, pa.RecordBatch] = {}

    def take(self, offsets: NDArray[np.int64], names: list[str]) -> pa.Table:
        """Rows at `offsets` [K] in the shard, in that order."""
        numbers, inside = np.divmod(offsets, BATCH_ROWS)
        order = np.argsort(numbers, kind="stable")
        parts = []
        for number in np.unique(numbers):
            chosen = inside[order][numbers[order] == number]
            parts.append(self._batch(int(number)).select(names).take(pa.array(chosen)))
        schema = pa.schema([self._reader.schema.field(name) for name in names])
        table = pa.Table.from_batches(parts, schema).combine_chunks()
        return table.take(pa.array(np.argsort(order)))

    def find(self, name: str, values: Iterable[str] | pa.Array) -> NDArray[np.int64]:
        """Offsets of the rows whose column `name` is one of `values`, ascending."""
        wanted = values if isinstance(values, pa.Array) else pa.array(list(values), COLUMNS.field(name).type)
        if not len(wanted):
            return np.empty(0, dtype=np.int64)
        if name == "video_id" and len(wanted) <= MANY_VIDEOS:
            runs = self._runs.of(wanted)
            meant = np.asarray(pc.is_in(self.take(runs[:, 0], [name])[name], value_set=wanted))
            found = [np.arange(first, end) for first, end in runs[meant].tolist()]
            return np.concatenate([np.empty(0, np.int64), *found])
        return self.where(lambda batch: pc.is_in(batch.column(name), value_set=wanted))[0]

    @cached_property
    def _runs(self) -> VideoRuns:
        return VideoRuns(self.batches())

    def where(self, predicate: RowPredicate, deadline: float = math.inf) -> tuple[NDArray[np.int64], int]:
        """Offsets of the rows for which `predicate(batch)` gives true, ascending, and how many rows were not looked at
        because the `deadline` of `time.monotonic` was over.
        """
        found, n_unseen = [np.empty(0, np.int64)], 0
        for number, batch in enumerate(self.batches()):
            if time.monotonic() > deadline:
                n_unseen += len(batch)
                continue
            found.append(np.flatnonzero(np.asarray(pc.fill_null(predicate(batch), False))) + number * BATCH_ROWS)
        return np.concatenate(found), n_unseen

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order."""
        for number in range(self._reader.num_record_batches):
            yield self._batch(number)

    def _batch(self, number: int) -> pa.RecordBatch:
        if number not in self._batches:
            self._batches[number] = self._reader.get_batch(number)
        return self._batches[number]


class RowColumns:
    """The columns of all shards of a generation, by its row numbers."""

    def __init__(self, shards: Sequence[ShardColumns], first_rows: Sequence[int]) -> None:
        self._shards, self._first_rows = tuple(shards), np.asarray(first_rows, np.int64)

    def followed_by(self, later: RowColumns) -> RowColumns:
        """With the shards that have later rows."""
        return RowColumns((*self._shards, *later._shards), [*self._first_rows, *later._first_rows])

    def take(self, rows: NDArray[np.int64], names: list[str]) -> pa.Table:
        """Columns of the `rows` [K], in their order."""
        owners = np.searchsorted(self._first_rows, rows, side="right") - 1
        order = np.argsort(owners, kind="stable")
        tables = [
            self._shards[owner].take(rows[owners == owner] - self._first_rows[owner], names)
            for owner in np.unique(owners)
        ]
        if not tables:
            return self._shards[0].take(rows, names)
        return pa.concat_tables(tables).combine_chunks().take(pa.array(np.argsort(order)))

    def find(self, name: str, values: Iterable[str] | pa.Array) -> NDArray[np.int64]:
        """Ascending numbers of the rows whose column `name` is one of `values`."""
        wanted = values if isinstance(values, pa.Array) else list(values)
        found = [columns.find(name, wanted) + first for columns, first in zip(self._shards, self._first_rows)]
        return np.concatenate([np.empty(0, np.int64), *found])

    def collections(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """The collection [K] of each row [K]; None of row -1, "" where a row has none."""
        found = np.full(len(rows), None, dtype=np.object_)
        there = np.flatnonzero(rows >= 0)
        found[there] = [name or "" for name in self.take(rows[there], ["collection"])["collection"].to_pylist()]
        return found
