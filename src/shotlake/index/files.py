"""Files of a generation on this machine: hashed once, remembered by a receipt, and refused by name if they differ.

A local lake is used in place; a remote one is downloaded below `cache_dir`. A receipt holds for a file's size and
modification time, so that a file that was touched is hashed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from shotlake import storage
from shotlake.errors import CorruptGeneration, NotFound
from shotlake.index.manifest import File
from shotlake.records import stable_id


def default_cache_dir() -> Path:
    """$XDG_CACHE_HOME/shotlake, or ~/.cache/shotlake."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shotlake"


def file_entry(path: Path, stored_path: str) -> File:
    """What a manifest says of the local file `path` that will be stored as `stored_path`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(path=stored_path, size_bytes=path.stat().st_size, sha256=digest)


def fetch(root: str, files: Iterable[File], cache_dir: Path) -> dict[str, Path]:
    """Local paths of the verified `files` below `root`, by their stored path. Errors: CorruptGeneration."""
    return {file.path: _fetch_one(storage.join(root, file.path), file, cache_dir) for file in files}


def _fetch_one(uri: str, file: File, cache_dir: Path) -> Path:
    path = Path(uri)
    if storage.is_remote(uri):
        path = cache_dir / "generations" / stable_id(uri) / path.name
        if not path.exists():
            try:
                storage.download(uri, path)
            except NotFound:
                raise _corrupt(uri, "is missing") from None
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _corrupt(uri, "is missing") from None
    if status.st_size != file.size_bytes:
        _forget_download(uri, path)
        raise _corrupt(uri, f"has {status.st_size} bytes instead of {file.size_bytes}")
    receipt = cache_dir / "receipts" / stable_id(str(path))
    proof = json.dumps([file.sha256, status.st_size, status.st_mtime_ns])
    if receipt.exists() and receipt.read_text() == proof:
        return path
    if file_entry(path, file.path).sha256 != file.sha256:
        _forget_download(uri, path)
        raise _corrupt(uri, "does not have the sha256 of its manifest")
    storage.write_bytes(str(receipt), proof.encode())
    return path


def _forget_download(uri: str, path: Path) -> None:
    if storage.is_remote(uri):
        path.unlink()


def _corrupt(uri: str, what: str) -> CorruptGeneration:
    return CorruptGeneration(f"{uri} {what}; roll back to an earlier generation or build the index again")
