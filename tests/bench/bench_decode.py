"""The decode room against a bare one-thread decode (L) of the same file in the same run: JSON lines.

`python tests/bench/bench_decode.py [--seconds 120] [--hours 24] [--runs 3] [--only NAME]`. Media: the clips of
../shared/media looped without re-encoding where they are present, else painted with a camera's noise. CPU seconds are
those of both processes, the child's start apart; each value is the median of `--runs` runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from shotlake import storage
from shotlake.config import DecodeConfig, EmbedConfig
from shotlake.decode.decoder import ClipDecoder
from shotlake.decode.probe import probe
from shotlake.decode.shots import ShotDetector
from shotlake.records import ClipBatch, ClipSpec, UnitOutcome, Video, WorkUnit, cell_count

MEDIA = Path(__file__).parents[2].parent / "shared" / "media"
SPEC = ClipSpec(10_000_000, 10_000_000, 16, 336, 336, 16_000)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
LONG_SIZE = (64, 48)


def loop(source: Path, target: Path, seconds: float) -> Path:
    """Copy the packets of the best streams again and again, each time a little behind the last."""
    with av.open(str(target), "w") as out:
        streams: dict[int, object] = {}
        base = Fraction(0)
        while base < seconds:
            with av.open(str(source)) as container:
                chosen = [s for s in map(container.streams.best, ("video", "audio")) if s is not None]
                streams = streams or {stream.index: out.add_stream_from_template(stream) for stream in chosen}
                end = base
                for packet in container.demux(*chosen):
                    if packet.dts is None:
                        continue
                    offset = round(base / packet.time_base)
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
            base = end + Fraction(1, 10)
    return target


def paint(target: Path, codec: str, size: tuple[int, int], seconds: float, options: dict[str, str]) -> Path:
    """A drifting pattern under a camera's noise, 25 frames a second."""
    random = np.random.default_rng(0)
    grain = random.normal(0, 6, (8, size[1], size[0]))
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    with av.open(str(target), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(round(25 * seconds)):
            luma = 128 + 60 * np.sin((across + 3 * number) / 40) * np.cos((down + number) / 30) + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.clip(luma, 0, 255).astype(np.uint8), "gray").reformat(
                format="yuv420p"
            )
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target


def make_media(folder: Path, seconds: float) -> dict[str, Path]:
    """The files of the table by their names."""
    x264 = {"preset": "veryfast", "bf": "3"}
    clips = {
        "720p": ("bear-1280x720.mp4", "libx264", (1280, 720), x264, seconds),
        "1080p": ("small_bunny_1080p_60fps.mp4", "libx264", (1920, 1080), x264, seconds),
        "hevc": ("bear-1280x720-hevc.mp4", "libx265", (1280, 720), {"preset": "ultrafast"}, seconds / 4),
        "vp9": ("testsrc2_vp9.webm", "libvpx-vp9", (1280, 720), {"cpu-used": "8"}, seconds / 4),
        # libav cannot copy an AV1 stream under its decoder's name, so this one is painted
        "av1": ("", "libsvtav1", (1280, 720), {"preset": "12", "crf": "18"}, seconds / 4),
    }
    made = {}
    for name, (clip, codec, size, options, length_s) in clips.items():
        target = folder / f"{name}.mp4"
        present = bool(clip) and (MEDIA / clip).is_file()
        made[name] = loop(MEDIA / clip, target, length_s) if present else paint(target, codec, size, length_s, options)
    return made


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


