"""One tree listed by several streams: ranges of its keys side by side, coming out in order, in bounded memory.

A cut is a key at which one stream ends and the next one begins; any text will do, so a cut that is out of date costs
evenness and never an object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import pyarrow as pa

from shotlake import storage

STREAMS = 8
AHEAD = 10  # pages of 1,000 objects that a stream lists before somebody takes them
ALONE = 2  # a tree of so many pages is not worth a second stream
ENOUGH = 4 * STREAMS  # folders, so that the streams end at about the same time

Stream = tuple[Iterator[pa.RecordBatch], Future[list[pa.RecordBatch]]]


def list_tree(root: str, cuts: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """Every object under a root, as pages in key order; `cuts` are ascending keys, else folders are looked for.

    Errors: as `storage.list_objects`.
    """
    rest = storage.list_pages(root)
    first = list(islice(rest, ALONE))
    yield from first
    if len(first) < ALONE:
        return
    if not storage.is_remote(root):  # a disk gives what it has to one reader as fast as to many
        yield from rest
        return
    last = storage.last_key(first[-1])
    yield from _side_by_side(root, [last, *(cut for cut in cuts or folder_cuts(root) if cut > last)])


def folder_cuts(root: str) -> list[str]:
    """Cuts before the contents of folders, of as many levels as it takes to find ENOUGH of them."""
    found = level = storage.folders(root)
    while level and len(found) < ENOUGH:
        level = [below for folder in level for below in storage.folders(root, folder)]
        found = found + level
    return sorted(folder + " " for folder in found)  # behind the folder's marker, before what lies in it


def _side_by_side(root: str, cuts: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The pages behind the first cut; every stream is AHEAD of its turn by one request of a pool."""
    ranges = deque(zip(cuts, [*cuts[1:], None]))
    with ThreadPoolExecutor(min(STREAMS, len(ranges)), "list") as pool:

        def ask(pages: Iterator[pa.RecordBatch]) -> Stream:
            return pages, pool.submit(lambda: list(islice(pages, AHEAD)))

        def begin() -> Stream:
            return ask(storage.list_pages(root, *ranges.popleft()))

        streams = deque(begin() for _ in range(min(STREAMS, len(ranges))))
        while streams:
            pages, coming = streams.popleft()
            part = coming.result()
            if len(part) == AHEAD:
                streams.appendleft(ask(pages))
            elif ranges:
                streams.append(begin())
            yield from part
