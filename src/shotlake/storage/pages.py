"""Pages of a listing: many objects as columns, since an object of Python for each takes longer than all else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from shotlake.storage.objects import ObjectInfo, datetimes

PAGE = 1_000  # objects of a page of a listing; what a store lists in one answer
NOT_UNICODE = "name is not UTF-8"

OBJECTS = pa.schema(
    [
        ("uri", pa.string()),
        ("key", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("modified_at", pa.timestamp("us", "UTC")),
        ("version_id", pa.string()),
        ("storage_class", pa.string()),
        ("reason", pa.string()),  # why it is not to be read, or ""
    ]
)
"""A page of a listing: what `ObjectInfo` has of one object, of many, and what speaks against each."""


def pages_of(objects: Iterable[ObjectInfo]) -> Iterator[pa.RecordBatch]:
    """Objects as pages of OBJECTS. A name that Arrow cannot hold is written out, and given as the reason."""
    rest = iter(objects)
    while part := list(islice(rest, PAGE)):
        yield _page(part)


def _page(objects: Sequence[ObjectInfo]) -> pa.RecordBatch:
    plain = [_is_unicode(found.uri) for found in objects]
    told = [found if is_plain else _written_out(found) for found, is_plain in zip(objects, plain, strict=True)]
    reasons = ["" if is_plain else NOT_UNICODE for is_plain in plain]
    columns = [*zip(*told, strict=True), reasons]
    return pa.record_batch([pa.array(column, field.type) for column, field in zip(columns, OBJECTS)], schema=OBJECTS)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written_out(found: ObjectInfo) -> ObjectInfo:
    uri, key = (name.encode(errors="backslashreplace").decode() for name in (found.uri, found.key))
    return found._replace(uri=uri, key=key)


def last_key(page: pa.RecordBatch) -> str:
    """The last key of a page, which has one at least."""
    key: str = page["key"][-1].as_py()
    return key


def objects_of(page: pa.RecordBatch) -> Iterator[ObjectInfo]:
    """The objects of a page of OBJECTS, one by one."""
    columns = (page.column(name) for name in ObjectInfo._fields)
    texts = (datetimes(c) if pa.types.is_timestamp(c.type) else c.to_pylist() for c in columns)
    return map(ObjectInfo, *texts)