def unit_of(path: Path) -> WorkUnit:
    info = storage.stat(str(path))
    video = Video(info.uri, info.etag, info.size_bytes, datetime.now(UTC), "bench")
    with storage.open_object(info.uri, info.etag, info.size_bytes, storage.PROBE_BLOCK_BYTES) as reader:
        return WorkUnit(video, "key", 0, cell_count(probe(reader, DecodeConfig()).duration_us, SPEC))


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
        self.decoder = ClipDecoder(SPEC, DecodeConfig(policy=policy, clips_per_batch=4))
        list(self.decoder([warm_up]))

    def decode(self, unit: WorkUnit) -> Iterator[ClipBatch]:
        """The clips; afterwards `cpu_s` and `outcome` tell what they took."""
        pid = self.decoder.child_pid or os.getpid()
        began = time.process_time() + child_cpu_s(pid)
        for item in self.decoder([unit]):
            if isinstance(item, UnitOutcome):
                self.outcome = item
            else:
                yield item
        self.cpu_s = time.process_time() + child_cpu_s(pid) - began

    def ratio(self, path: Path, runs: int) -> float:
        """CPU seconds over L, the median of pairs measured one after the other."""
        ratios = []
        for _ in range(runs):
            limit_s = bare_cpu_s(path)
            for _ in self.decode(unit_of(path)):
                pass
            ratios.append(self.cpu_s / limit_s)
        return statistics.median(ratios)


def report(name: str, value: float, bound: float | None, sense: str = "max", **more: str) -> None:
    line = {"name": name, "file": more.get("file", ""), "value": round(value, 4), "bound": bound, "sense": sense}
    print(json.dumps(line | {"unit": more.get("unit", "CPU s / L"), "note": more.get("note", "")}), flush=True)


def bench_ratios(media: dict[str, Path], warm_up: WorkUnit, runs: int) -> None:
    bounds = {
        "exact": {"720p": 1.12, "1080p": 1.16, "hevc": 1.15, "vp9": 1.15, "av1": 1.15},
        "reference": {"720p": 0.80, "1080p": 0.84},
        "keyframes": {"720p": 0.10},
    }
    for policy, files in bounds.items():
        room = Room(policy, warm_up)
        for file, bound in files.items():
            report(f"decode.{policy}.{file}", room.ratio(media[file], runs), bound, file=media[file].name)
        room.decoder.close()


def bench_cosine(media: dict[str, Path]) -> None:
    """Mean cosine of the toy encoder's vectors of one policy to those of `exact`."""
    from shotlake.embed.load import load_encoder  # torch would count as the room's memory

    encoder, vectors = load_encoder(EmbedConfig()), {}
    unit = unit_of(media["720p"])
    unit = WorkUnit(unit.video, "key", 0, 10)
    for policy in ("exact", "reference", "keyframes"):
        items = ClipDecoder(encoder.clip_spec, DecodeConfig(policy=policy))([unit])
        batches = [item for item in items if not isinstance(item, UnitOutcome)]
        vectors[policy] = np.concatenate([encoder.embed_clips(batch)["fused"] for batch in batches])
    for policy, bound in (("reference", 0.98), ("keyframes", None)):
        cosine = float((vectors[policy] * vectors["exact"]).sum(axis=1).mean())
        report(f"decode.{policy}.cosine", cosine, bound, "min", file="720p.mp4", unit="cosine")


def bench_memory(media: dict[str, Path], warm_up: WorkUnit, hours: float, folder: Path) -> None:
    room = Room("exact", warm_up)
    pids = (os.getpid(), room.decoder.child_pid or os.getpid())
    peaks = {name: max(pss_mb(*pids) for _ in room.decode(unit_of(path))) for name, path in media.items()}
    worst = max(peaks, key=lambda name: peaks[name])
    report("decode.pss_mb", peaks[worst], 300, file=f"{worst}.mp4", unit="MB", note="this benchmark's own included")
    minute = paint(folder / "minute.mp4", "libx264", LONG_SIZE, 60, {"preset": "ultrafast", "bf": "2"})
    long = loop(minute, folder / "long.mp4", hours * 3600)
    seen = [pss_mb(*pids) for _ in room.decode(unit_of(long))]
    first = max(seen[: max(1, round(len(seen) / (6 * hours)))])
    growth = max(seen) / first - 1
    report("decode.pss_growth", growth, 0.05, file="long.mp4", unit="ratio", note=f"{hours:g} h, index included")
    room.decoder.close()


