"""What builds of the same rows have finished: receipts in the lake, which the next build of these rows takes up.

A receipt is created once: of two builders that fill the same shard the first one's counts, and the other's files are
orphans. One whose files are not whole is removed, so that the work is done again. They go when a manifest is stored.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shotlake import storage
from shotlake.errors import AlreadyExists, CorruptGeneration, NotFound
from shotlake.index.files import LocalFiles, default_cache_dir, fetch, store
from shotlake.index.manifest import File, Shard, SpaceShard
from shotlake.index.rows import Sample
from shotlake.index.truth import Truth, Truths
from shotlake.records import Space

log = logging.getLogger(__name__)

FOLDER = "drafts"  # beside the generations of an embed_key

_Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Trained:
    """The epochs of all spaces: their empty indexes, and the segments that the recall is asked for."""

    indexes: dict[Space, File]
    files: tuple[File, ...]
    held_out: dict[Space, Sample]
    maker: str
    cpu_s: float


@dataclass(frozen=True, slots=True)
class FilledShard:
    """A shard in all spaces, its files, and the best rows that it has for every query."""

    shard: Shard
    spaces: dict[Space, SpaceShard]
    files: tuple[File, ...]
    truths: Truths
    maker: str
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Receipts:
    """The receipts of one set of rows, settings and queries, which `identity` names; below the embed_key's `folder`."""

    folder: str
    identity: str
    cache_bytes: int = 0  # cap of the cache of this machine

    def store(self, path: Path, stored_path: str) -> File:
        """Move a local file to the lake."""
        return store(path, self.folder, stored_path, default_cache_dir(), self.cache_bytes)

    def fetch(self, files: Iterable[File]) -> LocalFiles:
        """Stored files on this machine, verified. Errors: CorruptGeneration."""
        return fetch(self.folder, files, default_cache_dir(), self.cache_bytes)

    def trained(self) -> Trained | None:
        """The epochs that were trained by an earlier build, if their files are whole."""
        found = self._read("epochs", _unpack_trained)
        return found if found and self._is_whole("epochs", found.files) else None

    def keep_trained(self, done: Trained) -> Trained:
        """Make `done` known; gives what counts, which is another's if that was quicker."""
        held = {f"{space}.ids": np.array(ids.to_pylist(), dtype=np.str_) for space, (ids, _) in done.held_out.items()}
        rows = {f"{space}.rows": vectors for space, (_, vectors) in done.held_out.items()}
        tree = {"indexes": {space: file.path for space, file in done.indexes.items()}}
        data = _pack({**tree, **_common(done)}, {**held, **rows})
        return done if self._create("epochs", data) else self.trained() or done

    def shard(self, number: int, truths: Truths) -> FilledShard | None:
        """A shard that an earlier build has filled, if its files are whole; `truths`: the queries without answers."""
        name = f"shard-{number:05d}"
        found = self._read(name, lambda tree, arrays: _unpack_shard(tree, arrays, truths))
        return found if found and self._is_whole(name, found.files) else None

    def keep_shard(self, number: int, done: FilledShard) -> FilledShard:
        """Make `done` known; gives what counts, which is another's if that was quicker."""
        spaces = {space: part.model_dump() for space, part in done.spaces.items()}
        tree = {"shard": done.shard.model_dump(mode="json"), "spaces": spaces, **_common(done)}
        arrays = {
            f"{space}.{kind}.{name}": array
            for space, kinds in done.truths.items()
            for kind, truth in kinds.items()
            for name, array in truth.answers().items()
        }
        if self._create(f"shard-{number:05d}", _pack(tree, arrays)):
            return done
        return self.shard(number, {space: _blank(kinds) for space, kinds in done.truths.items()}) or done

    def clear(self) -> None:
        """Forget what was finished: a manifest names it now."""
        folder = storage.join(self.folder, FOLDER, self.identity)
        for name in storage.names(folder):
            storage.delete(storage.join(folder, name))

    def _uri(self, name: str) -> str:
        return storage.join(self.folder, FOLDER, self.identity, f"{name}.npz")

    def _create(self, name: str, data: bytes) -> bool:
        try:
            storage.create(self._uri(name), data)
        except AlreadyExists:
            return False
        return True

    def _read(self, name: str, unpack: Any) -> Any:
        try:
            data = storage.read_bytes(self._uri(name))
        except NotFound:
            return None
        try:
            with np.load(io.BytesIO(data)) as arrays:
                return unpack(json.loads(str(arrays["tree"])), dict(arrays))
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("receipt=%s is damaged, the work is done again: %s", self._uri(name), error)
            storage.delete(self._uri(name))
            return None

    def _is_whole(self, name: str, files: tuple[File, ...]) -> bool:
        try:
            self.fetch(files)
        except CorruptGeneration as error:
            log.warning("receipt=%s names a file that is not whole, the work is done again: %s", name, error)
            storage.delete(self._uri(name))
            return False
        log.info("index_taken_up identity=%s receipt=%s", self.identity, name)
        return True


def marked(identity: str, mark: str) -> str:
    """An identity that says what was erased when the build began; "": nothing ever was."""
    return f"{identity}+{mark}" if mark else identity


def is_marked(identity: str, mark: str) -> bool:
    """Whether an identity has just this mark."""
    return identity.partition("+")[2] == mark


def named_files(uri: str) -> frozenset[str]:
    """The stored files that a receipt names; none if it is damaged or gone."""
    try:
        with np.load(io.BytesIO(storage.read_bytes(uri))) as arrays:
            return frozenset(file["path"] for file in json.loads(str(arrays["tree"]))["files"])
    except (NotFound, ValueError, KeyError, zipfile.BadZipFile):
        return frozenset()


def _blank(kinds: Mapping[Any, Truth]) -> dict[Any, Truth]:
    return {kind: truth.blank() for kind, truth in kinds.items()}


def _common(done: Trained | FilledShard) -> dict[str, Any]:
    return {"files": [file.model_dump() for file in done.files], "maker": done.maker, "cpu_s": done.cpu_s}


def _pack(tree: dict[str, Any], arrays: _Arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, tree=np.array(json.dumps(tree)), **arrays)
    return out.getvalue()


def _unpack_trained(tree: dict[str, Any], arrays: _Arrays) -> Trained:
    files = tuple(File.model_validate(file) for file in tree["files"])
    by_path = {file.path: file for file in files}
    indexes: dict[Space, File] = {space: by_path[path] for space, path in tree["indexes"].items()}
    held_out = {
        space: (pa.array(arrays[f"{space}.ids"].tolist(), pa.string()), arrays[f"{space}.rows"]) for space in indexes
    }
    return Trained(indexes, files, held_out, tree["maker"], tree["cpu_s"])


def _unpack_shard(tree: dict[str, Any], arrays: _Arrays, truths: Truths) -> FilledShard:
    for space, kinds in truths.items():
        for kind, truth in kinds.items():
            truth.set_answers({name: arrays[f"{space}.{kind}.{name}"] for name in truth.answers()})
    return FilledShard(
        shard=Shard.model_validate(tree["shard"]),
        spaces={space: SpaceShard.model_validate(part) for space, part in tree["spaces"].items()},
        files=tuple(File.model_validate(file) for file in tree["files"]),
        truths=truths,
        maker=tree["maker"],
        cpu_s=tree["cpu_s"],
    )
