"""A backfill whose videos are only names: what their containers hold is told, everything else is done.

Listing, comparing, planning, blocks through Ray, data files, commits and books are the job's own code. In place of the
probe and of the decoder stand two that open nothing; the encoder gives a vector of two numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from shotlake.config import DecodeConfig, EmbedConfig, load_config
from shotlake.flow import pools
from shotlake.flow.steps import Batch, DecodeUnits
from shotlake.records import (
    ClipBatch,
    ClipSpec,
    Fingerprint,
    MediaInfo,
    QueryVectors,
    Space,
    UnitOutcome,
    Usage,
    VectorBatch,
    WorkUnit,
    media_to_json,
    segment_id,
)
from shotlake.table.lake import Lake

WINDOW_US = 5_000_000
SPEC = ClipSpec(WINDOW_US, WINDOW_US, n_frames=1, width_px=1, height_px=1, sample_rate_hz=1)
MEDIA = MediaInfo("mov,mp4,m4a,3gp,3g2,mj2", WINDOW_US, "h264", "aac", 1280, 720, 25.0, 48_000, 2)
UNITS_A_BLOCK = 120
A_FOLDER = 1_000


def name_videos(root: Path, n: int) -> None:
    """`n` empty files in folders of a thousand."""
    for folder in range(0, n, A_FOLDER):
        path = root / f"{folder:09d}"
        path.mkdir(parents=True)
        for number in range(folder, min(n, folder + A_FOLDER)):
            os.close(os.open(path / f"{number:09d}.mp4", os.O_CREAT | os.O_WRONLY))


def told_probe(batch: Batch, config: DecodeConfig) -> Batch:
    """What `steps.probe_batch` gives."""
    media, usage = media_to_json(MEDIA), json.dumps(asdict(Usage()))
    same = {"media": media, "code": "", "message": "", "usage": usage}
    n_units = len(batch["unit"])
    return {"unit": batch["unit"]} | {name: np.full(n_units, text, dtype=object) for name, text in same.items()}


class ToldDecoder:
    """One clip of one pixel for each cell of a unit, then that all is well."""

    def close(self) -> None:
        """Nothing is held."""

    def __call__(self, units: list[WorkUnit]) -> Iterator[ClipBatch | UnitOutcome]:
        for unit in units:
            cells = unit.first_cell + np.arange(unit.n_cells)
            yield ClipBatch(
                segment_id=np.array(
                    [segment_id(unit.video.video_id, int(cell), unit.embed_key) for cell in cells], dtype=object
                ),
                cell=cells,
                start_us=cells * WINDOW_US,
                end_us=(cells + 1) * WINDOW_US,
                frames=np.zeros((len(cells), 1, 1, 1, 3), np.uint8),
                frame_mask=np.ones((len(cells), 1), bool),
                frame_us=(cells * WINDOW_US)[:, None],
                waveform=np.zeros((len(cells), SPEC.n_samples), np.float32),
                sample_mask=np.ones((len(cells), SPEC.n_samples), bool),
            )
            covered_us = len(cells) * WINDOW_US
            yield UnitOutcome(unit, "ok", len(cells), len(cells), media=MEDIA, covered_us=covered_us)


class DecodeTold(DecodeUnits):
    """The step itself around that decoder; a block's rows leave it together."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.decoder = ToldDecoder()  # type: ignore[assignment]

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        parts = list(super().__call__(batch))
        yield {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class ToldEncoder:
    """Two numbers for every clip."""

    def __init__(self, config: EmbedConfig, device: str) -> None:
        self.clip_spec, self.dim = SPEC, 2
        self.spaces: tuple[Space, ...] = ("fused",)
        self.fingerprint = Fingerprint("told", "", hashlib.sha256(b"told").hexdigest(), "")

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        n = len(batch["cell"])
        vectors, norms = np.full((n, 2), np.sqrt(0.5), np.float32), np.ones(n, np.float32)
        none, no_norm = np.zeros((n, 2), np.float32), np.zeros(n, np.float32)
        return VectorBatch(
            segment_id=batch["segment_id"], fused=vectors, fused_norm=norms, visual=none, visual_norm=no_norm,
            audio=none, audio_norm=no_norm,
        )  # fmt: skip

    def embed_text(self, texts: list[str]) -> QueryVectors:
        return {"fused": np.full((len(texts), 2), np.sqrt(0.5), np.float32)}

    @property
    def match_score(self) -> float | None:
        return None

    def captions(self) -> list[str]:
        return []


def status_mb(name: str) -> float:
    """A line of this process's /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main(archive: str, lake: str) -> None:
    """The driver: one backfill of the named videos; what its memory came to, as JSON."""
    from shotlake.flow.backfill import backfill  # its actors import this module, and need less

    pools.probe_batch, pools.DecodeUnits = told_probe, DecodeTold  # type: ignore[misc, assignment]
    sets = {
        "lake": lake,
        "embed.model": f"python:{Path(__file__).stem}.{ToldEncoder.__name__}",
        "catalog.block_s": UNITS_A_BLOCK * WINDOW_US / 1e6,
        "flow.num_cpus": os.cpu_count(),
    }
    config = load_config(None, [f"{key}={value}" for key, value in sets.items()], {})
    begun, waves = time.monotonic(), []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "probe" and done:
            waves.append(round(status_mb("VmRSS")))
            print(f"wave {len(waves)}: {waves[-1]} MiB after {time.monotonic() - begun:.0f} s", file=sys.stderr)

    report = backfill([archive], config, progress, build=False)
    assert report.ledger.balanced and report.ledger.videos["indexed"] == report.ledger.videos["listed"]
    assert Lake.open(lake).dataset("pooled").count_rows(pc.field("kind") == "video") == report.ledger.videos["indexed"]
    found = {"videos": report.ledger.videos["indexed"], "peak_mb": status_mb("VmHWM"), "anon_mb": status_mb("RssAnon")}
    print(json.dumps(found | {"wall_s": time.monotonic() - begun, "waves_mb": waves}))


if __name__ == "__main__":
    main(*sys.argv[1:])
