"""Where the list of objects comes from: a tree, an S3 Inventory manifest, or a file that lists URIs.

folder | s3://bucket/prefix        every object under it
s3://.../manifest.json             S3 Inventory (CSV or Parquet), its checksums verified; latest versions only
FILE.txt | .csv | .parquet         a URI a line, or a column `uri`
a Delta table                      the same, read by flow
Objects of a list are asked for etag, size and time, unless the table has all three in columns named as in `videos`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.parquet as pq

from shotlake import storage
from shotlake.catalog.fanout import list_tree
from shotlake.catalog.order import in_order
from shotlake.catalog.tables import Rows, is_file, read_file, uris_of
from shotlake.errors import BadInventory, BadTable, NotFound, SourceMissing
from shotlake.storage import ObjectInfo

MANIFEST = "/manifest.json"
LINES = ".txt"
ASKED_TOGETHER = 16
_TOLD = ("etag", "size_bytes", "modified_at", "version_id", "storage_class")  # the first three say it all
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def list_source(root: str, cuts: Sequence[str] = (), rows: Rows | None = None) -> Iterator[pa.RecordBatch]:
    """Every object of a source, as pages with the columns of `storage.OBJECTS`, by URI.

    `cuts`: URIs at which a tree is cut to be listed side by side. `rows`: those of a table of URIs that is no file.
    Errors: SourceMissing, AccessDenied, BadInventory, BadTable, StoreError.
    """
    if root.endswith(MANIFEST):
        yield from storage.pages_of(in_order(read_inventory(root)))
    elif rows or is_list(root):
        yield from storage.pages_of(in_order(_listed(root, rows or _rows_of(root))))
    else:
        yield from list_tree(root, [cut.removeprefix(root + "/") for cut in cuts])


def is_list(root: str) -> bool:
    """True for a file that lists URIs."""
    return is_file(root) or root.lower().endswith(LINES)


def span(root: str, rows: Rows | None = None) -> str:
    """The prefix that holds every object of a source: what a run has to lease, so that no two write the same videos."""
    if root.endswith(MANIFEST):
        return f"s3://{_manifest(root)['sourceBucket']}"
    if not rows and not is_list(root):
        return root
    found = ""
    for batch in (rows or _rows_of(root))():
        uris = uris_of(batch, root)
        found = os.path.commonpath([found, *uris] if found else uris) if uris else found
    return found.replace("s3:/", "s3://") if found else "/"


def read_inventory(manifest_uri: str) -> Iterator[ObjectInfo]:
    """The objects of an inventory; keys are relative to the bucket, delete markers and old versions left out.

    Errors: BadInventory where a checksum, a column or the format is wrong; SourceMissing.
    """
    manifest = _manifest(manifest_uri)
    destination = manifest["destinationBucket"].rpartition(":::")[2]
    for file in manifest["files"]:
        uri = f"s3://{destination}/{file['key']}"
        data = _read(uri)
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != file["MD5checksum"]:
            raise BadInventory(f"{uri!r} does not have the checksum of its manifest; take a newer inventory")
        for row in _rows(data, manifest, uri):
            if _is(row.get("islatest"), default=True) and not _is(row.get("isdeletemarker"), default=False):
                yield _object(row)


def _rows_of(root: str) -> Rows:
    return partial(read_file, root) if is_file(root) else partial(_read_lines, root)


def _read_lines(uri: str) -> Iterator[pa.RecordBatch]:
    lines = (line.strip("\r") for line in _read(uri).decode().split("\n") if not line.startswith("#"))
    yield pa.record_batch({"uri": pa.array([line for line in lines if line.strip()], pa.string())})


def _listed(name: str, rows: Rows) -> Iterator[ObjectInfo]:
    """The objects of a table as it describes them (columns as in `videos`), else as they are when they are asked."""
    with ThreadPoolExecutor(ASKED_TOGETHER, "ask") as pool:
        for batch in rows():
            uris = uris_of(batch, name)
            known = {field: batch.column(field).to_pylist() for field in _TOLD if field in batch.schema.names}
            if not set(_TOLD[:3]) <= set(known):
                yield from pool.map(_ask, uris)
                continue
            for number, uri in enumerate(uris):
                told = {field: values[number] for field, values in known.items() if values[number] is not None}
                yield _described(uri, told, name) if set(_TOLD[:3]) <= set(told) else _ask(uri)


def _described(uri: str, told: dict[str, Any], name: str) -> ObjectInfo:
    try:
        size_bytes, modified_at = int(told["size_bytes"]), told["modified_at"]
        moment = datetime.fromisoformat(modified_at) if isinstance(modified_at, str) else modified_at
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, AttributeError):
        raise BadTable(
            f"{name!r} describes {uri!r} by {told}; size_bytes has to be a number and modified_at a time"
        ) from None
    return ObjectInfo(uri, _key(uri), **{**told, "size_bytes": size_bytes, "modified_at": moment})


def _ask(uri: str) -> ObjectInfo:
    """The object as it is now; one that is not there is listed all the same, and fails when it is opened."""
    try:
        info = storage.stat(uri)
    except NotFound:
        return ObjectInfo(uri, _key(uri), 0, "", NEVER)
    return info._replace(uri=uri, key=_key(uri))


def _key(uri: str) -> str:
    return uri.removeprefix("s3://").lstrip("/")


def _manifest(uri: str) -> dict[str, Any]:
    data = _read(uri)
    checksum = _read(uri.removesuffix(".json") + ".checksum").decode().strip()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != checksum:
        raise BadInventory(f"{uri!r} does not have the checksum of manifest.checksum; take a newer inventory")
    manifest: dict[str, Any] = json.loads(data)
    if manifest.get("fileFormat") not in ("CSV", "Parquet"):
        raise BadInventory(f"{uri!r} has the format {manifest.get('fileFormat')!r}; CSV and Parquet can be read")
    return manifest


def _rows(data: bytes, manifest: dict[str, Any], uri: str) -> Iterator[dict[str, Any]]:
    """Rows with columns in lower case, without underscores, because CSV and Parquet spell them differently."""
    if manifest["fileFormat"] == "CSV":
        names = [name.strip().lower() for name in manifest["fileSchema"].split(",")]
        with io.TextIOWrapper(gzip.GzipFile(fileobj=io.BytesIO(data)), encoding="utf-8", newline="") as text:
            for values in csv.reader(text):
                row: dict[str, Any] = dict(zip(names, values))
                yield {**row, "key": unquote_plus(row["key"])}
        return
    file = pq.ParquetFile(io.BytesIO(data))
    names = [name.lower().replace("_", "") for name in file.schema_arrow.names]
    if not {"bucket", "key", "size", "etag", "lastmodifieddate"} <= set(names):
        raise BadInventory(f"{uri!r} has the columns {names}; size, etag and last modified date are needed")
    for batch in file.iter_batches():
        yield from batch.rename_columns(names).to_pylist()


def _object(row: dict[str, Any]) -> ObjectInfo:
    modified = row["lastmodifieddate"]
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    if modified.tzinfo is None:
        modified = modified.replace(tzinfo=UTC)
    return ObjectInfo(
        uri=f"s3://{row['bucket']}/{row['key']}",
        key=row["key"],
        size_bytes=int(row["size"] or 0),
        etag=(row["etag"] or "").strip('"'),
        modified_at=modified,
        version_id=row.get("versionid") or None,
        storage_class=row.get("storageclass") or "",
    )


def _is(value: Any, default: bool) -> bool:
    return default if value in (None, "") else str(value).lower() == "true"


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except NotFound:
        raise SourceMissing(f"there is no {uri!r}; check the path") from None
