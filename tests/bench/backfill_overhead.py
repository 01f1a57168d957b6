"""What a backfill costs above its rooms: one through the command line, watched from outside, then its rooms bare.

A mark is set when a commit reaches the log of `segments`: CPU seconds of the whole tree of processes (driver, Ray's
daemons, actors, decoders), those of the whole machine, and the clock. The rooms run on the same units without Ray, in
as many processes beside each other as the machine has cores, because two decoders on one chip slow each other down.
CPU seconds count from the start of the program, since at any commit other units are half done: between two commits of
a run of some minutes that moved the ratio from 0.9 to 1.3.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from decode_media import MEDIA, loop, paint
from decode_room import TICK_S
from lines import report

from shotlake import storage
from shotlake.config import TableConfig, load_config
from shotlake.decode.decoder import ClipDecoder
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.embed.refuse import embed_or_refuse
from shotlake.flow.space import open_space
from shotlake.records import ClipBatch, UnitOutcome, Video, WorkUnit
from shotlake.report.meter import Meter
from shotlake.report.tree import ProcessTree
from shotlake.table.committer import Committer
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.outcomes import recover

FILE_S = 600.0
SAMPLE_S = 60.0
CLIP = "bear-1280x720.mp4"
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Mark:
    """A commit, and what had been used when it was there."""

    at_s: float
    cpu_s: float
    machine_cpu_s: float


def machine_cpu_s() -> float:
    """Of all programs since boot: user, nice, system, irq, softirq."""
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(fields[i] for i in (0, 1, 2, 5, 6)) * TICK_S


def has_rows(entry: Path) -> bool:
    return any("add" in json.loads(line) for line in entry.read_text().splitlines())


def watch(process: subprocess.Popen[bytes], lake: Path) -> list[Mark]:
    """A mark for each commit of data files until the process has ended."""
    log, marks, seen = lake / "tables" / "segments" / "_delta_log", [], set()
    tree = ProcessTree(process.pid)
    while process.poll() is None:
        cpu_s, machine_s = tree.cpu_s(), machine_cpu_s()
        for entry in sorted(set(log.glob("[0-9]*.json")) - seen):
            seen.add(entry)
            if has_rows(entry):
                marks.append(Mark(time.monotonic(), cpu_s, machine_s))
        time.sleep(POLL_S)
    return marks


def run_backfill(archive: Path, lake: Path) -> list[Mark]:
    options = ["--lake", str(lake), "--index", "never", "--json", "--set", "embed.model=mini"]
    command = [sys.executable, "-m", "shotlake.cli", "backfill", str(archive), *options]
    with (lake.parent / "backfill.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        marks = watch(process, lake)
    if process.returncode:
        raise RuntimeError((lake.parent / "backfill.log").read_text()[-2000:])
    return marks


def make_archive(folder: Path, minutes: float) -> tuple[Path, WorkUnit]:
    """A file of ten minutes under as many names as keep all cores busy for so long; and a unit to warm up with."""
    source = MEDIA / CLIP
    if not source.is_file():
        source = paint(folder / "clip.mp4", "libx264", (1280, 720), 3, {"preset": "veryfast", "bf": "3"})
    short = unit_of(loop(source, folder / "short.mp4", SAMPLE_S))
    bare_unit(short)
    decode_s, embed_s, _ = bare_unit(short)
    n = int(np.ceil(minutes * 60 * (os.cpu_count() or 1) / (decode_s + embed_s) * SAMPLE_S / FILE_S))
    (archive := folder / "archive").mkdir()
    long = loop(source, folder / "long.mp4", FILE_S)
    for number in range(n):
        os.link(long, archive / f"{number:04d}.mp4")
    return archive, short


def unit_of(path: Path) -> WorkUnit:
    """The cells of SAMPLE_S."""
    info, space = storage.stat(str(path)), open_space(load_config(None, [], {}))
    video = Video(info.uri, info.etag, info.size_bytes, info.modified_at, "bench")
    return WorkUnit(video, space.key, 0, round(SAMPLE_S * 1e6) // space.clip_spec.stride_us)


@cache
def rooms() -> tuple[ClipDecoder, Encoder]:
    """Those of this process."""
    config = load_config(None, [], {})
    return ClipDecoder(open_space(config).clip_spec, config.decode), load_encoder(config.embed)


def bare_unit(unit: WorkUnit) -> tuple[float, float, UnitOutcome]:
    """CPU seconds of decoding a unit and of embedding its clips, and its outcome."""
    decoder, encoder = rooms()
    tree = ProcessTree()
    used_s = tree.cpu_s()
    *clips, outcome = decoder([unit])
    decode_s = tree.cpu_s() - used_s
    assert isinstance(outcome, UnitOutcome)
    size, embedding = load_config(None, [], {}).embed.batch_size, Meter()
    whole = {name: np.concatenate([batch[name] for batch in clips]) for name in ClipBatch.__annotations__}
    for start in range(0, len(whole["cell"]), size):
        batch = ClipBatch(**{name: rows[start : start + size] for name, rows in whole.items()})
        with embedding:
            embed_or_refuse(encoder, batch)
    return decode_s, embedding.cpu_s, outcome


def bare_table(rows: pa.Table, outcomes: list[UnitOutcome], root: Path) -> float:
    """CPU seconds of writing and committing the rows."""
    lake = Lake.create_or_open(str(root))
    with Lease.acquire(lake.root, outcomes[0].unit.embed_key, "/bench", "bare") as lease:
        recover(lake, lease)
        with Meter() as meter:
            committer = Committer(lake, lease, "bare", TableConfig())
            committer.add(write_segments(lake.root, "bare", rows), outcomes)
            committer.close()
    return meter.cpu_s


def committed_units(lake: Lake) -> list[WorkUnit]:
    """Every unit of the lake."""
    names = ("uri", "etag", "size_bytes", "modified_at", "collection")
    videos = {row["video_id"]: Video(*(row[name] for name in names)) for row in lake.read("videos").to_pylist()}
    return [
        WorkUnit(videos[row["video_id"]], row["embed_key"], row["first_cell"], row["n_cells"])
        for row in lake.read("units").to_pylist()
    ]


def bench_overhead(folder: Path, minutes: float) -> None:
    """backfill.cpu_over_rooms and backfill.wall_efficiency."""
    archive, short = make_archive(folder, minutes)
    marks = run_backfill(archive, folder / "lake")
    if len(marks) < 3:
        raise RuntimeError(f"{len(marks)} commits are too few; ask for more --minutes")
    lake, cores = Lake.open(str(folder / "lake")), os.cpu_count() or 1
    units = committed_units(lake)
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), bare_unit, (short,)) as pool:
        bare = dict(zip(units, pool.map(bare_unit, units)))
    rows, outcomes = lake.read("segments"), [outcome for _, _, outcome in bare.values()]
    table_s = bare_table(rows, outcomes, folder / "bare")
    rooms_s = sum(decode_s + embed_s for decode_s, embed_s, _ in bare.values()) + table_s
    first, last = marks[0], marks[-1]
    wall_s, cpu_s = last.at_s - first.at_s, last.cpu_s - first.cpu_s
    others = (last.machine_cpu_s - first.machine_cpu_s - cpu_s) / cores / wall_s
    note = (
        f"{last.cpu_s:.0f} from the program's start to its last commit, {first.cpu_s:.0f} of them before the first; "
        f"the rooms {rooms_s:.0f}; {wall_s:.0f} s from the first commit to the last, {cores} cores, {len(units)} units "
        f"in {len(marks)} commits; other programs had {others:.0%} of the cores"
    )
    report("backfill.cpu_over_rooms", last.cpu_s / rooms_s, 1.15, unit="CPU s / CPU s", note=note)
    report("backfill.wall_efficiency", cpu_s / cores / wall_s, 0.85, "min", unit="CPU s / (cores x wall s)", note=note)
