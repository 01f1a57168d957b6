"""The shipped encoder, and clips of the rendered world as the decoder would hand them over."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.embed.mini.examples import Examples, render_examples
from shotlake.embed.mini.split import drawer
from shotlake.embed.mini.windows import draw_window
from shotlake.records import ClipBatch


def as_batch(examples: Examples) -> ClipBatch:
    n_clips = len(examples.shown)
    start_us = np.arange(n_clips) * 2_000_000
    return ClipBatch(
        segment_id=np.array([f"segment-{number}" for number in range(n_clips)], object),
        cell=np.arange(n_clips),
        start_us=start_us,
        end_us=start_us + 2_000_000,
        frames=examples.frames,
        frame_mask=examples.frame_mask,
        frame_us=np.zeros(examples.frame_mask.shape, np.int64),
        waveform=examples.waveform,
        sample_mask=examples.sample_mask,
    )


def _draw_batch(rows: Sequence[int]) -> ClipBatch:
    draw = drawer("train")
    windows = [draw_window("single", draw, np.random.default_rng(row)) for row in rows]
    return as_batch(render_examples(windows, np.random.default_rng(0)))


@pytest.fixture
def draw_batch() -> Callable[[Sequence[int]], ClipBatch]:
    """Seeds of scenes to a batch that the test may damage."""
    return _draw_batch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder(EmbedConfig())
