"""The only opener of object stores: local folders and s3:// prefixes behind the same dozen functions.

A URI is an absolute path or `s3://bucket/key`, unescaped. Nothing is ever overwritten by `create`. Credentials are the
ambient ones (environment, profile, role). Etags carry no quotes; a local file's etag is `mtime_ns-size`.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

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

BLOCK_BYTES = 4 << 20
PROBE_BLOCK_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object. `key` is relative to the root that was listed; a folder marker's key ends with '/'."""

    uri: str
    key: str
    size_bytes: int
    etag: str
    modified_at: datetime
    version_id: str | None = None
    storage_class: str = ""  # where the listing tells it


def is_remote(uri: str) -> bool:
    """True for s3:// URIs."""
    return uri.startswith("s3://")


def normalise(uri: str) -> str:
    """An absolute path or s3://bucket/prefix without a trailing slash. Errors: ConfigError for other schemes."""
    if is_remote(uri):
        if not _split(uri)[0]:
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


def list_objects(root: str) -> Iterator[ObjectInfo]:
    """Every object under `root`, in key order. Errors: SourceMissing (no such folder or bucket), AccessDenied."""
    if is_remote(root):
        yield from _list_s3(root)
        return
    if Path(root).is_file():
        yield _local_info(Path(root), Path(root).name)
        return
    if not Path(root).is_dir():
        raise SourceMissing(f"there is no folder {root!r}; check the path")
    yield from _list_local(Path(root), "")


def stat(uri: str) -> ObjectInfo:
    """The object as it is now. Errors: NotFound, AccessDenied, StoreError."""
    if not is_remote(uri):
        path = Path(uri)
        if not path.is_file():
            raise NotFound(f"{uri!r} is not there")
        return _local_info(path, path.name)
    bucket, key = _split(uri)
    with _s3_errors(uri):
        head = _call_s3("head_object", Bucket=bucket, Key=key)
    return ObjectInfo(
        uri,
        key.rsplit("/", 1)[-1],
        head["ContentLength"],
        _bare(head["ETag"]),
        head["LastModified"],
        head.get("VersionId"),
    )


def exists(uri: str) -> bool:
    """True if an object has exactly this name."""
    try:
        stat(uri)
    except NotFound:
        return False
    return True


def read_bytes(uri: str) -> bytes:
    """The whole object. Errors: NotFound, AccessDenied, StoreError."""
    if not is_remote(uri):
        try:
            return Path(uri).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{uri!r} is not there") from None
    bucket, key = _split(uri)
    with _s3_errors(uri):
        return bytes(obstore.get(_bucket(bucket), key).bytes())


def write_bytes(uri: str, data: bytes) -> None:
    """Put the object, replacing what has its name; readers see the old or the new one, never a part."""
    if not is_remote(uri):
        _write_local(Path(uri), data, replace=True)
        return
    bucket, key = _split(uri)
    with _s3_errors(uri):
        obstore.put(_bucket(bucket), key, data)


def create(uri: str, data: bytes) -> None:
    """Put the object only if nothing has its name. Errors: AlreadyExists."""
    if not is_remote(uri):
        _write_local(Path(uri), data, replace=False)
        return
    bucket, key = _split(uri)
    with _s3_errors(uri):
        obstore.put(_bucket(bucket), key, data, mode="create")


def upload(path: str | Path, uri: str) -> None:
    """Copy a local file to a new object; streams in parts."""
    if not is_remote(uri):
        target = Path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        shutil.copyfile(path, part)
        os.replace(part, target)
        return
    bucket, key = _split(uri)
    with _s3_errors(uri):
        obstore.put(_bucket(bucket), key, Path(path))


def download(uri: str, path: str | Path) -> None:
    """Copy an object to a local file, which appears whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    if is_remote(uri):
        bucket, key = _split(uri)
        with _s3_errors(uri), part.open("wb") as out:
            for chunk in obstore.get(_bucket(bucket), key).stream(min_chunk_size=8 << 20):
                out.write(chunk)
    else:
        try:
            shutil.copyfile(uri, part)
        except FileNotFoundError:
            raise NotFound(f"{uri!r} is not there") from None
    os.replace(part, target)


def delete(uri: str) -> None:
    """Remove the object; no error if it is gone."""
    if not is_remote(uri):
        Path(uri).unlink(missing_ok=True)
        return
    bucket, key = _split(uri)
    with _s3_errors(uri):
        obstore.delete(_bucket(bucket), key)


def names(root: str) -> list[str]:
    """Keys under `root`, relative to it, sorted; empty if there is nothing. For the lake's own objects."""
    if not is_remote(root):
        base = Path(root)
        found = (p for p in base.rglob("*") if p.is_file() and not p.name.startswith("."))
        return sorted(p.relative_to(base).as_posix() for p in found)
    bucket, prefix = _split(root)
    with _s3_errors(root):
        keys = [meta["path"] for batch in obstore.list(_bucket(bucket), prefix) for meta in batch]
    return sorted(key.removeprefix(prefix + "/") for key in keys)


