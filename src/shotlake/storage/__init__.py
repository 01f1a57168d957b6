"""The only opener of object stores: local folders and s3:// prefixes behind the same dozen functions.

A URI is an absolute path or `s3://bucket/key`, unescaped. Nothing is ever overwritten by `create`. Credentials are the
ambient ones (environment, profile, role). Etags carry no quotes; a local file's etag is `mtime_ns-size`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from shotlake.errors import AlreadyExists, ConfigError, NotFound, ShotlakeError, SourceMissing, UnsafeStore
from shotlake.storage import local
from shotlake.storage.again import patiently
from shotlake.storage.objects import BLOCK_BYTES, PROBE_BLOCK_BYTES, ObjectInfo, ObjectReader, datetimes
from shotlake.storage.pages import NOT_UNICODE, OBJECTS, last_key, objects_of, pages_of

__all__ = [
    "BLOCK_BYTES",
    "NOT_UNICODE",
    "OBJECTS",
    "PROBE_BLOCK_BYTES",
    "ObjectInfo",
    "ObjectReader",
    "check_create_only",
    "create",
    "datetimes",
    "delete",
    "delta_options",
    "download",
    "exists",
    "folders",
    "is_remote",
    "join",
    "last_key",
    "list_objects",
    "list_pages",
    "names",
    "normalise",
    "objects_of",
    "open_object",
    "pages_of",
    "patiently",
    "read_bytes",
    "stat",
    "store_error",
    "upload",
    "write_bytes",
]


def is_remote(uri: str) -> bool:
    """True for s3:// URIs."""
    return uri.startswith("s3://")


def normalise(uri: str) -> str:
    """An absolute path or s3://bucket/prefix without a trailing slash. Errors: ConfigError for other schemes."""
    if is_remote(uri):
        if not uri.removeprefix("s3://").partition("/")[0]:
            raise ConfigError(f"{uri!r} names no bucket; write s3://bucket/prefix")
        return uri.rstrip("/")
    scheme, colon, _ = uri.partition("://")
    if colon and scheme == "file":
        uri = uri.removeprefix("file://")
    elif colon:
        raise ConfigError(f"{uri!r} has the scheme {scheme!r}; a folder or s3://bucket/prefix is allowed")
    return os.path.abspath(os.path.expanduser(uri))


def join(root: str, *parts: str) -> str:
    """`root` and the parts with single slashes between them."""
    return "/".join([root.rstrip("/"), *parts])


def list_objects(root: str, after: str = "", until: str | None = None) -> Iterator[ObjectInfo]:
    """Every object under `root`, in key order; of keys in (after, until] where these are given.

    Errors: SourceMissing (no such folder or bucket), AccessDenied.
    """
    yield from _store(root).list_objects(root, after, until)


def list_pages(root: str, after: str = "", until: str | None = None) -> Iterator[pa.RecordBatch]:
    """The same as pages with the columns of OBJECTS: what it takes to list millions. Errors: as `list_objects`."""
    yield from _store(root).list_pages(root, after, until)


def folders(root: str, below: str = "") -> list[str]:
    """The first folders right under `below`, itself a folder under `root`: keys that end with '/', ascending.

    Of a store no more than one answer of it is looked at, which may be a part of them, or none beside many objects.
    """
    return list(_store(root).folders(root, below))


def stat(uri: str) -> ObjectInfo:
    """The object as it is now. Errors: NotFound, AccessDenied, StoreError."""
    found: ObjectInfo = _store(uri).stat(uri)
    return found


def exists(uri: str) -> bool:
    """True if an object has exactly this name."""
    try:
        stat(uri)
    except NotFound:
        return False
    return True


def read_bytes(uri: str) -> bytes:
    """The whole object. Errors: NotFound, AccessDenied, StoreError."""
    return bytes(_store(uri).read_bytes(uri))


def write_bytes(uri: str, data: bytes) -> None:
    """Put the object, replacing what has its name; readers see the old or the new one, never a part."""
    _store(uri).write_bytes(uri, data)


def create(uri: str, data: bytes) -> None:
    """Put the object only if nothing has its name. Errors: AlreadyExists."""
    _store(uri).create(uri, data)


def upload(path: str | Path, uri: str) -> None:
    """Copy a local file to a new object, which appears whole."""
    _store(uri).upload(path, uri)


def download(uri: str, path: str | Path) -> None:
    """Copy an object to a local file, which appears whole or not at all. Errors: NotFound, StoreError."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        _store(uri).download(uri, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def delete(uri: str) -> None:
    """Remove the object; no error if it is gone."""
    _store(uri).delete(uri)


def names(root: str) -> list[str]:
    """Keys under `root`, relative to it, sorted; empty if there is nothing. For the lake's own objects."""
    return list(_store(root).names(root))


def etags(folder: str, after: str = "") -> dict[str, str]:
    """The etags of the objects right in a folder whose names sort behind `after`, by name; empty if there is none."""
    return dict(_store(folder).etags(folder, after))


def open_object(uri: str, etag: str, size_bytes: int, block_bytes: int = BLOCK_BYTES) -> ObjectReader:
    """A reader that fails with SourceChanged as soon as the object is not the one with this etag."""
    reader: ObjectReader = _store(uri).open_object(uri, etag, size_bytes, block_bytes)
    return reader


def check_create_only(root: str) -> None:
    """Prove that the store under `root` refuses a second create. Errors: UnsafeStore, AccessDenied."""
    probe = join(root, f"_probe-{uuid.uuid4().hex}")
    try:
        create(probe, b"1")
    except NotFound:
        raise SourceMissing(f"cannot write to {root!r}: there is no such bucket; make it first") from None
    try:
        create(probe, b"2")
    except AlreadyExists:
        return
    finally:
        delete(probe)
    raise UnsafeStore(
        f"the store of {root!r} overwrites on a create-only put; commits would be lost, use another store"
    )


def delta_options(uri: str) -> dict[str, str]:
    """Storage options for the Delta tables of a lake; the credentials stay ambient. Errors: AccessDenied if none."""
    if not is_remote(uri):
        return {}
    from shotlake.storage import s3_client

    s3_client.check_credentials()
    return {"allow_http": "true"} if s3_client.endpoint().startswith("http://") else {}


def store_error(uri: str, error: Exception) -> ShotlakeError:
    """What botocore, obstore or delta-rs said of an object or a table, as an error of ours."""
    from shotlake.storage import s3_client

    return s3_client.store_error(uri, error)


def _store(uri: str) -> ModuleType:
    if not is_remote(uri):
        return local
    from shotlake.storage import s3  # with the first bucket: its libraries take 13 MB that a decoder's child can spare

    return s3