def bench_two_actors(path: Path, warm_up: WorkUnit) -> None:
    rooms = [Room("exact", warm_up) for _ in range(2)]

    def wall_s(*busy: Room) -> float:
        threads = [threading.Thread(target=lambda room=room: list(room.decode(unit_of(path)))) for room in busy]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    report("decode.two_actors", 2 * wall_s(rooms[0]) / wall_s(*rooms), 1.85, "min", file=path.name, unit="ratio")
    for room in rooms:
        room.decoder.close()


def bench_reading(media: dict[str, Path], warm_up: WorkUnit) -> None:
    room, shares = Room("reference", warm_up), {}
    for name, path in media.items():
        if path.stat().st_size > 10e6:
            for _ in room.decode(unit_of(path)):
                pass
            shares[name] = room.outcome.usage.bytes_read / path.stat().st_size
    room.decoder.close()
    for name, share in sorted(shares.items(), key=lambda item: item[1])[-1:]:
        report("decode.read_bytes", share, 1.02, file=f"{name}.mp4", unit="bytes / size", note="ranges as from a store")


def bench_shots(folder: Path) -> None:
    """F1 at +-0.2 s on films cut together from painted scenes."""
    random, hits, found_in_all, cuts_in_all = np.random.default_rng(3), 0, 0, 0
    for film in range(4):
        edges = np.cumsum([0, *random.uniform(1.0, 3.0, 12)])
        path = folder / f"film{film}.mp4"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
            for number in range(int(edges[-1] * 25)):
                shot = int(np.searchsorted(edges, number / 25, side="right"))
                blocks = np.random.default_rng([film, shot]).uniform(30, 220, (6, 10, 3))
                picture = np.roll(blocks.repeat(30, axis=0).repeat(32, axis=1), 2 * number, axis=1)
                pixels = np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")))
            out.mux(stream.encode(None))
        detector = ShotDetector()
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                detector.add(frame, round(frame.time * 1e6))
        detector.finish()
        found, cuts = np.array(detector.boundaries) / 1e6, edges[1:-1]
        hits += sum(bool((np.abs(found - cut) <= 0.2).any()) for cut in cuts)
        found_in_all, cuts_in_all = found_in_all + len(found), cuts_in_all + len(cuts)
    report("decode.shots.f1", 2 * hits / (found_in_all + cuts_in_all), 0.95, "min", file="painted", unit="F1")


def bench_peer(path: Path, warm_up: WorkUnit) -> None:
    """What most pipelines do: every frame as a full RGB array, then the wanted ones made small."""
    room = Room("reference", warm_up)
    for _ in room.decode(unit_of(path)):
        pass
    began = time.process_time()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            frame.to_ndarray(format="rgb24")
    report("peer.rgb", (time.process_time() - began) / room.cpu_s, None, file=path.name, unit="their CPU s / ours")
    room.decoder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="length of the H.264 files; the others a quarter")
    parser.add_argument("--hours", type=float, default=24, help="length of the file that memory must not grow with")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--only", default="", help="ratios | memory | actors | reading | shots | cosine | peer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as painter:  # encoders keep their memory
            media = painter.submit(make_media, folder, options.seconds).result()
            warm = painter.submit(paint, folder / "warm.mp4", "libx264", LONG_SIZE, 1, {}).result()
        warm_up = unit_of(warm)
        parts = {
            "ratios": lambda: bench_ratios(media, warm_up, options.runs),
            "memory": lambda: bench_memory(media, warm_up, options.hours, folder),
            "actors": lambda: bench_two_actors(media["720p"], warm_up),
            "reading": lambda: bench_reading(media, warm_up),
            "shots": lambda: bench_shots(folder),
            "cosine": lambda: bench_cosine(media),
            "peer": lambda: bench_peer(media["720p"], warm_up),
        }
        for part, run in parts.items():
            if options.only in ("", part):
                run()


if __name__ == "__main__":
    main()
