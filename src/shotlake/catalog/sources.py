"""Where the list of objects comes from: a tree, an S3 Inventory manifest, or a file that lists URIs.

folder | s3://bucket/prefix        every object under it
s3://.../manifest.json             S3 Inventory (CSV or Parquet), its checksums verified; latest versions only
FILE.txt | .csv | .parquet         a URI a line, or a column `uri`; each object is asked for its etag and size
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shotlake import storage
from shotlake.catalog.fanout import list_tree
from shotlake.catalog.order import in_order
from shotlake.errors import BadInventory, NotFound, SourceMissing
from shotlake.storage import ObjectInfo

MANIFEST = "/manifest.json"
LISTS = (".txt", ".csv", ".parquet")
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def list_source(root: str, cuts: Sequence[str] = ()) -> Iterator[ObjectInfo]:
    """Every object of a source, by URI; `cuts` are URIs at which a tree is cut to be listed side by side.

    Errors: SourceMissing, AccessDenied, BadInventory, StoreError.
    """
    if root.endswith(MANIFEST):
        yield from in_order(read_inventory(root))
    elif root.lower().endswith(LISTS):
        yield from in_order(_ask(uri) for uri in read_uris(root))
    else:
        yield from list_tree(root, [cut.removeprefix(root + "/") for cut in cuts])


def span(root: str) -> str:
    """The prefix that holds every object of a source: what a run has to lease, so that no two write the same videos."""
    if root.endswith(MANIFEST):
        return f"s3://{_manifest(root)['sourceBucket']}"
    if root.lower().endswith(LISTS):
        return os.path.commonpath(list(read_uris(root)) or ["/"]).replace("s3:/", "s3://")
    return root


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


def read_uris(uri: str) -> Iterator[str]:
    """The URIs that a file lists, normalised. Errors: SourceMissing, ConfigError for a scheme that is not known."""
    data = _read(uri)
    if uri.lower().endswith(".txt"):
        lines = data.decode().split("\n")
        found: Iterable[str] = (line.strip("\r") for line in lines if line.strip() and not line.startswith("#"))
    else:
        table = pq.read_table(io.BytesIO(data)) if uri.lower().endswith(".parquet") else _read_csv(data)
        if "uri" not in table.column_names:
            raise SourceMissing(f"{uri!r} has the columns {table.column_names}; one has to be called uri")
        found = table["uri"].to_pylist()
    return (storage.normalise(item) for item in found)


def _ask(uri: str) -> ObjectInfo:
    """The object as it is now; one that is not there is listed all the same, and fails when it is opened."""
    key = uri.removeprefix("s3://").lstrip("/")
    try:
        info = storage.stat(uri)
    except NotFound:
        return ObjectInfo(uri, key, 0, "", NEVER)
    return ObjectInfo(uri, key, info.size_bytes, info.etag, info.modified_at, info.version_id)


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


def _read_csv(data: bytes) -> pa.Table:
    return pa_csv.read_csv(io.BytesIO(data), parse_options=pa_csv.ParseOptions(newlines_in_values=True))
