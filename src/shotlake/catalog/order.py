"""A listing in the order of its URIs, whatever order it came in, each URI once, in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path

import pyarrow as pa

from shotlake.storage import OBJECTS, ObjectInfo, objects_of, pages_of

PORTION = 200_000  # objects that are sorted in memory; more are sorted portion by portion on disk, then merged


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
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, OBJECTS) as writer:
        for page in pages_of(items):
            writer.write(page)
    return path


def _read(path: Path) -> Iterator[ObjectInfo]:
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield from objects_of(reader.get_batch(number))
