"""Local folders: atomic writes, create-only by hard link, an etag of modification time and size."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from shotlake.errors import AccessDenied, AlreadyExists, NotFound, SourceChanged, SourceMissing, StoreError
from shotlake.storage.objects import ObjectInfo, ObjectReader
from shotlake.storage.pages import pages_of


def list_objects(root: str, after: str = "", until: str | None = None) -> Iterator[ObjectInfo]:
    """Every file under a folder, in key order, or the file itself; of keys in (after, until] where these are given.

    Errors: SourceMissing, AccessDenied.
    """
    if Path(root).is_file():
        yield _info(Path(root), Path(root).name)
        return
    if not Path(root).is_dir():
        raise SourceMissing(f"there is no folder {root!r}; check the path")
    for found in _list(Path(root), ""):
        if until is not None and found.key > until:
            return
        if found.key > after:
            yield found


def list_pages(root: str, after: str = "", until: str | None = None) -> Iterator[pa.RecordBatch]:
    """The same as pages with the columns of OBJECTS."""
    return pages_of(list_objects(root, after, until))


def folders(root: str, below: str = "") -> list[str]:
    """The folders right under a folder of `root`, as keys that end with '/'."""
    with os.scandir(Path(root) / below) as found:
        return sorted(f"{below}{entry.name}/" for entry in found if entry.is_dir(follow_symlinks=False))


def stat(uri: str) -> ObjectInfo:
    """The file as it is now. Errors: NotFound."""
    path = Path(uri)
    if path.is_file():
        with suppress(FileNotFoundError):  # deleted meanwhile
            return _info(path, path.name)
    raise NotFound(f"{uri!r} is not there")


def read_bytes(uri: str) -> bytes:
    """The whole file. Errors: NotFound."""
    try:
        return Path(uri).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{uri!r} is not there") from None


def write_bytes(uri: str, data: bytes) -> None:
    """Put the file, replacing what has its name. Errors: AccessDenied, StoreError (no space)."""
    with _part(Path(uri)) as part:
        part.write_bytes(data)
        os.replace(part, uri)


def create(uri: str, data: bytes) -> None:
    """Put the file only if nothing has its name. Errors: AlreadyExists, AccessDenied, StoreError (no space)."""
    with _part(Path(uri)) as part:
        part.write_bytes(data)
        try:
            os.link(part, uri)  # atomic, and fails if the name is taken
        except FileExistsError:
            raise AlreadyExists(f"{uri} exists") from None


def upload(path: str | Path, uri: str) -> None:
    """Copy a file; the copy appears whole."""
    with _part(Path(uri)) as part:
        shutil.copyfile(path, part)
        os.replace(part, uri)


def download(uri: str, path: Path) -> None:
    """Copy a file. Errors: NotFound."""
    try:
        shutil.copyfile(uri, path)
    except FileNotFoundError:
        raise NotFound(f"{uri!r} is not there") from None


def delete(uri: str) -> None:
    """Remove the file; no error if it is gone."""
    Path(uri).unlink(missing_ok=True)


def names(root: str) -> list[str]:
    """Keys under `root`, relative to it, sorted; files that are still being written are left out."""
    base = Path(root)
    walked = ((Path(folder), files) for folder, _, files in os.walk(base))  # passes over what is deleted meanwhile
    found = (folder / name for folder, files in walked for name in files if not name.startswith("."))
    return sorted(path.relative_to(base).as_posix() for path in found if path.is_file())


def etags(folder: str, after: str) -> dict[str, str]:
    """The etags of the files right in a folder whose names sort behind `after`, by name."""
    try:
        with os.scandir(folder) as found:
            later = [entry for entry in found if entry.name > after and not entry.name.startswith(".")]
    except FileNotFoundError:
        return {}
    etags = {}
    for entry in later:
        with suppress(FileNotFoundError):  # of another writer, who has deleted it meanwhile
            if entry.is_file():
                etags[entry.name] = _etag(entry.stat())
    return etags


def open_object(uri: str, etag: str, size_bytes: int, block_bytes: int) -> ObjectReader:
    """A reader of the file with this etag. Errors: NotFound, StoreError, SourceChanged."""
    try:
        file = open(uri, "rb")  # noqa: SIM115 - closed with the reader
    except FileNotFoundError:
        raise NotFound(f"{uri!r} is not there any more") from None
    except PermissionError:
        raise StoreError(f"{uri!r} may not be read; check its permissions") from None
    if etag and _etag(os.fstat(file.fileno())) != etag:
        file.close()
        raise SourceChanged(f"{uri!r} was replaced after it was listed; run again")
    descriptor = file.fileno()
    return ObjectReader(
        lambda start, end: os.pread(descriptor, end - start, start), size_bytes, block_bytes, file.close
    )


@contextmanager
def _part(target: Path) -> Iterator[Path]:
    """A name beside the target that is gone at the end, whatever happened. Errors: AccessDenied, StoreError."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
    except (PermissionError, NotADirectoryError) as error:
        raise AccessDenied(f"cannot write {str(target)!r} ({error.strerror}); check the path and its rights") from None
    except OSError as error:  # no space left, an input or output error
        raise StoreError(
            f"cannot write {str(target)!r} ({error.strerror}); make room or mend the disk, and run again"
        ) from None
    finally:
        with suppress(OSError):
            part.unlink()


def _list(folder: Path, prefix: str) -> Iterator[ObjectInfo]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda e: e.name + "/" if e.is_dir(follow_symlinks=False) else e.name)
    except FileNotFoundError:  # deleted while we list
        return
    except PermissionError:
        raise AccessDenied(f"the folder {str(folder)!r} may not be read; check its permissions") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _list(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file():
            try:
                found_file = _info(Path(entry.path), prefix + entry.name)
            except FileNotFoundError:  # deleted while we list
                continue
            yield found_file


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"


def _info(path: Path, key: str) -> ObjectInfo:
    status = path.stat()
    modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(str(path), key, status.st_size, _etag(status), modified_at)
