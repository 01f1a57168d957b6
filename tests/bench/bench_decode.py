"""The decode room against a bare one-thread decode (L) of the same file in the same run: JSON lines.

`python tests/bench/bench_decode.py [--seconds 60] [--hours 24] [--runs 3] [--only NAME]`. Media: the clips of
../shared/media looped without re-encoding where they are present, else painted with a camera's noise. CPU seconds are
those of both processes, the child's start apart. Ours and L take turns, and the least of each counts: what other
programs add to one run they do not take from the next.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from decode_media import MEDIA, film_of_clips, loop, make_media, paint, painted_film
from decode_peers import ask_peer, peer_python, reencode_cpu_s
from decode_room import INPUT_MB, LONG_SIZE, Room, bare_cpu_s, length_s, pss_mb, unit_of
from lines import absent, report

from shotlake import storage
from shotlake.config import DecodeConfig, EmbedConfig
from shotlake.decode.decoder import ClipDecoder
from shotlake.decode.shots import ShotDetector
from shotlake.records import UnitOutcome, WorkUnit, cell_count

S3 = {
    "AWS_ACCESS_KEY_ID": "testkey",
    "AWS_SECRET_ACCESS_KEY": "testsecret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


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


def bench_cosine(media: dict[str, Path], folder: Path) -> None:
    """Mean cosine of the toy encoder's vectors of one policy to those of `exact`."""
    from shotlake.embed.load import load_encoder  # torch would count as the room's memory

    encoder, films = load_encoder(EmbedConfig()), {"720p.mp4": media["720p"]}
    if MEDIA.is_dir():
        films["clips.mp4"] = folder / "clips.mp4"
        film_of_clips(films["clips.mp4"])
    for file, path in films.items():
        vectors = {}
        n_cells = min(20, cell_count(round(length_s(path) * 1e6), encoder.clip_spec))
        unit = WorkUnit(unit_of(path).video, "key", 0, n_cells)
        for policy in ("exact", "reference", "keyframes"):
            items = ClipDecoder(encoder.clip_spec, DecodeConfig(policy=policy))([unit])
            batches = [item for item in items if not isinstance(item, UnitOutcome)]
            vectors[policy] = np.concatenate([encoder.embed_clips(batch)["fused"] for batch in batches])
        for policy, bound in (("reference", 0.98), ("keyframes", None)):
            cosine = float((vectors[policy] * vectors["exact"]).sum(axis=1).mean())
            report(f"decode.{policy}.cosine", cosine, bound, "min", file=file, unit="cosine")


def bench_memory(media: dict[str, Path], warm_up: WorkUnit) -> None:
    room = Room("exact", warm_up)
    pids = (os.getpid(), room.decoder.child_pid or os.getpid())
    peaks = {name: max(pss_mb(*pids) for _ in room.decode(unit_of(path))) for name, path in media.items()}
    worst = max(peaks, key=lambda name: peaks[name])
    note = f"{INPUT_MB:.0f} MB of input apart; this benchmark's own included"
    report("decode.pss_mb", peaks[worst] - INPUT_MB, 300, file=f"{worst}.mp4", unit="MB", note=note)
    room.decoder.close()


def bench_growth(long: Path, warm_up: WorkUnit, hours: float) -> None:
    """Memory while a long file is decoded, against that after its first ten minutes (with its index)."""
    room = Room("exact", warm_up)
    pids = (os.getpid(), room.decoder.child_pid or os.getpid())
    seen = [(batch["end_us"][-1] / 60e6, pss_mb(*pids)) for batch in room.decode(unit_of(long))]
    first = max(mb for minute, mb in seen if minute <= 10)
    peak = max(mb for _, mb in seen)
    note = f"{hours:g} h at 30 frames a second; {peak:.0f} MB at the most, index included"
    report("decode.pss_growth", peak / first - 1, 0.05, file=long.name, unit="ratio", note=note)
    room.decoder.close()


