"""Files of a generation on this machine: hashed once, remembered by a receipt, and refused by name if they differ.

A local lake is used in place, or copied below `cache_dir` as a remote one is: what is read in place may change under
its readers, a copy does not. A receipt holds for a file's size and modification time, so that a file that was touched
is hashed again; its own time is when the file was last asked for. Where the cache has a cap, files that were not asked
for longest make room, but none that a process holds open.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import weakref
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from shotlake import storage
from shotlake.errors import CorruptGeneration, NotFound
from shotlake.index.manifest import File
from shotlake.records import stable_id

log = logging.getLogger(__name__)

GENERATIONS = "generations"  # below the cache folder, what was downloaded
ORIGIN, DOOMED = ".uri", ".doomed"  # beside a copy: what it is of; that it goes when it is let go


class LocalFiles(dict[str, Path]):
    """Local paths by stored path. Cached ones are not removed, by whatever process, while this is alive."""

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        weakref.finalize(self, self._held.close)

    def hold(self, stored_path: str, path: Path, lock: BinaryIO | None) -> None:
        """Add a file, and keep its lock."""
        self[stored_path] = path
        if lock:
            self._held.callback(_let_go, path)  # after the lock
            self._held.enter_context(lock)


def default_cache_dir() -> Path:
    """$XDG_CACHE_HOME/shotlake, or ~/.cache/shotlake."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shotlake"


def file_entry(path: Path, stored_path: str) -> File:
    """What a manifest says of the local file `path` that will be stored as `stored_path`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(path=stored_path, size_bytes=path.stat().st_size, sha256=digest)


def store(path: Path, root: str, stored_path: str, cache_dir: Path, cap_bytes: int = 0) -> File:
    """Move a local file below `root`; of a remote one the cache keeps a copy, since it will be read on this machine."""
    entry, uri = file_entry(path, stored_path), storage.join(root, stored_path)
    storage.upload(path, uri)
    if storage.is_remote(uri):
        _make_room(cache_dir, cap_bytes, entry.size_bytes)
        cached = _cached(uri, cache_dir)
        _begin_copy(uri, cached)
        shutil.move(path, cached)
        _sign(cached, entry, cache_dir)
    else:
        path.unlink()
    return entry


def fetch(root: str, files: Iterable[File], cache_dir: Path, cap_bytes: int = 0, in_place: bool = True) -> LocalFiles:
    """The verified `files` below `root`. `cap_bytes`: how large the cache may be, 0 without limit. A local lake's are
    used `in_place`, or copied too.

    Errors: CorruptGeneration.
    """
    found = LocalFiles()
    for file in files:
        uri = storage.join(root, file.path)
        if in_place and not storage.is_remote(uri):
            _verify(uri, Path(uri), file, cache_dir)
            found.hold(file.path, Path(uri), None)
        else:
            found.hold(file.path, *_copy(uri, file, cache_dir, cap_bytes))
    return found


def _copy(uri: str, file: File, cache_dir: Path, cap_bytes: int) -> tuple[Path, BinaryIO]:
    """A verified copy, and the lock that keeps it; one of before that is not what it should be is made anew."""
    path = _cached(uri, cache_dir)
    was_there = path.exists()
    while True:
        path, lock = _download(uri, file, cache_dir, cap_bytes)
        try:
            _verify(uri, path, file, cache_dir)
            return path, lock
        except CorruptGeneration:
            lock.close()
            path.unlink(missing_ok=True)
            if not was_there:
                raise
            was_there = False


def discard(uri: str, cache_dir: Path) -> None:
    """Remove this machine's copy of a file that is stored no more; one that is held open goes when it is let go."""
    path = _cached(uri, cache_dir)
    if path.exists():
        discard_copy(path, cache_dir)


def discard_copy(path: Path, cache_dir: Path) -> None:
    """The same of a copy itself."""
    path.with_name(DOOMED).touch()  # before we try: whoever lets go at this moment looks for it
    if _remove(path):
        path.with_name(DOOMED).unlink(missing_ok=True)
        _receipt_path(path, cache_dir).unlink(missing_ok=True)


