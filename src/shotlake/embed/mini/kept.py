"""Clips and captions that were rendered and read once: their states, for a training that learns from those alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.mini.examples import as_tensors, draw_windows, render_training
from shotlake.embed.mini.files import load_weights
from shotlake.embed.mini.losses import read_by_length, told
from shotlake.embed.mini.model import MiniModel
from shotlake.embed.mini.split import drawer
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.windows import WINDOW_S, Window, add_sliver
from shotlake.world.captions import Caption, partial_caption, write_caption
from shotlake.world.scenes import Shown

DRAWN = 64  # clips that are drawn and fused together
_N_PARTS = 2  # partial captions of a clip
_SLIVER_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Kept:
    """States of N clips with what each shows and for how long, and of M captions with what they claim."""

    clips_NSD: Tensor
    shown: tuple[Shown, ...]
    seconds: NDArray[np.float32]  # [N, 2] of the first and of the last shot; of one shot twice the whole window
    captions_MSD: Tensor
    claims: tuple[Shown, ...]


def keep_many(weights: Path, n_clips: int, seed: int, n_processes: int) -> Kept:
    """At least `n_clips` of training, by processes of one thread each; the same for the same seed. Errors: BadModel."""
    model, words = load_weights(weights)  # errors come from here and not out of another process
    seeds = [(seed, 5, number) for number in range(-(-n_clips // DRAWN))]
    if n_processes == 1:
        tokenizer = Tokenizer(words, model.shape.max_words)
        return join([keep(model, tokenizer, seed) for seed in seeds])
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _open, (weights,)) as pool:
        return join(list(pool.map(_keep, seeds, chunksize=4)))


_opened: tuple[MiniModel, Tokenizer]


def _open(weights: Path) -> None:
    global _opened
    torch.set_num_threads(1)
    model, words = load_weights(weights)
    _opened = model, Tokenizer(words, model.shape.max_words)


def _keep(seed: Sequence[int]) -> Kept:
    return keep(*_opened, seed)


@torch.no_grad()
def keep(model: MiniModel, tokenizer: Tokenizer, seed: Sequence[int]) -> Kept:
    """`DRAWN` clips as training sees them and captions of them, as states in float16; the same for the same seed."""
    rng = np.random.default_rng(seed)
    windows = draw_kept(rng)
    examples = render_training(windows, rng)
    captions = [caption for shown in examples.shown for caption in write_kept(shown, rng)]
    return Kept(
        model.fuse(model.tokens(*as_tensors(examples))).half(),
        examples.shown,
        np.array([_seconds(*pair) for pair in zip(examples.shown, windows, strict=True)], np.float32),
        read_by_length(model, tokenizer, [caption.text for caption in captions]).half(),
        tuple(caption.claims for caption in captions),
    )


def draw_kept(rng: np.random.Generator) -> list[Window]:
    """Windows of training; some of those of one scene have a sliver of another at an edge."""
    draw = drawer("train")
    windows = draw_windows(draw, DRAWN, rng)
    return [
        add_sliver(window, draw, rng) if len(window) == 1 and rng.random() < _SLIVER_SHARE else window
        for window in windows
    ]


def _seconds(shown: Shown, window: Window) -> tuple[float, float]:
    return (window[0][1], window[1][1]) if len(shown) == 2 else (WINDOW_S, WINDOW_S)


def write_kept(shown: Shown, rng: np.random.Generator) -> list[Caption]:
    """Of what a clip tells the whole and parts, and the same of each shot if it has two."""
    shots = told(shown)
    pieces = [shots, *((shot,) for shot in shots)] if len(shots) == 2 else [shots] if shots else []
    captions = [write_caption(piece, rng) for piece in pieces]
    return captions + [part for piece in pieces for _ in range(_N_PARTS) if (part := partial_caption(piece, rng))]


def join(parts: Sequence[Kept]) -> Kept:
    """All of them, one behind the other."""
    return Kept(
        torch.cat([part.clips_NSD for part in parts]),
        tuple(shown for part in parts for shown in part.shown),
        np.concatenate([part.seconds for part in parts]),
        torch.cat([part.captions_MSD for part in parts]),
        tuple(claims for part in parts for claims in part.claims),
    )
