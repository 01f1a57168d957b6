"""The sha256 of weights: of the very bytes that were loaded, and computed once a node however many actors ask.

A hash is kept in the cache folder under everything by which a file system tells that a file has changed. A file that
changed within the last moments is hashed each time: another change in the same tick of the clock would not be seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shotlake.errors import BadModel

RACY_NS = 2_000_000_000
_BLOCK_BYTES = 1 << 22
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Seen:
    """Files as they were at a moment; equal if nobody has written or replaced one between."""

    paths: tuple[Path, ...]
    states: tuple[tuple[int, ...], ...]

    @classmethod
    def now(cls, paths: Sequence[Path]) -> Seen:
        """Errors: BadModel if one is gone."""
        return cls(tuple(paths), tuple(_state(path) for path in paths))

    def sha256s(self) -> list[str]:
        """The hash of each file, asked for after it was loaded. Errors: BadModel if one is another by now."""
        hashes = [_kept(path, state) for path, state in zip(self.paths, self.states)]
        for path, state in zip(self.paths, self.states):
            if _state(path) != state:
                raise BadModel(f"{path} changed while it was loaded; leave model files alone while a run is on")
        return hashes


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise BadModel(f"{path} cannot be read ({error.strerror}); fetch or copy the model again") from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _kept(path: Path, state: tuple[int, ...]) -> str:
    """The hash that this node knows of a file in this state, or a new one, which others wait for."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shotlake" / "weights"
    key = hashlib.sha256(repr((str(path.resolve()), state)).encode()).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when the file is closed, or its process ends
            return _looked_up(path, state, folder / key)
    except OSError:  # no room, no right, no locks: a cache is a convenience
        return sha256_of(path)


def _looked_up(path: Path, state: tuple[int, ...], kept: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        if _SHA256.fullmatch(found := kept.read_text(encoding="ascii")):
            return found
    digest = sha256_of(path)
    # the clock's age of the last change; a change of the future is racy for ever, which costs time only
    if time.time_ns() - max(state[-2:]) > RACY_NS and _state(path) == state:
        new = kept.with_name(f"{kept.name}.{os.getpid()}")
        new.write_text(digest, encoding="ascii")
        new.replace(kept)
    return digest


def sha256_of(path: Path) -> str:
    """Read a file and hash it. Errors: BadModel."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise BadModel(f"{path} cannot be read ({error.strerror}); fetch or copy the model again") from None
    return digest.hexdigest()
