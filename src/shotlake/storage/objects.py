"""What a listed object is, and a reader over its bytes that caches, looks ahead and counts."""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from shotlake.errors import ShotlakeError, SourceChanged

BLOCK_BYTES = 4 << 20
PROBE_BLOCK_BYTES = 256 << 10
PART_BYTES = 8 << 20  # of one request; more is asked for by requests side by side


class ObjectInfo(NamedTuple):
    """One stored object. `key` is relative to the root that was listed; a folder marker's key ends with '/'."""

    uri: str
    key: str
    size_bytes: int
    etag: str
    modified_at: datetime
    version_id: str | None = None
    storage_class: str = ""  # where the listing tells it


def datetimes(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A timestamp column as datetimes in UTC, None where it is null; `to_pylist` takes twenty times as long."""
    naive = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).tolist()
    return [moment and datetime.combine(moment, moment.time(), UTC) for moment in naive]


def parts(start: int, end: int) -> int:
    """How many requests the bytes [start, end) take if each is answered."""
    return -(-(end - start) // PART_BYTES)


class ObjectReader(io.RawIOBase):
    """A seekable object, read in cached blocks with its first and last block pinned; counts what it reads.

    `fetch(start, end)` gives the bytes [start, end). With `look_ahead` the next block is fetched while this one is
    used, as soon as two neighbours were asked for. `error` keeps the error that a caller in C may have swallowed.
    What passes through from front to back is hashed on the way.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size_bytes: int,
        block_bytes: int = BLOCK_BYTES,
        on_close: Callable[[], None] | None = None,
        look_ahead: bool = False,
    ) -> None:
        self._fetch, self._size, self._block_bytes, self._on_close = fetch, size_bytes, block_bytes, on_close
        self._last = max(0, size_bytes - 1) // block_bytes
        self._pinned: dict[int, bytes] = {}
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._coming: dict[int, Future[bytes]] = {}
        self._ahead = ThreadPoolExecutor(1, "look-ahead") if look_ahead else None
        self._before = -1
        self._left_out: list[tuple[int, int]] = []
        self._digest, self._digested = hashlib.sha256(), 0  # of so many blocks from the front
        self._position = 0
        self.bytes_read = 0
        self.requests = 0
        self.error: ShotlakeError | None = None

    @property
    def content_sha256(self) -> str | None:
        """Hex sha256 of the object; None where a part of it was left out, or was read before what precedes it."""
        return self._digest.hexdigest() if self._digested > self._last else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Let go of what it reads from; happens by itself with the last reference."""
        if not self.closed:
            if self._ahead:
                self._ahead.shutdown(wait=True, cancel_futures=True)
            if self._on_close:
                self._on_close()
        super().close()

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer at a block's end, none at the object's."""
        left = self._size - self._position
        if left <= 0 or size == 0:
            return b""
        index, offset = divmod(self._position, self._block_bytes)
        wanted = left if size < 0 else min(size, left)
        data = self._block(index)[offset : offset + wanted]
        self._position += len(data)
        if size < 0 and len(data) < wanted:
            data += b"".join(iter(lambda: self.read(self._block_bytes), b""))
        return data

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes [start, end), past the cache. Errors: SourceChanged if there are fewer; what `fetch` raises."""
        data = self._fetch(start, end)
        self.requests += parts(start, start + len(data))
        self.bytes_read += len(data)
        if len(data) != end - start:
            raise SourceChanged(f"bytes {start}-{end} gave {len(data)}; the object is not the one that was listed")
        return data

    def leave_out(self, ranges: list[tuple[int, int]]) -> None:
        """From now on the bytes of these ranges, which are in order and apart, are zeros and not read."""
        self._left_out = ranges
        self._digested = -1

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _block(self, index: int) -> bytes:
        block = self._pinned.get(index) or self._recent.get(index)
        if block is None:
            coming = self._coming.pop(index, None)
            try:
                block = coming.result() if coming else self._read_block(index)
            except ShotlakeError as error:
                self.error = error
                raise
            self._keep(index, block)
            self._hash_on()
        if self._ahead and index == self._before + 1:
            self._look_ahead(index + 1)
        self._before = index
        return block

    def _read_block(self, index: int) -> bytes:
        start = index * self._block_bytes
        end = min(start + self._block_bytes, self._size)
        return b"".join(self._parts(start, end)) if self._left_out else self.read_range(start, end)

    def _parts(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end), with zeros for what is left out."""
        for low, high in self._left_out[bisect_right(self._left_out, start, key=itemgetter(1)) :]:
            if low >= end:
                break
            if start < low:
                yield self.read_range(start, low)
            yield bytes(min(high, end) - max(low, start))
            start = min(high, end)
        if start < end:
            yield self.read_range(start, end)

    def _look_ahead(self, index: int) -> None:
        known = index > self._last or index in self._pinned or index in self._recent or index in self._coming
        if self._ahead and not known:
            self._coming[index] = self._ahead.submit(self._read_block, index)

    def _hash_on(self) -> None:
        while block := self._pinned.get(self._digested) or self._recent.get(self._digested):
            self._digest.update(block)
            self._digested += 1

    def _keep(self, index: int, block: bytes) -> None:
        if index in (0, self._last):
            self._pinned[index] = block
            return
        self._recent[index] = block
        if len(self._recent) > 2:
            self._recent.popitem(last=False)
