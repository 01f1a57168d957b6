"""A generation while it is made: a scratch folder laid out like the lake's, stored at the end, the manifest last."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shotlake import storage
from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.files import file_entry
from shotlake.index.manifest import TOMBSTONES_NAME, Cost, File, Manifest, Shard, SpaceEntry
from shotlake.index.sizing import IndexPlan
from shotlake.index.wheel import check_one_faiss
from shotlake.records import Fingerprint, Space, stable_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GenerationTarget:
    """What a generation is built of and where it goes; `index_root` is "<lake>/index"."""

    index_root: str
    embed_key: str
    fingerprint: Fingerprint
    table_uri: str
    table_version: int
    parent: str | None = None

    @property
    def folder(self) -> str:
        """Where everything of this embed_key stands."""
        return storage.join(self.index_root, self.embed_key)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a generation holds: shards and their entries, files of an earlier one, rows that are never found."""

    plan: IndexPlan
    shards: tuple[Shard, ...]
    spaces: dict[Space, SpaceEntry]
    kept: tuple[File, ...] = ()
    tombstones: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation while it is made, in a scratch folder that is laid out like the lake's."""

    target: GenerationTarget
    folder: Path
    name: str
    wheel: str
    built_at: datetime
    cpu_from_s: float
    wall_from_s: float

    @property
    def generation(self) -> Path:
        """Where its shards stand."""
        return self.folder / self.name

    @property
    def epoch(self) -> Path:
        """Where its trained spaces stand, if it has its own."""
        return self.folder / "epochs" / self.name

    def store(self, contents: Contents, config: IndexConfig) -> Manifest:
        """Upload every file, then the manifest, which refers to the kept files of an earlier generation as well."""
        gone = self.generation / TOMBSTONES_NAME
        if len(contents.tombstones):
            contents.tombstones.tofile(gone)
        files = _upload(self.folder, self.target.folder)
        target = self.target
        manifest = Manifest(
            generation=self.name,
            parent=target.parent,
            embed_key=target.embed_key,
            fingerprint=target.fingerprint,
            faiss=self.wheel,
            table_uri=target.table_uri,
            table_version=target.table_version,
            built_at=self.built_at,
            plan=contents.plan,
            min_queries=config.min_queries,
            spaces_asked=config.spaces,
            retired_rows=len(contents.tombstones),
            tombstones=self.stored(gone) if gone.exists() else "",
            shards=contents.shards,
            spaces=contents.spaces,
            files=(*contents.kept, *files),
            cost=Cost(cpu_s=time.process_time() - self.cpu_from_s, wall_s=time.monotonic() - self.wall_from_s),
        )
        storage.create(storage.join(target.folder, manifest.path), manifest.to_bytes())
        log.info("index_built generation=%s rows=%d cpu_s=%.1f", self.name, manifest.n_rows, manifest.cost.cpu_s)
        return manifest

    def stored(self, path: Path) -> str:
        """Where a file of the scratch folder will stand, relative to the folder of the embed_key."""
        return path.relative_to(self.folder).as_posix()


def check_disk(needed_bytes: int) -> None:
    """Refuse a build that the scratch disk cannot hold, before anything is read. Errors: IndexingError."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise IndexingError(
            f"the build needs about {needed_bytes / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free; "
            "set TMPDIR to a larger disk"
        )


@contextmanager
def open_draft(target: GenerationTarget) -> Iterator[Draft]:
    """A new name and an empty scratch folder, which is gone afterwards."""
    wheel, built_at = check_one_faiss(), datetime.now(UTC)
    started = time.process_time(), time.monotonic()
    name = f"{target.table_version:08d}-{stable_id(built_at.isoformat(), socket.gethostname(), os.getpid())[:8]}"
    with tempfile.TemporaryDirectory(prefix="shotlake-index-") as scratch:
        yield Draft(target, Path(scratch), name, wheel, built_at, *started)


def kept_files(earlier: Manifest, spaces: Mapping[Space, SpaceEntry]) -> tuple[File, ...]:
    """The files of an earlier generation that the entries still name: epochs and shards, not its truth."""
    folders = [f"{shard.path}/" for entry in spaces.values() for shard in entry.shards]
    folders += [entry.trained.rsplit("/", 1)[0] + "/" for entry in spaces.values()]
    return tuple(file for file in earlier.files if file.path.startswith(tuple(folders)))


def _upload(work: Path, folder: str) -> tuple[File, ...]:
    """Store every file of the scratch folder under the same relative path."""
    entries = []
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        entry = file_entry(path, path.relative_to(work).as_posix())
        storage.upload(path, storage.join(folder, entry.path))
        entries.append(entry)
    return tuple(entries)
