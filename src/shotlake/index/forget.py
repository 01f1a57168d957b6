"""Erasure in the index: which generations hold rows of some videos, removing those, and searching for what is left.

A row counts wherever it stands, hidden or not: a shard holds its vectors either way. What a build has finished counts
by the mark in its name, which says what was erased when it began.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.errors import CorruptGeneration, NoIndex, NotFound
from shotlake.index.cache import cached_files, drop_copies
from shotlake.index.columns import ShardColumns
from shotlake.index.default import DEFAULTS
from shotlake.index.files import default_cache_dir, fetch
from shotlake.index.manifest import COLUMNS_NAME, INDEX_NAME, ROWS_NAME, Manifest
from shotlake.index.prune import remove
from shotlake.index.publish import current
from shotlake.index.receipts import is_marked
from shotlake.index.stock import Stock


def stored_keys(index_root: str) -> set[str]:
    """The embed_keys of which anything is stored, be it published or not."""
    return {name.split("/")[0] for name in storage.names(index_root)} - {DEFAULTS}


def holds(index_root: str, manifest: Manifest, videos: pa.Array, cache_bytes: int = 0) -> bool:
    """Whether a generation has a row of one of the videos. Errors: CorruptGeneration if its columns are not whole."""
    if not len(videos):
        return False
    described = {f"{shard.path}/{COLUMNS_NAME}" for shard in next(iter(manifest.spaces.values())).shards}
    needed = [file for file in manifest.files if file.path in described]
    folder = storage.join(index_root, manifest.embed_key)
    files = fetch(folder, needed, default_cache_dir(), cache_bytes)
    return any(len(ShardColumns(path).find("video_id", videos)) for path in files.values())


def forget(index_root: str, embed_key: str, videos: pa.Array, mark: str, cache_bytes: int = 0) -> list[str]:
    """Delete what holds rows of the videos, or may do, but for the current generation; returns the deleted paths.

    Other generations go if they have such rows or cannot be read, and what builds left that did not end, unless it is
    of this `mark`. Whoever calls this holds the space's lease, so that no builder is alive; no clock is asked.
    """
    stock = Stock.take(index_root, embed_key)
    try:
        now = current(index_root, embed_key).generation
    except (NoIndex, CorruptGeneration):
        now = ""
    others = [m for m in (*stock.published.values(), *stock.stored.values()) if m.generation != now]
    kept = [m for m in others if not _may_hold(index_root, m, videos, cache_bytes)]
    kept += [stock.published[now]] if now in stock.published else []
    needed = stock.of(kept).union(*(paths for name, paths in stock.drafts.items() if is_marked(name, mark)))
    if not now and stock.pointers:  # that which cannot be read stays the newest: nobody gets an older one unasked
        needed.add(list(stock.pointers)[-1])
    gone = remove(stock, stock.objects.keys() - needed)
    drop_copies(stock.folder, stock.objects.keys() - set(gone), default_cache_dir())
    return gone


def _may_hold(index_root: str, manifest: Manifest, videos: pa.Array, cache_bytes: int) -> bool:
    try:
        return holds(index_root, manifest, videos, cache_bytes)
    except CorruptGeneration:
        return True


def index_traces(index_root: str, videos: Sequence[str], segments: Sequence[str]) -> list[str]:
    """Every stored file, and copy on this machine, that holds rows of the videos, named below the index.

    `segments`: ids of their segments, as far as they are known. Looked at is every file with names of rows, whoever
    names the file; vectors without them, of a build that did not end, are given as well, since they may be anyone's.
    """
    ids = pa.array([*videos, *segments], pa.string())
    if not len(ids):
        return []
    found = list(_stored_traces(index_root, ids))
    for uri, path in cached_files(index_root, default_cache_dir()):
        if _is_trace(path.name, str(path), ids):
            found.append(f"cache of this machine: {uri.removeprefix(f'{index_root}/')}")
    return found


def _stored_traces(index_root: str, ids: pa.Array) -> Iterator[str]:
    names = [info.key for info in _objects(index_root)]
    described = {name.rpartition("/")[0] for name in names if name.endswith(f"/{COLUMNS_NAME}")}
    for name in names:
        folder, _, file = name.rpartition("/")
        is_alone = folder not in described and any(kind in file for kind in (ROWS_NAME, INDEX_NAME))
        if is_alone or _is_trace(file, storage.join(index_root, name), ids):
            yield name


def _objects(index_root: str) -> Iterator[storage.ObjectInfo]:
    """With those that a killed process was still writing."""
    if storage.is_remote(index_root) or Path(index_root).is_dir():
        yield from storage.list_objects(index_root)


def _is_trace(name: str, uri: str, ids: pa.Array) -> bool:
    looks_at = _in_columns if COLUMNS_NAME in name else _in_arrays if ".npz" in name else None
    if not looks_at:
        return False
    try:
        with _local(uri) as path:
            return looks_at(path, ids)
    except (NotFound, FileNotFoundError):  # removed since it was listed
        return False


@contextmanager
def _local(uri: str) -> Iterator[Path]:
    """The file itself, or a copy that is no part of the cache."""
    if not storage.is_remote(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="shotlake-traces-") as folder:
        storage.download(uri, Path(folder) / "file")
        yield Path(folder) / "file"


def _in_columns(path: Path, ids: pa.Array) -> bool:
    try:
        columns = ShardColumns(path)
        return any(
            pc.any(pc.is_in(batch.column(name), ids)).as_py()
            for batch in columns.batches()
            for name in ("segment_id", "video_id")
            if name in batch.schema.names
        )
    except (pa.ArrowInvalid, OSError):  # a part of a file
        data = path.read_bytes()
        return any(name.encode() in data for name in ids.to_pylist())


def _in_arrays(path: Path, ids: pa.Array) -> bool:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            words = [array for name, array in arrays.items() if array.dtype.kind == "U" and name != "tree"]
            return any(np.isin(array, ids.to_pylist()).any() for array in words)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        data = path.read_bytes()
        return any(name.encode("utf-32-le") in data for name in ids.to_pylist())