def check_create_only(root: str) -> None:
    """Prove that the store under `root` refuses a second create. Errors: UnsafeStore, AccessDenied."""
    probe = join(root, f"_probe-{uuid.uuid4().hex}")
    try:
        create(probe, b"1")
    except OSError as error:
        raise AccessDenied(f"cannot write to {root!r} ({error.strerror}); check its permissions") from None
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
    _check_credentials()
    return {"allow_http": "true"} if _endpoint().startswith("http://") else {}


class ObjectReader(io.RawIOBase):
    """A seekable object, read in cached blocks with its first and last block pinned; counts what it reads.

    `error` keeps the StoreError that a caller in C may have swallowed.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size_bytes: int,
        block_bytes: int = BLOCK_BYTES,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._fetch, self._size, self._block_bytes, self._on_close = fetch, size_bytes, block_bytes, on_close
        self._last = max(0, size_bytes - 1) // block_bytes
        self._pinned: dict[int, bytes] = {}
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self.bytes_read = 0
        self.requests = 0
        self.error: ShotlakeError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Let go of what it reads from; happens by itself with the last reference."""
        if not self.closed and self._on_close:
            self._on_close()
        super().close()

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer at a block's end, none at the object's."""
        left = self._size - self._position
        if left <= 0 or size == 0:
            return b""
        index, offset = divmod(self._position, self._block_bytes)
        wanted = left if size < 0 else min(size, left)
        data = self._block(index)[offset : offset + wanted]
        self._position += len(data)
        if size < 0 and len(data) < wanted:
            data += b"".join(iter(lambda: self.read(self._block_bytes), b""))
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _block(self, index: int) -> bytes:
        block = self._pinned.get(index) or self._recent.get(index)
        if block is not None:
            return block
        start = index * self._block_bytes
        end = min(start + self._block_bytes, self._size)
        try:
            block = self._fetch(start, end)
            if len(block) != end - start:
                raise SourceChanged(f"bytes {start}-{end} gave {len(block)}; the object is not the one that was listed")
        except ShotlakeError as error:
            self.error = error
            raise
        self.requests += 1
        self.bytes_read += len(block)
        if index in (0, self._last):
            self._pinned[index] = block
        else:
            self._recent[index] = block
            if len(self._recent) > 2:
                self._recent.popitem(last=False)
        return block


def open_object(uri: str, etag: str, size_bytes: int, block_bytes: int = BLOCK_BYTES) -> ObjectReader:
    """A reader that fails with SourceChanged as soon as the object is not the one with this etag."""
    if is_remote(uri):
        bucket, key = _split(uri)

        def fetch(start: int, end: int) -> bytes:
            with _s3_errors(uri):
                return bytes(_get_range(bucket, key, etag, start, end))

        return ObjectReader(fetch, size_bytes, block_bytes)
    try:
        file = open(uri, "rb")  # noqa: SIM115 - closed with the reader
    except FileNotFoundError:
        raise NotFound(f"{uri!r} is not there any more") from None
    except PermissionError:
        raise StoreError(f"{uri!r} may not be read; check its permissions") from None
    if etag and _local_etag(os.fstat(file.fileno())) != etag:
        file.close()
        raise SourceChanged(f"{uri!r} was replaced after it was listed; run again")
    descriptor = file.fileno()
    return ObjectReader(
        lambda start, end: os.pread(descriptor, end - start, start), size_bytes, block_bytes, file.close
    )


def _list_local(folder: Path, prefix: str) -> Iterator[ObjectInfo]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda e: e.name + "/" if e.is_dir(follow_symlinks=False) else e.name)
    except PermissionError:
        raise AccessDenied(f"the folder {str(folder)!r} may not be read; check its permissions") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _list_local(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield _local_info(Path(entry.path), prefix + entry.name)


def _local_etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"


def _local_info(path: Path, key: str) -> ObjectInfo:
    status = path.stat()
    modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(str(path), key, status.st_size, _local_etag(status), modified_at)


def _write_local(path: Path, data: bytes, replace: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_bytes(data)
    try:
        if replace:
            os.replace(part, path)
        else:
            os.link(part, path)  # atomic, and fails if the name is taken
    except FileExistsError:
        raise AlreadyExists(f"{path} exists") from None
    finally:
        part.unlink(missing_ok=True)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _anonymous() -> bool:
    return os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true")


@cache
def _check_credentials() -> None:
    """botocore's chain (environment, profile, role) finds out in a second; obstore would try for minutes."""
    import botocore.session

    if not _anonymous() and botocore.session.get_session().get_credentials() is None:
        raise AccessDenied(
            "no AWS credentials in the environment, a profile or a role; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket"
        )


@cache
def _bucket(name: str) -> S3Store:
    _check_credentials()
    options: dict[str, Any] = {"client_options": {"allow_http": _endpoint().startswith("http://"), "timeout": "120s"}}
    if not _anonymous():
        options["credential_provider"] = _credentials
    return S3Store(name, retry_config={"max_retries": 5}, **options)