def _let_go(path: Path) -> None:
    """Remove a copy that is stored no more, if nobody else holds it. Its receipt stands for no bytes and may stay."""
    if path.with_name(DOOMED).exists() and _remove(path):
        path.with_name(DOOMED).unlink(missing_ok=True)


def _begin_copy(uri: str, path: Path) -> None:
    """Make the folder of a copy, and say in it of what the copy is."""
    storage.write_bytes(str(path.with_name(ORIGIN)), uri.encode())
    path.with_name(DOOMED).unlink(missing_ok=True)


def _download(uri: str, file: File, cache_dir: Path, cap_bytes: int) -> tuple[Path, BinaryIO]:
    """The cached file, and the lock that keeps it."""
    path = _cached(uri, cache_dir)
    while True:
        if not path.exists():
            _make_room(cache_dir, cap_bytes, file.size_bytes)
            _begin_copy(uri, path)
            try:
                storage.download(uri, path)
            except NotFound:
                raise _corrupt(uri, "is missing") from None
        try:
            lock = path.open("rb")
        except FileNotFoundError:
            continue  # removed in between
        fcntl.flock(lock, fcntl.LOCK_SH)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
            return path, lock
        lock.close()


def _verify(uri: str, path: Path, file: File, cache_dir: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _corrupt(uri, "is missing") from None
    if status.st_size != file.size_bytes:
        raise _corrupt(uri, f"has {status.st_size} bytes instead of {file.size_bytes}")
    receipt, proof = _receipt(path, file, cache_dir)
    if receipt.exists() and receipt.read_text() == proof:
        receipt.touch()
        return
    if file_entry(path, file.path).sha256 != file.sha256:
        raise _corrupt(uri, "does not have the sha256 of its manifest")
    _sign(path, file, cache_dir)


def _make_room(cache_dir: Path, cap_bytes: int, needed_bytes: int) -> None:
    """Remove files that were not asked for longest until `needed_bytes` more stay under the cap."""
    if not cap_bytes:
        return
    cached = _cached_sizes(cache_dir)
    left = sum(cached.values()) + needed_bytes
    for path in sorted(cached, key=lambda path: _last_asked(path, cache_dir)):
        if left <= cap_bytes:
            return
        if _remove(path):
            left -= cached[path]
            _receipt_path(path, cache_dir).unlink(missing_ok=True)
    if left > cap_bytes:
        log.warning("cache=%s bytes=%d cap=%d: more than index.cache_bytes is in use", cache_dir, left, cap_bytes)


def _cached_sizes(cache_dir: Path) -> dict[Path, int]:
    """What was downloaded, without what is on its way or has just gone."""
    sizes = {}
    for path in (cache_dir / GENERATIONS).glob("*/[!.]*"):
        with suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    return sizes


def _remove(path: Path) -> bool:
    """False if a process holds the file open."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:  # another process was quicker
        return True
    return True


def _last_asked(path: Path, cache_dir: Path) -> int:
    """When a file was last asked for; without a receipt it is the first to go."""
    try:
        return _receipt_path(path, cache_dir).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _cached(uri: str, cache_dir: Path) -> Path:
    return cache_dir / GENERATIONS / stable_id(uri) / uri.rsplit("/", 1)[-1]


def _receipt(path: Path, file: File, cache_dir: Path) -> tuple[Path, str]:
    """Where the receipt of a file stands, and what it says of the file as it is now."""
    status = path.stat()
    proof = json.dumps([file.sha256, status.st_size, status.st_mtime_ns])
    return _receipt_path(path, cache_dir), proof


def _receipt_path(path: Path, cache_dir: Path) -> Path:
    return cache_dir / "receipts" / stable_id(str(path))


def _sign(path: Path, file: File, cache_dir: Path) -> None:
    receipt, proof = _receipt(path, file, cache_dir)
    storage.write_bytes(str(receipt), proof.encode())


def _corrupt(uri: str, what: str) -> CorruptGeneration:
    return CorruptGeneration(f"{uri} {what}; roll back to an earlier generation or build the index again")
