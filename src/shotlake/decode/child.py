"""The decoder's child process: libav works here, where a crash costs one unit and there is nothing to steal.

No credentials in the environment, no file and no socket can be opened (no free descriptor), memory is limited. It asks
its parent for bytes, which come through shared memory, and puts clips there; the parent reads plain JSON from it, never
pickles.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import pkgutil
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, cast

import av
import numpy as np

from shotlake.config import DecodeConfig
from shotlake.decode.accelerate import accelerator
from shotlake.decode.probe import probe
from shotlake.decode.run import Empty, clips_together, decode_run
from shotlake.errors import (
    AccessDenied,
    MediaError,
    NotFound,
    OutOfMemory,
    ShotlakeError,
    SourceChanged,
    StoreError,
    Unavailable,
)
from shotlake.records import (
    ClipBatch,
    ClipSpec,
    UnitOutcome,
    Video,
    WorkUnit,
    media_to_json,
    work_unit_from_tree,
)
from shotlake.storage import PROBE_BLOCK_BYTES, ObjectReader

OK, REFUSED = b"+", b"-"  # first byte of the parent's answers
EXIT_OUT_OF_MEMORY = 86
READ_BYTES = 1 << 20  # the child asks for; the parent has larger blocks at hand
_BEAT_S = 1.0
_STORE_ERRORS = {cls.code: cls for cls in (StoreError, NotFound, Unavailable, SourceChanged, AccessDenied)}


def shared_bytes(config: DecodeConfig, spec: ClipSpec | None) -> int:
    """Room for a batch, or for what is read at once."""
    if spec is None:
        return READ_BYTES
    clips = clips_together(spec, config)
    picture = spec.n_frames * (spec.height_px * spec.width_px * 3 + 8 + 1)
    return max(READ_BYTES, clips * (picture + spec.n_samples * 5 + 3 * 8) + 64 * len(ClipBatch.__annotations__))


def empty_in(memory: mmap.mmap) -> Empty:
    """np.empty for the frames of the next batch: where `pack` wants them."""
    return lambda shape, dtype: np.ndarray(shape, dtype, memory)


def pack(batch: ClipBatch, memory: mmap.mmap) -> dict[str, list[Any]]:
    """Copy the arrays into `memory`, frames first if they do not lie there already; the table of contents."""
    contents: dict[str, list[Any]] = {"segment_id": list(batch["segment_id"])}
    offset = 0
    for name in ("frames", *(name for name in batch if name not in ("frames", "segment_id"))):
        array = np.ascontiguousarray(batch[name])  # type: ignore[literal-required]
        place = np.ndarray(array.shape, array.dtype, memory, offset)
        if place.ctypes.data != array.ctypes.data:
            place[...] = array
        contents[name] = [array.dtype.str, list(array.shape), offset]
        offset += -(-array.nbytes // 64) * 64
    return contents


def unpack(contents: dict[str, list[Any]], memory: mmap.mmap) -> ClipBatch:
    """The batch that `pack` left in `memory`, copied."""
    batch = {"segment_id": np.array(contents.pop("segment_id"), object)}
    for name, (dtype, shape, offset) in contents.items():
        batch[name] = np.ndarray(shape, np.dtype(dtype), memory, offset).copy()
    return cast(ClipBatch, batch)


class _Parent:
    """The other end of the line, and the memory that is shared with it."""

    def __init__(self, connection: Connection, memory: mmap.mmap) -> None:
        self._connection, self._memory = connection, memory
        self._beat_at = time.monotonic()

    def receive(self) -> Any:
        return json.loads(self._connection.recv_bytes())

    def send(self, **message: Any) -> None:
        self._connection.send_bytes(json.dumps(message).encode())
        self._beat_at = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._beat_at > _BEAT_S:
            self.send(beat=True)

    def fetch(self, start: int, end: int) -> bytes:
        self.send(read=[start, end])
        answer = self._connection.recv_bytes()
        if answer[:1] == OK:
            return self._memory[: int(answer[1:])]
        refusal = json.loads(answer[1:])
        raise _STORE_ERRORS.get(refusal["code"], StoreError)(refusal["message"])

    def wait_until_copied(self) -> None:
        self._connection.recv_bytes()


class _ParentReader(ObjectReader):
    """An object whose bytes come from the parent; every read of libav is a sign of life."""

    def __init__(self, parent: _Parent, size_bytes: int, block_bytes: int = READ_BYTES) -> None:
        super().__init__(parent.fetch, size_bytes, block_bytes)
        self._parent = parent

    def read(self, size: int = -1) -> bytes:
        self._parent.beat()
        return super().read(size)

    def _hash_on(self) -> None:
        """Left to the parent, whose word counts."""


def main() -> None:
    """Do what the parent asks until it goes away. argv: connection fd, memory fd, settings as JSON."""
    settings = json.loads(sys.argv[3])
    memory = mmap.mmap(int(sys.argv[2]), settings["shared_bytes"])
    parent = _Parent(Connection(int(sys.argv[1])), memory)
    config = DecodeConfig(**settings["config"])
    spec = ClipSpec(**settings["clip_spec"]) if settings["clip_spec"] else None
    _lock_in(config)
    parent.send(ready=True)
    try:
        while True:
            _serve(parent, memory, spec, config)
    except (EOFError, OSError):
        return
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


def _serve(parent: _Parent, memory: mmap.mmap, spec: ClipSpec | None, config: DecodeConfig) -> None:
    request = parent.receive()
    try:
        if spec is None:
            codes = {_probe(parent, request["size_bytes"], config)}
        else:
            units = [work_unit_from_tree(tree) for tree in request["units"]]
            codes = set(_decode(units, parent, memory, spec, config))
    except ShotlakeError as error:  # of the store: the parent knows why
        parent.send(abort=error.message)
    else:
        parent.send(done=True, spent=OutOfMemory.code in codes)


def _probe(parent: _Parent, size_bytes: int, config: DecodeConfig) -> str:
    """Tell what the object is, or why not; its code."""
    began = time.thread_time()
    answer: dict[str, Any] = {}
    try:
        answer["media"] = media_to_json(probe(_ParentReader(parent, size_bytes, PROBE_BLOCK_BYTES), config))
    except MediaError as error:
        answer |= {"code": error.code, "message": error.message}
    parent.send(**answer, cpu_s=time.thread_time() - began)
    return str(answer.get("code", ""))


def _decode(
    units: list[WorkUnit], parent: _Parent, memory: mmap.mmap, spec: ClipSpec, config: DecodeConfig
) -> Iterator[str]:
    """Send the clips of the units and what became of each; its code."""

    def open_reader(video: Video) -> ObjectReader:
        return _ParentReader(parent, video.size_bytes)

    for item in decode_run(units, spec, config, open_reader, empty_in(memory)):
        if isinstance(item, UnitOutcome):
            parent.send(outcome=item.to_json())
            yield item.code
        else:
            parent.send(batch=pack(item, memory))
            parent.wait_until_copied()


def _lock_in(config: DecodeConfig) -> None:
    """From here on: no core dump, so much memory, no further file or socket; the last two where no GPU is in use."""
    for module in pkgutil.walk_packages(av.__path__, "av."):  # PyAV imports half of itself when it is first needed
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if accelerator(config) is not None:  # CUDA opens devices when it likes, and reserves addresses by the terabyte
        return
    if config.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (config.memory_bytes, config.memory_bytes))
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, highest + 1))
    with suppress(OSError):
        while True:  # fill the gaps below
            os.dup(0)


if __name__ == "__main__":
    main()
