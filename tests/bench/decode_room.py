"""What the decode benchmark measures with: the limit L, a warm decoder, and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import av

from shotlake import storage
from shotlake.config import DecodeConfig
from shotlake.decode.child import READ_BYTES
from shotlake.decode.decoder import ClipDecoder
from shotlake.decode.probe import probe
from shotlake.records import ClipBatch, ClipSpec, UnitOutcome, Video, WorkUnit, cell_count

SPEC = ClipSpec(10_000_000, 10_000_000, 16, 336, 336, 16_000)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
LONG_SIZE = (64, 48)
INPUT_MB = 4 * (storage.BLOCK_BYTES + READ_BYTES) / 2**20  # blocks that the readers of actor and child hold


def bare_cpu_s(path: Path) -> float:
    """L: one thread, every frame of both streams, nothing done with them."""
    began = time.process_time()
    with av.open(str(path)) as container:
        streams = [s for s in map(container.streams.best, ("video", "audio")) if s is not None]
        for stream in streams:
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
        for packet in container.demux(*streams):
            packet.decode()
    return time.process_time() - began


def unit_of(uri: Path | str) -> WorkUnit:
    info = storage.stat(str(uri))
    video = Video(info.uri, info.etag, info.size_bytes, datetime.now(UTC), "bench")
    with storage.open_object(info.uri, info.etag, info.size_bytes, storage.PROBE_BLOCK_BYTES) as reader:
        return WorkUnit(video, "key", 0, cell_count(probe(reader, DecodeConfig()).duration_us, SPEC))


def length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return container.duration / 1e6


def child_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def pss_mb(*pids: int) -> float:
    """Memory of the processes, what they share counted once."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


class Room:
    """A decoder with its child, warm, and what it uses."""

    def __init__(self, policy: str, warm_up: WorkUnit) -> None:
        self.decoder = ClipDecoder(SPEC, DecodeConfig(policy=policy))
        list(self.decoder([warm_up]))

    def decode(self, unit: WorkUnit) -> Iterator[ClipBatch]:
        """The clips; afterwards `cpu_s` and `outcome` tell what they took."""
        pid = self.decoder.child_pid or os.getpid()
        began = time.thread_time() + child_cpu_s(pid)
        for item in self.decoder([unit]):
            if isinstance(item, UnitOutcome):
                self.outcome = item
            else:
                yield item
        self.cpu_s = time.thread_time() + child_cpu_s(pid) - began

    def run(self, unit: WorkUnit) -> float:
        """CPU seconds of all of it."""
        for _ in self.decode(unit):
            pass
        return self.cpu_s

    def ratio(self, path: Path, runs: int) -> float:
        """CPU seconds over L."""
        unit = unit_of(path)
        pairs = [(self.run(unit), bare_cpu_s(path)) for _ in range(runs)]
        ours, limit = (min(side) for side in zip(*pairs))
        return ours / limit
