"""A listing in the order of its URIs, whatever order it came in, each URI once, in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path

import pyarrow as pa

from shotlake.storage import ObjectInfo

PORTION = 200_000  # objects that are sorted in memory; more are sorted portion by portion on disk, then merged
_BATCH = 2_000

_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("key", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("modified_at", pa.timestamp("us", "UTC")),
        ("version_id", pa.string()),
        ("storage_class", pa.string()),
    ]
)


def in_order(found: Iterable[ObjectInfo], portion: int = PORTION) -> Iterator[ObjectInfo]:
    """The objects by URI, as bytes compare; of objects with the same URI the first that came."""
    rest = iter(found)
    with tempfile.TemporaryDirectory(prefix="shotlake-listing-") as folder:
        runs: list[Iterator[ObjectInfo]] = []
        while part := sorted(islice(rest, portion), key=attrgetter("uri")):
            if len(part) < portion:  # the last one need not go to disk
                runs.append(iter(part))
                break
            runs.append(_read(_write(part, Path(folder) / f"{len(runs)}.arrow")))
        last = None
        for item in heapq.merge(*runs, key=attrgetter("uri")):
            if item.uri != last:
                yield item
            last = item.uri


def _write(items: list[ObjectInfo], path: Path) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
        for start in range(0, len(items), _BATCH):
            part = items[start : start + _BATCH]
            writer.write(
                pa.record_batch([pa.array([getattr(i, f.name) for i in part], f.type) for f in _SCHEMA], schema=_SCHEMA)
            )
    return path


def _read(path: Path) -> Iterator[ObjectInfo]:
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield from (ObjectInfo(**row) for row in reader.get_batch(number).to_pylist())