def bench_two_actors(path: Path, warm_up: WorkUnit) -> None:
    """Throughput of two over one; beside it that of two bare decodes, which is what the machine's cores allow."""
    rooms, unit = [Room("exact", warm_up) for _ in range(2)], unit_of(path)

    def wall_s(works: list[Callable[[], object]]) -> float:
        threads = [threading.Thread(target=work) for work in works]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        bare = [lambda: pool.submit(bare_cpu_s, path).result()] * 2
        wall_s(bare)
        one, two = [], []
        for _ in range(2):
            one.append((wall_s(bare[:1]), wall_s([lambda: rooms[0].run(unit)]), rooms[0].cpu_s))
            two.append((wall_s(bare), wall_s([lambda room=room: room.run(unit) for room in rooms]), rooms[0].cpu_s))
    (bare_1, ours_1, cpu_1), (bare_2, ours_2, cpu_2) = (map(min, zip(*runs)) for runs in (one, two))
    note = (
        f"two bare decodes: {2 * bare_1 / bare_2:.2f}; CPU s of an actor beside another over alone: {cpu_2 / cpu_1:.2f}"
    )
    report("decode.two_actors", 2 * ours_1 / ours_2, 1.85, "min", file=path.name, unit="ratio", note=note)
    for room in rooms:
        room.decoder.close()


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """moto on loopback; the URI of an empty bucket."""
    log = folder / "moto.log"
    server = Path(__file__).parents[2] / ".venv-s3" / "bin" / "moto_server"
    with log.open("wb") as out, subprocess.Popen([server, "-p", "0"], stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            while "http://127.0.0.1:" not in (text := log.read_text()):
                time.sleep(0.1)
            address = "http://127.0.0.1:" + text.split("http://127.0.0.1:")[1].split()[0]
            os.environ.update(S3, AWS_ENDPOINT_URL=address)
            request = urllib.request.Request(f"{address}/bench", method="PUT")
            request.add_header(
                "Authorization", "AWS4-HMAC-SHA256 Credential=testkey/20260101/us-east-1/s3/aws4_request"
            )
            urllib.request.urlopen(request).close()
            yield "s3://bench"
        finally:
            process.terminate()


def bench_reading(media: dict[str, Path], warm_up: WorkUnit, folder: Path) -> None:
    """Bytes of a full pass from S3, of small objects and of one that is streamed; those of a preview from a disk."""
    large = folder / "large.mp4"
    while not large.exists() or large.stat().st_size < 70e6:
        loop(media["1080p"], large, 1.5 * length_s(large if large.exists() else media["1080p"]))
    files = {name: path for name, path in {**media, "large": large}.items() if path.stat().st_size > 10e6}
    if not (Path(__file__).parents[2] / ".venv-s3" / "bin" / "moto_server").exists():
        absent("decode.read_bytes", "no .venv-s3; `make test` installs it")
        return
    with s3_server(folder) as bucket:
        room, shares = Room("reference", warm_up), {}
        for name, path in files.items():
            storage.upload(path, f"{bucket}/{name}.mp4")
            room.run(unit_of(f"{bucket}/{name}.mp4"))
            shares[name] = room.outcome.usage.bytes_read / path.stat().st_size, room.outcome.usage.requests
        room.decoder.close()
    worst = max(shares, key=lambda name: shares[name])
    note = f"a full pass from S3 (moto), {shares[worst][1]} requests"
    report("decode.read_bytes", shares[worst][0], 1.02, file=f"{worst}.mp4", unit="bytes / size", note=note)


def boundaries(path: Path) -> np.ndarray:
    """Our shot boundaries in seconds."""
    detector = ShotDetector()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            detector.add(frame, round(frame.time * 1e6))
    detector.finish()
    return np.array(detector.boundaries) / 1e6


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    """F1 at +-0.2 s, each truth hit once."""
    hits = sum(bool((np.abs(found - cut) <= 0.2).any()) for cut in truth)
    return 2 * hits / max(1, len(found) + len(truth))


def bench_shots(folder: Path) -> None:
    scores = []
    for film in range(4):
        path = folder / f"film{film}.mp4"
        cuts = painted_film(path, film)
        scores.append(f1(boundaries(path), np.array(cuts)))
    report("decode.shots.f1", float(np.mean(scores)), 0.95, "min", file="painted", unit="F1")
    python = peer_python()
    if python is None or not MEDIA.is_dir():
        absent("decode.shots.agreement", "no PySceneDetect" if python is None else "no ../shared/media")
        return
    path = folder / "clips.mp4"
    film_of_clips(path)
    ours, theirs = boundaries(path), np.array(ask_peer(python, "shots", path)["cuts_s"])
    note = f"with AdaptiveDetector: {len(ours)} boundaries of ours, {len(theirs)} of theirs"
    report("decode.shots.agreement", f1(ours, theirs), None, "min", file=path.name, unit="F1", note=note)


def bench_peers(path: Path, warm_up: WorkUnit, folder: Path) -> None:
    room, unit = Room("reference", warm_up), unit_of(path)
    ours_s = min(room.run(unit) for _ in range(2))
    room.decoder.close()
    python = peer_python()
    for name, what in (("peer.pyscenedetect", "shots"), ("peer.rgb_cv2", "frames")):
        if python is None:
            absent(name, "PySceneDetect and OpenCV cannot be installed here")
        else:
            cpu_s = ask_peer(python, what, path)["cpu_s"]
            report(name, cpu_s / ours_s, None, file=path.name, unit="their CPU s / ours", note="pictures only")
    cpu_s, by = reencode_cpu_s(path, folder)
    report("peer.chunk_reencode", cpu_s / ours_s, None, file=path.name, unit="their CPU s / ours", note=f"by {by}")


def make_all(folder: Path, seconds: float, hours: float) -> tuple[dict[str, Path], Path, Path]:
    """The files of the table, a short one to warm up with, and the long one."""
    options = {"preset": "ultrafast", "bf": "2"}
    warm = paint(folder / "warm.mp4", "libx264", LONG_SIZE, 1, {})
    minute = paint(folder / "minute.mp4", "libx264", LONG_SIZE, 600, options, 30) if hours else warm
    long = loop(minute, folder / "long.mp4", hours * 3600) if hours else warm
    return make_media(folder, seconds), warm, long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="length of the H.264 files; the others a quarter")
    parser.add_argument("--hours", type=float, default=24, help="length of the file that memory must not grow with")
    parser.add_argument("--runs", type=int, default=3, help="runs of ours and of L, of which the least count")
    parser.add_argument(
        "--only", default="", help="ratios | memory | growth | actors | reading | shots | cosine | peers"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hours = options.hours if options.only in ("", "growth") else 0
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as painter:  # encoders keep their memory
            media, warm, long = painter.submit(make_all, folder, options.seconds, hours).result()
        warm_up = unit_of(warm)
        parts = {
            "memory": lambda: bench_memory(media, warm_up),
            "ratios": lambda: bench_ratios(media, warm_up, options.runs),
            "actors": lambda: bench_two_actors(media["720p"], warm_up),
            "growth": lambda: bench_growth(long, warm_up, options.hours),
            "reading": lambda: bench_reading(media, warm_up, folder),
            "shots": lambda: bench_shots(folder),
            "peers": lambda: bench_peers(media["720p"], warm_up, folder),
            "cosine": lambda: bench_cosine(media, folder),
        }
        for part, run in parts.items():
            if options.only in ("", part):
                run()


if __name__ == "__main__":
    main()
