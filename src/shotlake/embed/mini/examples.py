"""Clips of the rendered world as a decoder would hand them over, with what each shows, drawn by seed.

What a clip does not tell is left out of what it shows: the picture or the sound that is not there, and the motion of a
shot that is too short or whose frames are out of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.mini.mel import SAMPLE_RATE_HZ
from shotlake.embed.mini.windows import (
    INTACT,
    N_FRAMES,
    WINDOW_S,
    Damage,
    DrawThing,
    Kind,
    Window,
    choose_kind,
    draw_window,
    foil_window,
    render_window,
    shown_in,
)
from shotlake.world.scenes import Shot, Shown, Thing, choose

N_SAMPLES = round(WINDOW_S * SAMPLE_RATE_HZ)
_FOIL_SHARES: dict[Kind, float] = {"single": 0.15, "several": 0.33, "pair": 0.33, "then": 0.33}
_CODED_SHARE = 0.025  # a clip through codecs takes ten times as long


@dataclass(frozen=True, slots=True)
class Examples:
    """B clips, and what each of them shows."""

    frames: NDArray[np.uint8]  # [B, 16, 48, 48, 3]
    frame_mask: NDArray[np.bool_]  # [B, 16]
    waveform: NDArray[np.float32]  # [B, 32000]
    sample_mask: NDArray[np.bool_]  # [B, 32000]
    shown: tuple[Shown, ...]

    def take(self, rows: slice | Sequence[int]) -> Examples:
        """Only these clips."""
        kept = range(len(self.shown))[rows] if isinstance(rows, slice) else rows
        masks = self.frame_mask[rows], self.sample_mask[rows]
        return Examples(
            self.frames[rows], masks[0], self.waveform[rows], masks[1], tuple(self.shown[row] for row in kept)
        )


def as_tensors(examples: Examples, rows: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames, frame mask, waveform, sample mask of these rows."""
    frames, frame_mask = torch.from_numpy(examples.frames[rows]), torch.from_numpy(examples.frame_mask[rows])
    return frames, frame_mask, torch.from_numpy(examples.waveform[rows]), torch.from_numpy(examples.sample_mask[rows])


def stack(clips: Sequence[tuple[Shown, NDArray[np.uint8], NDArray[np.float32]]]) -> Examples:
    """Clips to arrays; short sounds are masked at their end."""
    waveform = np.zeros((len(clips), N_SAMPLES), np.float32)
    sample_mask = np.zeros((len(clips), N_SAMPLES), bool)
    for row, (_, _, samples) in enumerate(clips):
        waveform[row, : len(samples)] = samples
        sample_mask[row, : len(samples)] = True
    frames = np.stack([frames for _, frames, _ in clips])
    shown = tuple(shown for shown, _, _ in clips)
    return Examples(frames, np.ones(frames.shape[:2], bool), waveform, sample_mask, shown)


def render_examples(windows: Sequence[Window], rng: np.random.Generator, damage: Damage = INTACT) -> Examples:
    """One clip for each window."""
    return stack([(shown_in(window), *render_window(window, rng, damage)) for window in windows])


def lose_modalities(examples: Examples, no_picture: NDArray[np.bool_], no_sound: NDArray[np.bool_]) -> Examples:
    """The same clips, some without picture and some without sound; they show less."""
    shown = [
        tuple(Shot(() if blind else shot.things, () if deaf else shot.sounds) for shot in shots)
        for shots, blind, deaf in zip(examples.shown, no_picture, no_sound, strict=True)
    ]
    frame_mask, sample_mask = examples.frame_mask & ~no_picture[:, None], examples.sample_mask & ~no_sound[:, None]
    frames, waveform = examples.frames.copy(), examples.waveform.copy()
    frames[no_picture], waveform[no_sound] = 0, 0
    return Examples(frames, frame_mask, waveform, sample_mask, tuple(shown))


def shuffle_frames(examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Examples:
    """The same clips, these rows with their frames out of order: no motion can be told, but that of still things."""
    frames, shown = examples.frames.copy(), list(examples.shown)
    for row in rows:
        frames[row] = frames[row][rng.permutation(N_FRAMES)]
        shown[row] = tuple(replace(shot, things=tuple(map(_unmoved, shot.things))) for shot in shown[row])
    return replace(examples, frames=frames, shown=tuple(shown))


def _unmoved(thing: Thing) -> Thing:
    return thing if thing.motion == "still" else replace(thing, motion=None)


def draw_training(
    draw: DrawThing, n_clips: int, rng: np.random.Generator, easy: float = 0.0, loss_ratio: float = 0.08
) -> Examples:
    """Clips of the windows of `draw_windows`, made imperfect as archives are.

    `loss_ratio` of them each have no picture or no sound; one in sixteen single scenes has its frames out of order.
    """
    return render_training(draw_windows(draw, n_clips, rng, easy, loss_ratio), rng, loss_ratio)


def draw_windows(
    draw: DrawThing, n_windows: int, rng: np.random.Generator, easy: float = 0.0, loss_ratio: float = 0.08
) -> list[Window]:
    """Windows of all kinds; a share `easy` of the other kinds are single things instead.

    `loss_ratio` of them each have a silent sound track or are short tails, and some stand beside a foil of theirs.
    """
    windows: list[Window] = []
    while len(windows) < n_windows:
        kind: Kind = "single" if rng.random() < easy else choose_kind(rng)
        windows.append(draw_window(kind, draw, rng, silent_ratio=loss_ratio))
        foil = foil_window(windows[-1], rng) if rng.random() < _FOIL_SHARES[kind] else None
        windows += [foil] if foil else []
    return [_maybe_tail(window, rng, loss_ratio) for window in windows[:n_windows]]


def render_training(windows: Sequence[Window], rng: np.random.Generator, loss_ratio: float = 0.08) -> Examples:
    """Their clips, some damaged, some without picture or sound, some out of order."""
    clips = [(shown_in(window), *render_window(window, rng, draw_damage(rng))) for window in windows]
    examples = stack(clips)
    lost = rng.random(len(windows))
    examples = lose_modalities(examples, lost < loss_ratio, lost > 1 - loss_ratio)
    alone = [row for row, window in enumerate(windows) if len(window) == 1 and lost[row] >= loss_ratio]
    return shuffle_frames(examples, [row for row in alone if rng.random() < 1 / 16], rng)


def _maybe_tail(window: Window, rng: np.random.Generator, ratio: float) -> Window:
    if len(window) > 1 or rng.random() >= ratio:
        return window
    return ((window[0][0], rng.uniform(0.2, WINDOW_S)),)


def draw_damage(rng: np.random.Generator) -> Damage:
    """A few clips went through codecs, one in eight has black edges."""
    coded = rng.random() < _CODED_SHARE
    crf, bit_rate = (int(rng.integers(20, 41)), 1000 * choose((32, 48, 64, 96, 128), rng)) if coded else (None, None)
    return Damage(crf, bit_rate, rng.uniform(0.05, 0.35) if rng.random() < 0.125 else 0.0)
