"""S3 prefixes: obstore lists and puts, s3fs reads ranges with If-Match and lists what obstore refuses."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
import obstore
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import HTTPClientError
from obstore.exceptions import InvalidPathError

from shotlake.errors import AlreadyExists, NotFound, ShotlakeError, SourceMissing
from shotlake.storage.again import TRIES, is_transient, patient, patiently, pause_s
from shotlake.storage.objects import BLOCK_BYTES, PART_BYTES, ObjectInfo, ObjectReader, parts
from shotlake.storage.pages import OBJECTS, PAGE, last_key, objects_of, pages_of
from shotlake.storage.s3_client import bucket_of, call_s3, filesystem, s3_errors, split

_BROKEN_BODY = (aiohttp.ClientError, HTTPClientError, OSError, EOFError)
WHOLE_BYTES = 64 << 20  # objects up to this are read into memory by parallel requests of PART_BYTES

_sent: ContextVar[list[int] | None] = ContextVar("sent", default=None)


def list_objects(root: str, after: str = "", until: str | None = None) -> Iterator[ObjectInfo]:
    """Every object under a prefix, in key order, or the object itself; of keys in (after, until] where given.

    Errors: SourceMissing, AccessDenied, StoreError.
    """
    for page in list_pages(root, after, until):
        yield from objects_of(page)


def list_pages(root: str, after: str = "", until: str | None = None) -> Iterator[pa.RecordBatch]:
    """The same as pages with the columns of OBJECTS: an object of Python an object takes longer than all else."""
    bucket, prefix = split(root)
    last = after
    try:
        for page in _list_patiently(root, after, until):
            last = last_key(page)
            yield page
    except InvalidPathError:  # keys with '//', '/../' or a newline: s3fs goes on behind the last one
        for page in _within(_list_s3fs(bucket, prefix, last), last, until):
            last = last_key(page)
            yield page
    except NotFound:
        raise SourceMissing(f"there is no bucket {bucket!r}; check the name and the region") from None
    if not last and prefix and until is None and _exists(root):
        yield from pages_of([stat(root)])


@patient
def folders(root: str, below: str = "") -> list[str]:
    """The folders among the first PAGE entries right under a folder of `root`, as keys that end with '/'."""
    bucket, prefix = split(root)
    with s3_errors(root):
        page = call_s3("list_objects_v2", Bucket=bucket, Prefix=_join_key(prefix, below), Delimiter="/")
    return [_relative(found["Prefix"], prefix) for found in page.get("CommonPrefixes", [])]


@patient
def stat(uri: str) -> ObjectInfo:
    """The object as it is now. Errors: NotFound, AccessDenied, StoreError."""
    bucket, key = split(uri)
    with s3_errors(uri):
        head = call_s3("head_object", Bucket=bucket, Key=key)
    name, version = key.rsplit("/", 1)[-1], head.get("VersionId")
    return ObjectInfo(uri, name, head["ContentLength"], _bare(head["ETag"]), head["LastModified"], version)


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


def _within(pages: Iterable[pa.RecordBatch], after: str, until: str | None) -> Iterator[pa.RecordBatch]:
    """The objects of (after, until]: where an odd key was the bound, a store may have begun a little before it."""
    for page in pages:
        ends = until is not None and last_key(page) > until
        if page["key"][0].as_py() <= after:
            page = page.filter(pc.greater(page["key"], after))
        if ends:
            page = page.filter(pc.less_equal(page["key"], until))
        if len(page):
            yield page
        if ends:
            return


def _list_patiently(root: str, after: str, until: str | None) -> Iterator[pa.RecordBatch]:
    """What obstore lists; where a page breaks off, which it does not ask for again, on behind the last object."""
    bucket, prefix = split(root)
    failures = 0
    while True:
        try:
            with s3_errors(root):
                for page in _within(_list_obstore(bucket, prefix, after), after, until):
                    after, failures = last_key(page), 0
                    yield page
            return
        except ShotlakeError as error:
            failures += 1
            if not is_transient(error) or failures == TRIES:
                raise
            time.sleep(pause_s(failures - 1))


def _list_obstore(bucket: str, prefix: str, after: str) -> Iterator[pa.RecordBatch]:
    """Pages of objects, none empty."""
    start = _join_key(prefix, after) if after else None
    try:
        pages = obstore.list(bucket_of(bucket), prefix or None, offset=start, chunk_size=PAGE, return_arrow=True)
    except ValueError as error:  # what it says of an odd key that it is given, not met with
        raise InvalidPathError(str(error)) from None
    for found in pages:
        if len(page := pa.record_batch(found)):
            yield _as_objects(page, bucket, prefix)


def _as_objects(found: pa.RecordBatch, bucket: str, prefix: str) -> pa.RecordBatch:
    """A page of obstore's columns with those of OBJECTS."""
    start, sizes = f"s3://{bucket}/", found["size"].cast(pa.int64())
    paths = _with_markers(found["path"].cast(pa.string()), sizes, start)
    columns = {
        "uri": pc.binary_join_element_wise(start, paths, ""),
        "key": pc.utf8_slice_codeunits(paths, len(prefix) + 1) if prefix else paths,
        "size_bytes": sizes,
        "etag": pc.utf8_trim(pc.fill_null(found["e_tag"], ""), '"').cast(pa.string()),
        "modified_at": found["last_modified"].cast(pa.timestamp("us", "UTC")),
        "version_id": found["version"].cast(pa.string()),
    }
    nothing = pa.repeat("", len(found))
    return pa.record_batch([*columns.values(), nothing, nothing], schema=OBJECTS)


def _with_markers(paths: pa.Array, sizes: pa.Array, start: str) -> pa.Array:
    """obstore drops the slash of a folder marker, which is an empty object."""
    is_empty = pc.equal(sizes, 0)
    if not pc.any(is_empty).as_py():
        return paths
    empty = paths.filter(is_empty).to_pylist()
    named = [path + "/" if _exists(f"{start}{path}/") else path for path in empty]
    return pc.replace_with_mask(paths, is_empty, pa.array(named, pa.string()))


def _list_s3fs(bucket: str, prefix: str, after: str) -> Iterator[pa.RecordBatch]:
    """Pages of objects, none empty."""
    token: dict[str, str] = {"StartAfter": _join_key(prefix, after)} if after else {}
    while True:
        with s3_errors(f"s3://{bucket}/{prefix}"):
            page = call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **token)
        yield from pages_of(
            ObjectInfo(
                f"s3://{bucket}/{item['Key']}",
                _relative(item["Key"], prefix),
                item["Size"],
                _bare(item["ETag"]),
                item["LastModified"],
            )
            for item in page.get("Contents", [])
        )
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _join_key(prefix: str, key: str) -> str:
    return f"{prefix}/{key}" if prefix else key


def _relative(key: str, prefix: str) -> str:
    return key.removeprefix(prefix + "/") if prefix else key


def _exists(uri: str) -> bool:
    try:
        stat(uri)
    except NotFound:
        return False
    return True


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')
