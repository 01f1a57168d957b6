"""Folders and S3 behind the same functions: nothing is overwritten unasked, and a replaced object is noticed."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import s3fs
from tests.faults.proxy import FaultyProxy

from shotlake import storage
from shotlake.errors import (
    AccessDenied,
    AlreadyExists,
    Archived,
    ConfigError,
    NotFound,
    ShotlakeError,
    SourceChanged,
    SourceMissing,
    StoreError,
    Unavailable,
    UnsafeStore,
)
from shotlake.storage import local, s3, s3_client
from shotlake.storage.again import TRIES
from shotlake.storage.objects import ObjectInfo


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place."""
    return str(tmp_path / "root") if request.param == "local" else str(request.getfixturevalue("s3_root"))


def test_what_is_written_is_read(root: str) -> None:
    uri = storage.join(root, "a", "b.bin")
    with pytest.raises(NotFound):
        storage.read_bytes(uri)
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"three")
    assert (storage.read_bytes(uri), storage.stat(uri).size_bytes, storage.exists(uri)) == (b"three", 5, True)
    assert storage.names(root) == ["a/b.bin"]
    storage.delete(uri)
    storage.delete(uri)
    assert storage.names(root) == []


def test_create_never_overwrites(root: str) -> None:
    uri = storage.join(root, "once")
    storage.create(uri, b"first")
    with pytest.raises(AlreadyExists):
        storage.create(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    storage.check_create_only(root)
    assert storage.names(root) == ["once"]


def test_files_go_up_and_come_down(root: str, tmp_path: Path) -> None:
    data = os.urandom(11 << 20)
    (tmp_path / "up").write_bytes(data)
    storage.upload(tmp_path / "up", storage.join(root, "x"))
    storage.download(storage.join(root, "x"), tmp_path / "deep" / "down")
    assert (tmp_path / "deep" / "down").read_bytes() == data
    with pytest.raises(NotFound):
        storage.download(storage.join(root, "none"), tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.s3
@pytest.mark.parametrize("key", ["a//b", "a/../b", "a/./b", "/ahead", "behind/", "a%20b", "ü #?*[]", "plain"])
def test_an_object_of_a_store_is_seen_under_its_very_name(s3_root: str, key: str) -> None:
    bucket = s3_root.removeprefix("s3://").partition("/")[0]
    s3_client.call_s3("put_object", Bucket=bucket, Key=key, Body=b"some")
    found = storage.stat(f"s3://{bucket}/{key}")
    assert (found.uri, found.size_bytes) == (f"s3://{bucket}/{key}", 4)
    other = key + "x" if key.strip("/") == key else key.strip("/")
    with pytest.raises(NotFound):
        storage.stat(f"s3://{bucket}/{other}")


def test_a_listing_has_every_object_once_in_key_order(root: str) -> None:
    keys = ["b/1", "a-b", "a/x/1", "a.mp4", "ü ä"]
    for n, key in enumerate(keys):
        storage.write_bytes(storage.join(root, key), b"x" * n)
    storage.write_bytes(root + "-beside/other", b"x")
    found = list(storage.list_objects(root))
    assert [item.key for item in found] == sorted(keys)
    assert {item.key: item.size_bytes for item in found} == {key: n for n, key in enumerate(keys)}
    for item in found:
        assert item.uri == storage.join(root, item.key)
        assert storage.stat(item.uri).etag == item.etag
        assert item.modified_at.tzinfo is not None


@pytest.mark.parametrize(
    ("after", "until", "kept"), [("a", "a/x", ["a.mp4", "a/x"]), ("a/x", None, ["b"]), ("", "a.mp4", ["a", "a.mp4"])]
)
def test_a_part_of_a_listing_is_behind_one_key_up_to_another(
    root: str, after: str, until: str | None, kept: list[str]
) -> None:
    for key in ("a.mp4", "a/x", "b") if kept[0] != "a" else ("a", "a.mp4", "b"):
        storage.write_bytes(storage.join(root, key), b"x")
    assert [found.key for found in storage.list_objects(root, after, until)] == kept


def test_one_object_is_a_root_too(root: str) -> None:
    storage.write_bytes(storage.join(root, "a.mp4"), b"x")
    storage.write_bytes(storage.join(root, "a.mp4.bak"), b"x")
    (found,) = storage.list_objects(storage.join(root, "a.mp4"))
    assert (found.uri, found.key) == (storage.join(root, "a.mp4"), "a.mp4")


def test_an_object_is_read_in_cached_blocks(root: str) -> None:
    data = os.urandom(1000)
    uri = storage.join(root, "x")
    storage.write_bytes(uri, data)
    info = storage.stat(uri)
    with storage.open_object(uri, info.etag, info.size_bytes, block_bytes=100) as reader:
        assert reader.read(4) == data[:4]
        reader.seek(-10, os.SEEK_END)
        assert reader.read() == data[-10:]
        reader.seek(0)
        assert (reader.read(50), reader.requests, reader.bytes_read) == (data[:50], 2, 200)
        reader.seek(250)
        buffer = bytearray(100)
        assert (reader.readinto(buffer), bytes(buffer[:50])) == (50, data[250:300])  # a block's end
        reader.seek(0)
        assert reader.read(-1) == data
        assert reader.read(1) == b"" and reader.seek(5, os.SEEK_CUR) == 1005
        with pytest.raises(OSError, match="before the start"):
            reader.seek(-1)


@pytest.mark.parametrize(
    ("starts", "is_whole"),
    [((0,), True), ((950, 0), True), ((0, 500, 100, 200), True), ((300, 0), True), ((0, 500), False)],
)
def test_what_passes_from_front_to_back_is_hashed(starts: tuple[int, ...], is_whole: bool) -> None:
    """The tail may be read first, as an index of a video is; who skips something names no hash."""
    data = os.urandom(1000)
    reader = storage.ObjectReader(lambda start, end: data[start:end], 1000, 100)
    for start in starts[:-1]:
        reader.seek(start)
        reader.read(100)
        assert reader.content_sha256 is None
    reader.seek(starts[-1])
    reader.read(-1)
    assert reader.content_sha256 == (hashlib.sha256(data).hexdigest() if is_whole else None)


def test_a_replaced_object_is_noticed(root: str) -> None:
    uri = storage.join(root, "x")
    storage.write_bytes(uri, b"a" * 100)
    info = storage.stat(uri)
    time.sleep(0.01)
    storage.write_bytes(uri, b"b" * 100)
    with pytest.raises(SourceChanged, match="replaced"):
        storage.open_object(uri, info.etag, 100).read()
    storage.delete(uri)
    with pytest.raises(NotFound):
        storage.open_object(uri, info.etag, 100).read()


def test_the_reader_keeps_the_error_that_c_swallows() -> None:
    def fail(start: int, end: int) -> bytes:
        raise StoreError(f"{start}-{end}")

    reader = storage.ObjectReader(fail, 10)
    with pytest.raises(StoreError):
        reader.read(1)
    assert isinstance(reader.error, StoreError)
    short = storage.ObjectReader(lambda start, end: b"x", 10)
    with pytest.raises(SourceChanged, match="gave 1"):
        short.read(1)


def test_roots_are_normalised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.normalise("a/../b/") == str(tmp_path / "b")
    assert storage.normalise(f"file://{tmp_path}/b") == str(tmp_path / "b")
    assert storage.normalise("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert storage.normalise("~").startswith("/") and "~" not in storage.normalise("~")
    for wrong, words in (("s3://", "names no bucket"), ("gs://b/x", "scheme 'gs'")):
        with pytest.raises(ConfigError, match=words):
            storage.normalise(wrong)


def test_missing_places_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="no folder"):
        next(storage.list_objects(str(tmp_path / "none")))
    assert storage.names(str(tmp_path / "none")) == []
    assert list(storage.list_objects(str(tmp_path))) == []


@pytest.mark.s3
def test_a_missing_bucket_is_said(s3_root: str) -> None:
    with pytest.raises(SourceMissing, match="no bucket 'no-such-bucket'"):
        next(storage.list_objects("s3://no-such-bucket/x"))
    with pytest.raises(SourceMissing, match="no such bucket"):
        storage.check_create_only("s3://no-such-bucket/lake")
    assert list(storage.list_objects(s3_root)) == []


def test_an_archived_object_is_no_lack_of_rights() -> None:
    """The test server hands archived objects out; S3 answers 403, which s3fs makes a PermissionError of."""

    class Answer(Exception):
        response = {"Error": {"Code": "InvalidObjectState"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    with pytest.raises(Archived, match="archive class"), s3_client.s3_errors("s3://b/k"):
        raise PermissionError("the operation is not valid for the object's storage class") from Answer()


def test_a_store_that_overwrites_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "create", storage.write_bytes)
    with pytest.raises(UnsafeStore):
        storage.check_create_only(str(tmp_path))
    assert storage.names(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(412, SourceChanged), (403, AccessDenied), (404, NotFound), (503, Unavailable), (418, StoreError)],
)
def test_answers_of_a_store_become_our_errors(status: int, kind: type[ShotlakeError]) -> None:
    class Answer(Exception):
        response = {"ResponseMetadata": {"HTTPStatusCode": status}}

    with pytest.raises(kind) as caught, s3_client.s3_errors("s3://b/k"):
        raise Answer("first line\nsecond")
    assert "s3://b/k" in caught.value.message and "\n" not in caught.value.message


def test_links_and_unreadable_folders(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "none")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [item.key for item in storage.list_objects(str(tmp_path))] == ["link.mp4", "real/a"]


def test_a_full_pass_reads_every_byte_once_and_looks_ahead() -> None:
    data = bytes(range(256)) * 40
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    reader = storage.ObjectReader(fetch, len(data), 1000, look_ahead=True)
    reader.seek(-10, os.SEEK_END)
    assert reader.read(10) == data[-10:]  # an index at the end stays pinned
    reader.seek(0)
    assert b"".join(iter(lambda: reader.read(300), b"")) == data
    reader.close()
    assert sorted(asked) == [(start, min(start + 1000, len(data))) for start in range(0, len(data), 1000)]
    assert reader.bytes_read == len(data)


def test_an_error_of_the_look_ahead_is_raised_where_it_is_read() -> None:
    def fetch(start: int, end: int) -> bytes:
        if start >= 2000:
            raise Unavailable("slow down")
        return bytes(end - start)

    reader = storage.ObjectReader(fetch, 5000, 1000, look_ahead=True)
    with pytest.raises(Unavailable):
        while reader.read(1000):
            pass
    assert isinstance(reader.error, Unavailable)
    assert reader.tell() == 2000


@pytest.mark.s3
def test_a_whole_object_comes_in_parallel_parts(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 100_000)
    data = os.urandom(1_234_567)
    storage.create(f"{s3_root}/one", data)
    info = storage.stat(f"{s3_root}/one")
    reader = storage.open_object(info.uri, info.etag, info.size_bytes)
    reader.seek(1_000_000)
    assert reader.read() == data[1_000_000:]
    assert reader.bytes_read == len(data)


@pytest.mark.s3
@pytest.mark.parametrize("fault", ["unavailable", "cut"])
def test_requests_that_are_tried_again_are_counted(
    fault: str, s3_root: str, s3_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are paid for like any other."""
    data, troubles = os.urandom(30_000), [fault, fault, ""]
    storage.create(f"{s3_root}/one", data)
    info = storage.stat(f"{s3_root}/one")
    asked: list[str] = []

    def choose(method: str, path: str) -> str:
        asked.append(method)
        return troubles.pop(0) if troubles else ""

    with FaultyProxy(s3_environ["AWS_ENDPOINT_URL"], choose) as proxy:
        filesystem = s3fs.S3FileSystem(endpoint_url=proxy.url, skip_instance_cache=True)
        monkeypatch.setattr(s3, "filesystem", lambda: filesystem)
        reader = storage.open_object(info.uri, info.etag, info.size_bytes)
        assert reader.read() == data
    assert asked.count("GET") == reader.requests == 3
    assert reader.bytes_read == len(data)
    alive = weakref.ref(reader)
    del reader
    assert alive() is None  # its blocks go with it


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    for put in (storage.create, storage.write_bytes):
        with pytest.raises(StoreError, match="No space left"):
            put(str(tmp_path / "x"), b"data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("errors", "calls", "ends"),
    [
        ([], 1, None),
        ([StoreError("cut"), Unavailable("503")], 3, None),
        ([NotFound("gone")], 1, NotFound),
        ([SourceChanged("other")], 1, SourceChanged),
        ([Unavailable("503")] * TRIES, TRIES, Unavailable),
    ],
)
def test_transient_trouble_is_tried_again(
    errors: list[ShotlakeError], calls: int, ends: type[ShotlakeError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("shotlake.storage.again.time.sleep", waited.append)
    left, made = list(errors), []

    def request() -> str:
        made.append(1)
        if left:
            raise left.pop(0)
        return "done"

    if ends:
        with pytest.raises(ends):
            storage.patiently(request)
    else:
        assert storage.patiently(request) == "done"
    assert len(made) == calls and len(waited) == calls - 1
    assert all(0.05 <= pause <= 4 for pause in waited)


def test_a_draft_that_another_writer_deletes_while_we_look_has_no_etag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a table holds drafts of its writers for a moment."""
    for name in ("1.json", "2.json#1", "3.json"):
        (tmp_path / name).write_bytes(b"{}")
    scandir = os.scandir

    def listed(folder: str) -> nullcontext[Iterator[os.DirEntry[str]]]:
        entries = list(scandir(folder))
        (tmp_path / "2.json#1").unlink()
        return nullcontext(iter(entries))

    monkeypatch.setattr(local.os, "scandir", listed)
    assert sorted(storage.etags(str(tmp_path), "")) == ["1.json", "3.json"]


def test_a_file_that_is_deleted_while_we_look_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, info = tmp_path / "a", local._info
    path.write_bytes(b"a")

    def late(path: Path, key: str) -> ObjectInfo:
        path.unlink()
        return info(path, key)

    monkeypatch.setattr(local, "_info", late)
    with pytest.raises(NotFound, match="is not there"):
        storage.stat(str(path))
