"""S3 Inventory and lists of URIs give the same objects as a live listing, or are refused by name."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.catalog.listed import listed

from shotlake import storage
from shotlake.catalog.sources import list_source, span
from shotlake.config import CatalogConfig
from shotlake.errors import BadInventory, BadTable, SourceMissing
from shotlake.records import Video
from shotlake.storage import ObjectInfo

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OBJECTS = [
    ("a b/ü+%2F.mp4", 7, "e1", "STANDARD", True, False),
    ("old.mp4", 7, "e0", "STANDARD", False, False),
    ("deleted.mp4", 0, "", "STANDARD", True, True),
    ("cold.mp4", 7, "e2", "DEEP_ARCHIVE", True, False),
]


def csv_file() -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for key, size, etag, kind, latest, marker in OBJECTS:
        flags = [str(latest).lower(), str(marker).lower()]
        writer.writerow(["archive", quote_plus(key), "v1", *flags, size, "2026-03-01T12:00:00.000Z", etag, kind])
    return gzip.compress(text.getvalue().encode())


def parquet_file() -> bytes:
    names = ("key", "size", "e_tag", "storage_class", "is_latest", "is_delete_marker")
    columns = dict(zip(names, map(list, zip(*OBJECTS))))
    times = pa.array([AT] * len(OBJECTS), pa.timestamp("ms"))
    n = len(OBJECTS)
    table = pa.table({"bucket": ["archive"] * n, **columns, "version_id": ["v1"] * n, "last_modified_date": times})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def objects(root: str, **more: Any) -> list[ObjectInfo]:
    return [found for page in list_source(root, **more) for found in storage.objects_of(page)]


def put_inventory(root: str, kind: str, data: bytes) -> str:
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
    manifest = {
        "sourceBucket": "archive",
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [{"key": f"{prefix}/data/1", "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()}],
    }
    text = json.dumps(manifest).encode()
    storage.write_bytes(f"{root}/data/1", data)
    storage.write_bytes(f"{root}/manifest.json", text)
    storage.write_bytes(f"{root}/manifest.checksum", hashlib.md5(text).hexdigest().encode())
    return f"{root}/manifest.json"


@pytest.mark.s3
@pytest.mark.parametrize(("kind", "data"), [("CSV", csv_file()), ("Parquet", parquet_file())], ids=["csv", "parquet"])
def test_an_inventory_lists_the_latest_versions(s3_root: str, kind: str, data: bytes) -> None:
    uri = put_inventory(s3_root, kind, data)
    (video,), (cold,) = listed(uri, CatalogConfig(), "tv")
    assert video == Video("s3://archive/a b/ü+%2F.mp4", "e1", 7, AT, "tv", "v1")
    assert (cold["uri"], cold["size_bytes"]) == ("s3://archive/cold.mp4", 7)
    assert (cold["key"], cold["reason"]) == ("cold.mp4", "storage class DEEP_ARCHIVE")
    assert span(uri) == "s3://archive"


@pytest.mark.s3
def test_an_inventory_with_a_wrong_checksum_is_refused(s3_root: str) -> None:
    uri = put_inventory(s3_root, "CSV", csv_file())
    storage.write_bytes(f"{s3_root}/data/1", csv_file() + b"x")
    with pytest.raises(BadInventory, match=r"data/1.*checksum"):
        list(list_source(uri))
    storage.write_bytes(f"{s3_root}/manifest.checksum", b"0")
    with pytest.raises(BadInventory, match=r"manifest\.checksum"):
        list(list_source(uri))
    storage.delete(f"{s3_root}/manifest.checksum")
    with pytest.raises(SourceMissing, match=r"manifest\.checksum"):
        list(list_source(uri))


@pytest.mark.s3
def test_an_inventory_of_another_format_is_refused(s3_root: str) -> None:
    with pytest.raises(BadInventory, match="'ORC'; CSV and Parquet"):
        list(list_source(put_inventory(s3_root, "ORC", b"")))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
def test_a_list_of_uris_is_a_source(tmp_path: Path, suffix: str) -> None:
    uris = [str(tmp_path / "news" / "a,b.mp4"), str(tmp_path / "news" / "gone.mp4")]
    (tmp_path / "news").mkdir()
    Path(uris[0]).write_bytes(b"abc")
    source = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"uri": uris}), source)
    elif suffix == ".csv":
        source.write_text("title,uri\n" + "".join(f'x,"{uri}"\n' for uri in uris))
    else:
        source.write_text("# mine\n\n" + "\n".join(uris))
    there, gone = objects(str(source))
    assert (there.uri, there.size_bytes, there.etag) == (uris[0], 3, storage.stat(uris[0]).etag)
    assert (gone.uri, gone.size_bytes, gone.etag) == (uris[1], 0, "")
    assert span(str(source)) == str(tmp_path / "news")


def test_a_table_that_describes_its_objects_is_believed(tmp_path: Path) -> None:
    columns = {"etag": ["e1", "e2", None], "size_bytes": [7, 8, 9], "modified_at": [AT, AT, AT]}
    uris = ["s3://b/2", "s3://b/1", str(tmp_path / "asked.mp4")]
    Path(uris[2]).write_bytes(b"abc")
    pq.write_table(pa.table({"uri": uris, **columns, "storage_class": ["", "GLACIER", ""]}), tmp_path / "l.parquet")
    asked, cold, warm = objects(str(tmp_path / "l.parquet"))
    assert (asked.uri, asked.size_bytes, asked.etag) == (uris[2], 3, storage.stat(uris[2]).etag)
    assert (cold.uri, cold.key, cold.size_bytes, cold.etag, cold.storage_class) == (uris[1], "b/1", 8, "e2", "GLACIER")
    assert (warm.etag, warm.modified_at) == ("e1", AT)
    batches = pa.table({"uri": uris[:2], "size_bytes": ["7", "x"], "etag": ["", ""], "modified_at": [str(AT)] * 2})
    with pytest.raises(BadTable, match="size_bytes has to be a number"):
        list(list_source("s3://lake/table", rows=batches.to_batches))


def test_rows_that_somebody_else_reads_are_a_source_too() -> None:
    columns = {"etag": ["e"] * 3, "size_bytes": [1] * 3, "modified_at": [AT] * 3}
    rows = pa.table({"uri": ["s3://b/n/2", "s3://b/n/1/x", "s3://b/n/2"], **columns})
    found = objects("s3://lake/table", rows=lambda: rows.to_batches(1))
    assert [info.uri for info in found] == ["s3://b/n/1/x", "s3://b/n/2"]
    assert span("s3://lake/table", lambda: rows.to_batches(1)) == "s3://b/n"
    assert span("s3://lake/table", list) == "/"


def test_the_span_of_uris_in_buckets(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("s3://b/news/1.mp4\ns3://b/news/2024/2.mp4\n")
    assert span(str(tmp_path / "l.txt")) == "s3://b/news"
    assert span("s3://b/x") == "s3://b/x"


def test_a_list_without_the_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("url\nx\n")
    with pytest.raises(BadTable, match=r"\['url'\]; one has to be called uri"):
        list(list_source(str(tmp_path / "l.csv")))
    with pytest.raises(SourceMissing, match="there is no"):
        list(list_source(str(tmp_path / "none.txt")))


def test_objects_that_are_being_written_wait(tmp_path: Path) -> None:
    (tmp_path / "new.mp4").write_bytes(b"x")
    videos, (found,) = listed(str(tmp_path), CatalogConfig(settle_s=3600))
    assert (videos, found["reason"]) == ([], "modified less than 3600 s ago")