def _credentials() -> Any:
    """The ambient credentials as obstore asks for them, again whenever they are about to expire."""
    import botocore.session

    found = botocore.session.get_session().get_credentials()
    if found is None:
        raise AccessDenied("the AWS credentials are gone; renew them")
    frozen = found.get_frozen_credentials()
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": getattr(found, "_expiry_time", None),
    }


@cache
def _filesystem() -> Any:
    import s3fs

    _check_credentials()
    return s3fs.S3FileSystem(anon=_anonymous())


def _call_s3(method: str, **arguments: Any) -> Any:
    from fsspec.asyn import sync

    filesystem = _filesystem()
    return sync(filesystem.loop, filesystem._call_s3, method, **arguments)


def _get_range(bucket: str, key: str, etag: str, start: int, end: int) -> bytes:
    from fsspec.asyn import sync

    filesystem = _filesystem()
    match = {"IfMatch": f'"{etag}"'} if etag else {}

    async def fetch() -> bytes:
        answer = await filesystem._call_s3(
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **match
        )
        async with answer["Body"] as body:
            return bytes(await body.read())

    return bytes(sync(filesystem.loop, fetch))


def _list_s3(root: str) -> Iterator[ObjectInfo]:
    bucket, prefix = _split(root)
    last = ""
    try:
        with _s3_errors(root):
            for found in _list_obstore(bucket, prefix):
                last = _join_key(prefix, found.key)
                yield found
    except InvalidPathError:  # keys with '//', '/../' or a newline: s3fs goes on behind the last page
        for found in _list_s3fs(bucket, prefix, last):
            last = found.key
            yield found
    except NotFound:
        raise SourceMissing(f"there is no bucket {bucket!r}; check the name and the region") from None
    if not last and prefix and exists(root):
        yield stat(root)


def _list_obstore(bucket: str, prefix: str) -> Iterator[ObjectInfo]:
    for batch in obstore.list(_bucket(bucket), prefix or None, chunk_size=1000):
        for meta in batch:
            path = str(meta["path"])
            # obstore drops the slash of a folder marker, which is an empty object
            marker = meta["size"] == 0 and exists(f"s3://{bucket}/{path}/")
            key = _relative(path, prefix) + ("/" if marker else "")
            yield ObjectInfo(
                f"s3://{bucket}/{path}", key, meta["size"], _bare(meta["e_tag"]), meta["last_modified"], meta["version"]
            )


def _list_s3fs(bucket: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
    token: dict[str, str] = {"StartAfter": after} if after else {}
    while True:
        with _s3_errors(f"s3://{bucket}/{prefix}"):
            page = _call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **token)
        for item in page.get("Contents", []):
            key = item["Key"]
            uri = f"s3://{bucket}/{key}"
            yield ObjectInfo(uri, _relative(key, prefix), item["Size"], _bare(item["ETag"]), item["LastModified"])
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _join_key(prefix: str, key: str) -> str:
    return f"{prefix}/{key}" if prefix else key


def _relative(key: str, prefix: str) -> str:
    return key.removeprefix(prefix + "/") if prefix else key


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    """Wrap what obstore, botocore and s3fs raise, once, at this border."""
    try:
        yield
    except (ShotlakeError, InvalidPathError):
        raise
    except AlreadyExistsError:
        raise AlreadyExists(f"{uri} exists") from None
    except (NotFoundError, FileNotFoundError):
        raise NotFound(f"{uri!r} is not there") from None
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        if _answer(error).get("Error", {}).get("Code") == "InvalidObjectState":
            raise Archived(
                f"{uri!r} lies in an archive class; restore it, or leave it out by catalog.exclude"
            ) from None
        raise AccessDenied(f"the store refused {uri!r}; check the credentials and the bucket policy") from None
    except Exception as error:
        raise store_error(uri, error) from error


def _answer(error: Exception) -> dict[str, Any]:
    """What the store answered, where botocore raised the error or s3fs made another of it."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}


def store_error(uri: str, error: Exception) -> ShotlakeError:
    """What botocore, obstore or delta-rs said of an object or a table, as an error of ours."""
    text = " ".join(re.sub(r"\x1b\[\d*m|↳", " ", str(error)).split()) or type(error).__name__
    said = re.search(r"non-2xx status code\W+(\d{3})", text)
    status = int(said[1]) if said else _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == 412:
        return SourceChanged(f"{uri!r} was replaced after it was listed; run again")
    if status in (401, 403):
        return AccessDenied(f"the store refused {uri!r}; check the credentials and the bucket policy")
    if status == 404:
        return NotFound(f"{uri!r} is not there")
    if status in (429, 500, 502, 503, 504):
        return Unavailable(f"{uri!r}: the store answered {status} ({text[:200]}); try again later")
    return StoreError(f"{uri!r}: {text[:200]}")
