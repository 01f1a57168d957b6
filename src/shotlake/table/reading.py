"""Where Arrow's threads read data files through Python, and how a process waits for them before it ends.

Arrow reads ahead in threads of its own, and delta-rs gives it files that are Python objects: each read, and each file
that a thread lets go of, needs the interpreter. A thread that asks for an interpreter that is ending is unwound through
Arrow and Rust, which ends the process by a signal or never. A scan need not be half-read for that: one that was read
to its end lets go of its files a moment later, and an error, an interrupt or `Scanner.head` leaves reads in flight. So
every file is known here, and before the interpreter ends all reads are refused and waited for.
"""

from __future__ import annotations

import atexit
import gc
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from shotlake import storage

LOOK_EVERY_S = 0.005
QUIET_LOOKS = 3  # a thread that has just answered is still on its way out of the interpreter
HELD_S = 0.5  # what nobody reads or lets go of for so long is held by somebody, and at rest
STUCK_S = 30.0  # a read that a store does not answer

_known: list[weakref.ref[Any]] = []  # files and file systems; no callback, it would run in Arrow's threads
_calls: list[None] = []  # an entry for each call that is in the interpreter; append and pop are atomic
_moves = [0]  # rises with each call, however roughly
_has_ended = False


def dataset_of(table: DeltaTable) -> pa.dataset.Dataset:
    """A table as a pyarrow dataset whose readers are waited for when the process ends."""
    # `_table`: what `to_pyarrow_dataset` does by itself; by public means each file would cost a request for its size
    options = storage.delta_options(table.table_uri)
    files = _Files.from_table(table._table, options, table._table.get_add_file_sizes())
    return table.to_pyarrow_dataset(filesystem=PyFileSystem(_know(files)))


class _Files(DeltaStorageHandler):
    """delta-rs' files, each of them known."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        """For Arrow's threads. Errors: OSError once the process ends."""
        return pa.PythonFile(_know(_File(_called(lambda: self._handler.open_input_file(path)))), mode="r")


class _File:
    """A file as Arrow asks for it; what is read is copied to memory that needs no interpreter to be let go of."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read_buffer(self, n_bytes: int) -> pa.Buffer:
        """The next bytes. Errors: OSError."""
        data = _called(lambda: self._file.read(n_bytes))
        copied = pa.allocate_buffer(len(data))
        np.frombuffer(copied, np.uint8)[:] = np.frombuffer(data, np.uint8)
        return copied

    def read(self, n_bytes: int | None = None) -> bytes:
        """The same as bytes."""
        return bytes(_called(lambda: self._file.read(n_bytes)))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a byte."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The byte that comes next."""
        return int(self._file.tell())

    def size(self) -> int:
        """Bytes of the file."""
        return int(self._file.size())

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _know(thing: Any) -> Any:
    if len(_known) >= 1024 and not len(_known) & (len(_known) - 1):  # now and then
        _known[:] = [ref for ref in _known if ref() is not None]
    _known.append(weakref.ref(thing))
    return thing


def _called(work: Callable[[], Any]) -> Any:
    _moves[0] += 1
    _calls.append(None)
    try:
        if _has_ended:
            raise OSError("the process ends")
        return work()
    finally:
        _calls.pop()


@atexit.register
def _wait_for_readers() -> None:
    """Refuse reads, and wait until no thread of Arrow needs the interpreter any more."""
    global _has_ended
    _has_ended = True
    gc.collect()  # a scan in a cycle, such as an error's traceback
    began = changed = time.monotonic()
    quiet, seen = 0, (-1, -1)
    while quiet < QUIET_LOOKS and time.monotonic() - began < STUCK_S:
        time.sleep(LOOK_EVERY_S)
        now = (sum(ref() is not None for ref in _known), _moves[0])
        if now != seen:
            seen, changed = now, time.monotonic()
        at_rest = now[0] == 0 or time.monotonic() - changed > HELD_S
        quiet = quiet + 1 if at_rest and not _calls else 0
