"""The body of a request while it is read and answered: a small one in memory, a larger one in a file of the local disk,
so that uploads that come slowly or wait take room there.
"""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

from starlette.types import Message, Receive

IN_MEMORY_BYTES = 256 << 10
_CHUNK_BYTES = 1 << 20


class HeldBody:
    """Bytes as they come; the file has no name and goes with the request."""

    def __init__(self) -> None:
        self.size = 0
        file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, prefix="shotlake-body-")  # noqa: SIM115 - until `close`
        self._file = cast(BinaryIO, file)

    def add(self, chunk: bytes) -> None:
        """Append some."""
        self._file.write(chunk)
        self.size += len(chunk)

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def replay(self, receive: Receive) -> Receive:
        """A `receive` that gives the body that was read, then what comes after it (the disconnect)."""
        self._file.seek(0)
        left: int | None = self.size

        async def replay() -> Message:
            nonlocal left
            if left is None:
                return await receive()
            chunk = self._file.read(_CHUNK_BYTES)
            left -= len(chunk)
            message = {"type": "http.request", "body": chunk, "more_body": left > 0}
            left = left or None
            return message

        return replay
