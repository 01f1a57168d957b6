"""S3 prefixes: obstore puts, s3fs reads ranges with If-Match; what a store says of its objects is in `s3_listing`."""

from __future__ import annotations

import asyncio
import weakref
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
import obstore
from botocore.exceptions import HTTPClientError

from shotlake.errors import AlreadyExists
from shotlake.storage.again import TRIES, patient, patiently, pause_s
from shotlake.storage.objects import BLOCK_BYTES, PART_BYTES, ObjectReader, parts
from shotlake.storage.s3_client import bucket_of, filesystem, s3_errors, split
from shotlake.storage.s3_listing import folders, list_objects, list_pages, stat

__all__ = [
    "create",
    "delete",
    "download",
    "folders",
    "list_objects",
    "list_pages",
    "names",
    "open_object",
    "read_bytes",
    "stat",
    "upload",
    "write_bytes",
]

_BROKEN_BODY = (aiohttp.ClientError, HTTPClientError, OSError, EOFError)
WHOLE_BYTES = 64 << 20  # objects up to this are read into memory by parallel requests of PART_BYTES

_sent: ContextVar[list[int] | None] = ContextVar("sent", default=None)


@patient
def read_bytes(uri: str) -> bytes:
    """The whole object. Errors: NotFound, AccessDenied, StoreError."""
    bucket, key = split(uri)
    with s3_errors(uri):
        return bytes(obstore.get(bucket_of(bucket), key).bytes())


@patient
def write_bytes(uri: str, data: bytes) -> None:
    """Put the object, replacing what has its name."""
    bucket, key = split(uri)
    with s3_errors(uri):
        obstore.put(bucket_of(bucket), key, data)


def create(uri: str, data: bytes) -> None:
    """Put the object only if nothing has its name. Errors: AlreadyExists.

    A put whose answer was lost may have been done: the next try meets its own object, and that is as good.
    """
    bucket, key = split(uri)
    is_first = True

    def put() -> None:
        nonlocal is_first
        was_first, is_first = is_first, False
        try:
            with s3_errors(uri):
                obstore.put(bucket_of(bucket), key, data, mode="create")
        except AlreadyExists:
            if was_first or read_bytes(uri) != data:
                raise

    patiently(put)


@patient
def upload(path: str | Path, uri: str) -> None:
    """Copy a local file to a new object, in parts."""
    bucket, key = split(uri)
    with s3_errors(uri):
        obstore.put(bucket_of(bucket), key, Path(path))


@patient
def download(uri: str, path: Path) -> None:
    """Copy an object to a local file. Errors: NotFound, AccessDenied, StoreError."""
    bucket, key = split(uri)
    with s3_errors(uri), path.open("wb") as out:
        for chunk in obstore.get(bucket_of(bucket), key).stream(min_chunk_size=PART_BYTES):
            out.write(chunk)


@patient
def delete(uri: str) -> None:
    """Remove the object; no error if it is gone."""
    bucket, key = split(uri)
    with s3_errors(uri):
        obstore.delete(bucket_of(bucket), key)


@patient
def etags(folder: str, after: str) -> dict[str, str]:
    """The etags of the objects right in a folder whose names sort behind `after`, by name."""
    bucket, prefix = split(folder)
    with s3_errors(folder):
        pages = obstore.list(bucket_of(bucket), prefix, offset=f"{prefix}/{after}" if after else None)
        found = {meta["path"].removeprefix(prefix + "/"): meta["e_tag"] or "" for page in pages for meta in page}
    return {name: etag for name, etag in found.items() if "/" not in name}


@patient
def names(root: str) -> list[str]:
    """Keys under `root`, relative to it, sorted."""
    bucket, prefix = split(root)
    with s3_errors(root):
        keys = [meta["path"] for batch in obstore.list(bucket_of(bucket), prefix) for meta in batch]
    return sorted(key.removeprefix(prefix + "/") for key in keys)


def open_object(uri: str, etag: str, size_bytes: int, block_bytes: int) -> ObjectReader:
    """A reader of the object with this etag: a whole small object at the first read, a large one with a look ahead.

    Errors on reading: SourceChanged, NotFound, AccessDenied, Archived, Unavailable, StoreError.
    """
    bucket, key = split(uri)
    whole = block_bytes >= BLOCK_BYTES and size_bytes <= WHOLE_BYTES
    block = max(1, size_bytes) if whole else block_bytes

    def fetch(start: int, end: int) -> bytes:
        sent = [0]
        try:
            with s3_errors(uri):
                return _get_range(bucket, key, etag, (start, end), sent)
        finally:
            counted.requests += max(0, sent[0] - parts(start, end))  # those that were tried again

    reader = ObjectReader(fetch, size_bytes, block, look_ahead=block_bytes >= BLOCK_BYTES and not whole)
    counted = weakref.proxy(reader)  # a cycle would keep its blocks until somebody collects garbage
    return reader


def _count_request(**_: Any) -> None:
    """Called by botocore for whatever goes out, so that what it and s3fs try again is counted as well."""
    if (sent := _sent.get()) is not None:
        sent[0] += 1


def _get_range(bucket: str, key: str, etag: str, span: tuple[int, int], sent: list[int]) -> bytes:
    """Bytes [start, end), in parallel requests of PART_BYTES; `sent[0]` counts requests as they go out.

    s3fs tries a refused request again with backoff; a body that breaks off is asked for again here.
    """
    from fsspec.asyn import sync

    system, (start, end) = filesystem(), span
    match = {"IfMatch": f'"{etag}"'} if etag else {}

    async def fetch(first: int) -> bytes:
        part = f"bytes={first}-{min(first + PART_BYTES, end) - 1}"
        for attempt in range(TRIES):
            answer = await system._call_s3("get_object", Bucket=bucket, Key=key, Range=part, **match)
            try:
                async with answer["Body"] as body:
                    return bytes(await body.read())
            except _BROKEN_BODY:
                if attempt == TRIES - 1:
                    raise
            await asyncio.sleep(pause_s(attempt))
        raise AssertionError("a try returns or raises")

    async def fetch_all() -> bytes:
        client = await system.set_session()
        client.meta.events.register("before-send.s3.GetObject", _count_request, unique_id=__name__)
        _sent.set(sent)
        return b"".join(await asyncio.gather(*(fetch(first) for first in range(start, end, PART_BYTES))))

    return bytes(sync(system.loop, fetch_all))
