"""What an S3 store says of its objects: pages of them in key order, its folders, one as it is now.

obstore lists; s3fs goes on where it refuses a key.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import obstore
import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import InvalidPathError

from shotlake.errors import NotFound, ShotlakeError, SourceMissing
from shotlake.storage.again import TRIES, is_transient, patient, pause_s
from shotlake.storage.objects import ObjectInfo
from shotlake.storage.pages import OBJECTS, PAGE, last_key, objects_of, pages_of
from shotlake.storage.s3_client import bucket_of, call_s3, s3_errors, split


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
    name = key.rsplit("/", 1)[-1]
    if key == key.strip("/"):  # which obstore drops
        with suppress(InvalidPathError), s3_errors(uri):
            found = _head_obstore(bucket, key)
            etag, at = _bare(found["e_tag"]), found["last_modified"]
            return ObjectInfo(uri, name, found["size"], etag, at, found["version"])
    with s3_errors(uri):
        head = call_s3("head_object", Bucket=bucket, Key=key)
    etag, at = _bare(head["ETag"]), head["LastModified"]
    return ObjectInfo(uri, name, head["ContentLength"], etag, at, head.get("VersionId"))


def _head_obstore(bucket: str, key: str) -> obstore.ObjectMeta:
    try:
        return obstore.head(bucket_of(bucket), key)
    except ValueError as error:  # '//', '/../' or a newline
        raise InvalidPathError(str(error)) from None


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
