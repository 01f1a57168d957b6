"""Clips of the rendered world through the shipped encoder: vectors as a real model gives them, with captions to ask."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.embed.mini.examples import render_examples
from shotlake.embed.mini.windows import choose_kind, draw_window
from shotlake.records import ClipBatch
from shotlake.world.scenes import draw_thing

BATCH = 256
WORLD = 3  # the backgrounds of the demo's archive, which the encoder has not seen


def embed_world(n: int, folder: Path) -> tuple[Path, np.ndarray]:
    """A file in `folder` of `n` clips' fused vectors as float32, and those of the encoder's captions [Q, D].

    Clips are rendered and embedded by a process for each core, unless the file is there for these weights; every batch
    has a seed of its own, so that the number of processes changes nothing.
    """
    path = folder / f"mini-{mini().fingerprint.weights_sha256[:16]}-{n}.f32"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sizes = [min(BATCH, n - start) for start in range(0, n, BATCH)]
        unfinished = path.with_suffix(".part")
        with (
            unfinished.open("wb") as file,
            ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool,
        ):
            for vectors in pool.map(embed_batch, range(len(sizes)), sizes):
                vectors.tofile(file)
        unfinished.replace(path)
    return path, mini().embed_text(mini().captions())["fused"]


@cache
def mini() -> Encoder:
    """That of this process, on one thread."""
    torch.set_num_threads(1)
    return load_encoder(EmbedConfig(model="mini"))


def embed_batch(number: int, size: int) -> np.ndarray:
    """Fused vectors [size, D] of the clips of a batch."""
    return mini().embed_clips(render(size, np.random.default_rng([2_011, number])))["fused"]


def render(count: int, rng: np.random.Generator) -> ClipBatch:
    """So many clips of all kinds, as a decoder hands them over."""
    windows = [draw_window(choose_kind(rng), draw_thing, rng, WORLD, silent_ratio=0.1) for _ in range(count)]
    clips = render_examples(windows, rng)
    cell = np.arange(count)
    return ClipBatch(
        segment_id=cell.astype(str).astype(object),
        cell=cell,
        start_us=cell * 2_000_000,
        end_us=(cell + 1) * 2_000_000,
        frames=clips.frames,
        frame_mask=clips.frame_mask,
        frame_us=np.zeros(clips.frame_mask.shape, np.int64),
        waveform=clips.waveform,
        sample_mask=clips.sample_mask,
    )
