"""Snapshots that stay open: one that was read before is brought up to date by a listing, not opened with twenty reads.

A thread keeps one for each table. It serves only as long as it is of the same log: the entry of its version has to be
the very object that it was, or the table was deleted and made anew; so has the hint of the last checkpoint, or the
entries that a snapshot reads late (application transactions) may have been cleaned up. Else the table is opened anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from shotlake import storage
from shotlake.errors import NotFound, StoreError
from shotlake.table.delta import delta_errors

log = logging.getLogger(__name__)

T = TypeVar("T")
CHECKPOINT = "_last_checkpoint"
LOOKS = 3


@dataclass(slots=True)
class _Kept:
    """A snapshot, and the etags of the entry of its version and of the hint of the checkpoint; "" if there is none."""

    snapshot: DeltaTable
    version: int
    entry: str
    checkpoint: str


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.kept: dict[str, _Kept] = {}


_of_thread = _OfThread()


def opened(uri: str, version: int | None = None) -> DeltaTable:
    """The table at `uri`, opened for the caller alone. Errors: NotFound if there is none, StoreError, AccessDenied."""
    options = storage.delta_options(uri)
    for _ in range(LOOKS - 1):
        with suppress(NotFound), delta_errors(uri):  # what was listed may go before it is read, such as a checkpoint
            return DeltaTable(uri, version=version, storage_options=options)
    with delta_errors(uri):
        return DeltaTable(uri, version=version, storage_options=options)


def look(uri: str, work: Callable[[DeltaTable], T], is_repeatable: bool = True) -> T:
    """What `work` finds in the newest snapshot of the table at `uri`, or commits behind it.

    Nobody else of this thread gets that snapshot meanwhile. Where what it reads late is gone, as behind a clean-up or
    an erasure, work that `is_repeatable` is done again on a table that is opened anew.
    Errors: NotFound if there is no such table, StoreError, AccessDenied, and those of `work`.
    """
    for _ in range(LOOKS - 1 if is_repeatable else 0):
        try:
            return _use(uri, _current(uri), work)
        except (NotFound, StoreError) as error:
            log.debug("table=%s looked_at_again=%r", uri, error.message)
    return _use(uri, _current(uri), work)


def again_if_gone(read: Callable[[], T]) -> T:
    """An erasure removes files under readers of the version before it; those of the newest one read it again."""
    for _ in range(LOOKS - 1):
        with suppress(NotFound):
            return read()
    return read()


def is_there(uri: str) -> bool:
    """Whether there is a table at `uri`, be it one that cannot be read. Errors: AccessDenied, StoreError."""
    kept = _of_thread.kept.get(uri)
    if kept and kept.entry and kept.entry == _tail(uri, kept.version).get(_name(kept.version)):
        return True
    try:
        with delta_errors(uri):
            return DeltaTable.is_deltatable(uri, storage_options=storage.delta_options(uri))
    except NotFound:  # not even the bucket is there
        return False


def is_kept(uri: str) -> bool:
    """Whether this thread looked at the table before, and that went well."""
    return uri in _of_thread.kept


def _use(uri: str, kept: _Kept, work: Callable[[DeltaTable], T]) -> T:
    try:
        with delta_errors(uri):
            found = work(kept.snapshot)
    except CommitFailedError:  # another commit came between, which the next look will see
        _of_thread.kept[uri] = kept
        raise
    _of_thread.kept[uri] = kept
    return found


def _current(uri: str) -> _Kept:
    kept, current = _of_thread.kept.pop(uri, None), None
    with suppress(NotFound, StoreError):  # then it is opened, which says what is wrong
        current = kept and _up_to_date(uri, kept)
    return current or _open(uri)


def _open(uri: str) -> _Kept:
    snapshot = opened(uri)
    version = int(snapshot.version())
    tail = _tail(uri, version)
    return _Kept(snapshot, version, tail.get(_name(version), ""), tail.get(CHECKPOINT, ""))


def _up_to_date(uri: str, kept: _Kept) -> _Kept | None:
    """None if the log is another one, or may have been cleaned up."""
    tail = _tail(uri, kept.version)
    if not kept.entry or (kept.entry, kept.checkpoint) != (tail.get(_name(kept.version)), tail.get(CHECKPOINT, "")):
        return None
    if _name(kept.version + 1) not in tail:
        return kept
    with delta_errors(uri):
        kept.snapshot.update_incremental()
        version = int(kept.snapshot.version())
    return _Kept(kept.snapshot, version, tail.get(_name(version), ""), kept.checkpoint)


def _tail(uri: str, version: int) -> dict[str, str]:
    """The etags of what the log has from a version on, the hint of the last checkpoint included, which sorts last."""
    return storage.etags(storage.join(uri, "_delta_log"), _name(version - 1) if version else "")


def _name(version: int) -> str:
    return f"{version:020d}.json"
