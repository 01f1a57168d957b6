"""A generation while it is made: a name, receipts of what is finished, files as they are stored, the manifest last."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shotlake import storage
from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.manifest import TOMBSTONES_NAME, Cost, File, Manifest, Shard, SpaceEntry, sha256
from shotlake.index.receipts import Receipts, marked
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
    rows_state: str = ""  # whatever else decides which rows are live, such as what was retired since
    mark: str = ""  # what was erased when the build began: what it leaves unfinished holds nothing of that

    @property
    def folder(self) -> str:
        """Where everything of this embed_key stands."""
        return storage.join(self.index_root, self.embed_key)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a generation holds: shards and their entries, their files, rows that are never found.

    `elsewhere_cpu_s`: what other processes spent on it.
    """

    plan: IndexPlan
    shards: tuple[Shard, ...]
    spaces: dict[Space, SpaceEntry]
    files: tuple[File, ...]
    elsewhere_cpu_s: float = 0.0
    tombstones: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation while it is made; `scratch` is for files that are about to be stored."""

    target: GenerationTarget
    name: str
    receipts: Receipts
    scratch: Path
    wheel: str
    built_at: datetime
    cpu_from_s: float
    wall_from_s: float

    def put(self, write: Callable[[Path], None], name: str) -> File:
        """Store what `write(path)` makes as the file `name` of the generation."""
        path = self.scratch / name.replace("/", "-")
        write(path)
        return self.receipts.store(path, f"{self.name}/{name}")

    def finish(self, contents: Contents, config: IndexConfig) -> Manifest:
        """Store the tombstones, then the manifest, and forget the receipts."""
        gone, target = contents.tombstones, self.target
        hidden = [self.put(gone.tofile, TOMBSTONES_NAME)] if len(gone) else []
        cpu_s = time.process_time() - self.cpu_from_s + contents.elsewhere_cpu_s
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
            retired_rows=len(gone),
            tombstones=hidden[0].path if hidden else "",
            shards=contents.shards,
            spaces=contents.spaces,
            files=(*contents.files, *hidden),
            cost=Cost(cpu_s=cpu_s, wall_s=time.monotonic() - self.wall_from_s),
        )
        storage.create(storage.join(target.folder, manifest.path), manifest.to_bytes())
        self.receipts.clear()
        log.info("index_built generation=%s rows=%d cpu_s=%.1f", self.name, manifest.n_rows, cpu_s)
        return manifest


def check_room(disk_bytes: int, memory_bytes: int) -> None:
    """Refuse a build that this machine cannot hold, before anything is read. Errors: IndexingError."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < disk_bytes:
        raise IndexingError(
            f"the build needs about {disk_bytes / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free; "
            "set TMPDIR to a larger disk"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory < memory_bytes:
        raise IndexingError(
            f"the build needs about {memory_bytes / 1e9:.1f} GB of memory, this machine has {memory / 1e9:.1f}; "
            "use a larger one, or lower index.rows_per_shard or index.train_points_per_list"
        )


@contextmanager
def open_draft(
    target: GenerationTarget, plan: IndexPlan, queries: Mapping[str, bytes], cache_bytes: int = 0
) -> Iterator[Draft]:
    """A new name, a scratch folder that is gone afterwards, and the receipts of builds of the same rows.

    `queries`: what the recall is measured with; other queries need other answers of every shard.
    """
    wheel, built_at = check_one_faiss(), datetime.now(UTC)
    started = time.process_time(), time.monotonic()
    version = f"{target.table_version:08d}"
    name = f"{version}-{stable_id(built_at.isoformat(), socket.gethostname(), os.getpid())[:8]}"
    asked = [f"{what}={sha256(data)}" for what, data in sorted(queries.items())]
    rows = target.table_uri, target.table_version, target.rows_state, target.parent or ""
    identity = marked(f"{version}-{stable_id(*rows, repr(plan), wheel, *asked)[:16]}", target.mark)
    with tempfile.TemporaryDirectory(prefix="shotlake-index-") as scratch:
        receipts = Receipts(target.folder, identity, cache_bytes)
        yield Draft(target, name, receipts, Path(scratch), wheel, built_at, *started)


def kept_files(earlier: Manifest, spaces: Mapping[Space, SpaceEntry]) -> tuple[File, ...]:
    """The files of an earlier generation that the entries still name: epochs and shards, not its truth."""
    folders = [f"{shard.path}/" for entry in spaces.values() for shard in entry.shards]
    folders += [entry.trained.rsplit("/", 1)[0] + "/" for entry in spaces.values()]
    return tuple(file for file in earlier.files if file.path.startswith(tuple(folders)))
