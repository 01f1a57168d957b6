"""Whether a run would come through: everything that it needs is tried, each for itself, and nothing is left behind.

What a run checks before it starts is called here as it is; the rest (permissions, clocks, memory, disks) is looked at.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Literal

from shotlake import storage
from shotlake.catalog.sources import list_source
from shotlake.config import Config
from shotlake.embed.load import resolve_device
from shotlake.errors import BadModel, ShotlakeError, SourceMissing
from shotlake.flow.model_check import check_model
from shotlake.flow.run import check_prices
from shotlake.flow.tables import delta_rows
from shotlake.report.render import size
from shotlake.table.lake import Lake

Status = Literal["ok", "warn", "fail"]
Found = tuple[Status, str]

SKEW_WARN_S, SKEW_FAIL_S = 60, 900  # S3 refuses requests that are signed a quarter of an hour off
DISK_FULL = 0.95  # from here on Ray refuses to spill
DISK_FAIL_BYTES = 1 << 30
OBJECT_STORE = 0.3  # of the memory, which Ray takes in shared memory if there is as much


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: what was found says what to do where it is not ok."""

    check: str
    status: Status
    found: str

    def to_json(self) -> dict[str, str]:
        """A row of `doctor`."""
        return asdict(self)


def examine(config: Config, source: str = "") -> list[Check]:
    """Try what a run of this configuration needs; `source` is left out if it is empty. Never raises ShotlakeError."""
    tries: dict[str, Callable[[], Found]] = {
        "credentials": lambda: _credentials(config, source),
        "source": lambda: _source(source),
        "store": lambda: _store(config.lake),
        "lake": lambda: _lake(config.lake),
        "encoder": lambda: _encoder(config),
        "gpu": lambda: _gpu(config),
        "prices": lambda: _prices(config, source),
        "cores": lambda: _cores(config),
        "shared memory": lambda: _shared_memory(config),
        **{f"disk of {folder}": lambda folder=folder: _disk(folder) for folder in _disks(config)},  # type: ignore[misc]
    }
    if not source:
        del tries["source"]
    return [Check(name, *_tried(look)) for name, look in tries.items()]


def _tried(look: Callable[[], Found]) -> Found:
    try:
        return look()
    except ShotlakeError as error:
        return "fail", error.message


def _credentials(config: Config, source: str) -> Found:
    remote = [uri for uri in (config.lake, source) if storage.is_remote(uri)]
    if not remote:
        return "ok", "folders need none"
    storage.delta_options(remote[0])
    return "ok", "of the environment, a profile or a role"


def _source(source: str) -> Found:
    """List it and read the first byte of its first object that has one."""
    root = storage.normalise(source)
    for info in chain.from_iterable(map(storage.objects_of, list_source(root, rows=delta_rows(root)))):
        if info.size_bytes:
            with storage.open_object(info.uri, info.etag, info.size_bytes, storage.PROBE_BLOCK_BYTES) as reader:
                reader.read(1)
            return "ok", f"can be listed and read, such as {info.uri}"
    return "warn", "nothing is there to be read; check the path"


def _store(lake_root: str) -> Found:
    """Create-only put, read, list and delete, and the store's clock beside ours."""
    root = _nearest(storage.normalise(lake_root))
    storage.check_create_only(root)
    name = storage.join(root, f"_probe-{uuid.uuid4().hex}")
    try:
        before = datetime.now(UTC)
        storage.create(name, b"1")
        after = datetime.now(UTC)
        storage.read_bytes(name)
        told = next(storage.list_objects(name)).modified_at
    finally:
        storage.delete(name)
    skew_s = max((before - told).total_seconds() - 1, (told - after).total_seconds(), 0.0)  # it may tell whole seconds
    found = f"create-only put, read, list and delete work in {root}; its clock is {skew_s:.0f} s off ours"
    if skew_s > SKEW_WARN_S:
        return "fail" if skew_s > SKEW_FAIL_S else "warn", f"{found}: set this machine's clock (chrony, ntp)"
    return "ok", found


def _nearest(root: str) -> str:
    """The folder itself, or the first above it that exists: a lake that is not there yet would be made in it."""
    if storage.is_remote(root):
        return root
    return str(next(folder for folder in (Path(root), *Path(root).parents) if folder.is_dir()))


def _lake(lake_root: str) -> Found:
    try:
        lake = Lake.open(lake_root)
    except SourceMissing:
        return "ok", "there is none yet; a backfill makes it"
    lake.check_columns()
    return "ok", f"version {lake.version('segments')} of segments"


def _encoder(config: Config) -> Found:
    found = check_model(config)
    text = f"{found['model_id']}: a clip in {found['clip_ms']:g} ms on the CPU; {found['lake']}"
    if "model" not in config.embed.model_fields_set:
        return "warn", f"{text}; it knows a toy world: set embed.model (configs/archive.yaml has one)"
    return "ok", text


def _gpu(config: Config) -> Found:
    try:
        device = resolve_device(config.embed.device)
    except BadModel as error:
        # a cluster's head need not have one
        return ("warn" if _is_elsewhere(config) else "fail"), error.message
    return "ok", f"embed.device={config.embed.device} takes {device} here"


def _prices(config: Config, source: str) -> Found:
    book = check_prices(config, [source or config.lake])
    return "ok", book.price_of(config.report.instance).describe(config.report.instance)


def _cores(config: Config) -> Found:
    all_of_them, ours = os.cpu_count() or 1, len(os.sched_getaffinity(0))
    if ours < all_of_them and not config.flow.num_cpus and not _is_elsewhere(config):
        return "warn", f"{ours} of {all_of_them} may be used: set flow.num_cpus={ours}"
    return "ok", f"{ours} of {all_of_them}"


def _shared_memory(config: Config) -> Found:
    """Clips travel through it; without enough Ray keeps them in files."""
    folder = Path("/dev/shm")
    if config.flow.engine == "local" or not folder.is_dir():
        return "ok", "not used"
    wanted = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * OBJECT_STORE)
    free = shutil.disk_usage(folder).free
    found = f"{size(free)} free in {folder}, Ray takes up to {size(wanted)}"
    if free < wanted:
        return "warn", f"{found}: give the container more (--shm-size)"
    return "ok", found


def _disks(config: Config) -> Iterator[str]:
    """Where a run writes on this machine: what is to do and what Ray spills; the lake, if it is a folder."""
    folders = [tempfile.gettempdir()]
    if not storage.is_remote(config.lake):
        folders.append(_nearest(storage.normalise(config.lake)))
    yield from dict.fromkeys(folders)


def _disk(folder: str) -> Found:
    usage = shutil.disk_usage(folder)
    found = f"{size(usage.free)} of {size(usage.total)} free"
    if usage.free < DISK_FAIL_BYTES:
        return "fail", f"{found}: a run needs more; make room or set TMPDIR"
    if usage.free < (1 - DISK_FULL) * usage.total:
        return "warn", f"{found}: Ray does not spill to a disk as full as this; make room"
    return "ok", found


def _is_elsewhere(config: Config) -> bool:
    """True if a cluster does the work, and this machine need not have what it takes."""
    return bool(config.flow.ray_address or "RAY_ADDRESS" in os.environ)
