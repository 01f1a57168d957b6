"""Clips of the rendered world with what can be told from them, drawn by seed.

A label is four ids (colour, shape, motion, sound); -1 where the clip does not show it: no picture, no sound, silence,
or a cut between two scenes. Combinations are split once and for all: the test ones are never trained or tuned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.mini.mel import SAMPLE_RATE_HZ
from shotlake.world.captions import Caption, Claims
from shotlake.world.paint import render_frames
from shotlake.world.scenes import ATTRIBUTES, Scene, combinations, draw_seed
from shotlake.world.sounds import render_sound

WINDOW_S = 2.0
N_FRAMES = 16
SIZE_PX = 48
N_SAMPLES = round(WINDOW_S * SAMPLE_RATE_HZ)
_MOTION_TAKES_S = 0.6  # in less, a bounce looks like a fall and a slow spin like nothing
N_TEST, N_VALIDATION = 633, 230

Ids = NDArray[np.int64]
Clip = tuple[list[int], NDArray[np.uint8], NDArray[np.float32]]  # labels, frames, samples


@dataclass(frozen=True, slots=True)
class Examples:
    """B clips as the decoder would hand them over, and their labels."""

    frames: NDArray[np.uint8]  # [B, 16, 48, 48, 3]
    frame_mask: NDArray[np.bool_]  # [B, 16]
    waveform: NDArray[np.float32]  # [B, 32000]
    sample_mask: NDArray[np.bool_]  # [B, 32000]
    labels: Ids  # [B, 4]

    def take(self, rows: slice | Sequence[int]) -> Examples:
        """Only these clips."""
        masks = self.frame_mask[rows], self.sample_mask[rows]
        return Examples(self.frames[rows], masks[0], self.waveform[rows], masks[1], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of `combinations()` for training, for choosing the checkpoint, and for the card."""

    train: Ids
    validation: Ids
    test: Ids


def split_combinations() -> Split:
    """The one split that every training and every evaluation uses."""
    order = np.random.default_rng(4608).permutation(len(combinations()))
    return Split(order[N_TEST + N_VALIDATION :], order[N_TEST : N_TEST + N_VALIDATION], order[:N_TEST])


def labels_of(claims: Claims) -> list[int]:
    """Attribute values to ids; -1 where nothing is claimed."""
    return [values.index(claims[name]) if name in claims else -1 for name, values in ATTRIBUTES.items()]


def claims_of(labels: Ids) -> dict[str, str]:
    """Four ids to the attribute values that they stand for."""
    pairs = zip(ATTRIBUTES.items(), labels, strict=True)
    return {name: values[label] for (name, values), label in pairs if label >= 0}


def labels_of_rows(rows: Ids) -> Ids:
    """[N] rows of `combinations()` to labels [N, 4]."""
    return np.stack(np.unravel_index(rows, [len(values) for values in ATTRIBUTES.values()]), axis=1)


def rows_of_labels(labels: Ids) -> Ids:
    """Whole labels [N, 4] to rows of `combinations()`."""
    return np.ravel_multi_index(tuple(labels.T), [len(values) for values in ATTRIBUTES.values()])


def as_tensors(examples: Examples, rows: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames, frame mask, waveform, sample mask of these rows."""
    frames, frame_mask = torch.from_numpy(examples.frames[rows]), torch.from_numpy(examples.frame_mask[rows])
    return frames, frame_mask, torch.from_numpy(examples.waveform[rows]), torch.from_numpy(examples.sample_mask[rows])


def matches(labels_B4: Ids, captions: Sequence[Caption]) -> NDArray[np.bool_]:
    """[B, M]: the clip shows everything that the caption claims."""
    claims_M4 = np.array([labels_of(caption.claims) for caption in captions])
    return ((claims_M4 == -1) | (claims_M4 == labels_B4[:, None])).all(-1)


def scene_of(combination: int, rng: np.random.Generator) -> Scene:
    """A scene of that row of `combinations()`."""
    return Scene(**claims_of(labels_of_rows(np.array([combination]))[0]), seed=draw_seed(rng))


def render_window(
    shots: Sequence[tuple[Scene, float]], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Frames [16, 48, 48, 3] and samples [n] of scenes that follow each other, each for its seconds.

    Frames come from a film of 24, 25 or 30 fps: each is the one nearest to its time, as in a decoded video.
    """
    total_s = sum(seconds for _, seconds in shots)
    fps, phase, edge_px = rng.choice((24, 25, 30)), rng.random(), rng.uniform(1.0, 1.8)
    grid_s = (np.arange(N_FRAMES) + 0.5) * total_s / N_FRAMES
    film_s = (np.round(grid_s * fps - phase) + phase) / fps
    pictures, sounds, begin_s = [], [], 0.0
    for scene, seconds in shots:
        clock_s = rng.uniform(0, 8) - begin_s
        shown = (grid_s >= begin_s) & (grid_s < begin_s + seconds)
        if shown.any():
            pictures.append(render_frames(scene, clock_s + film_s[shown], SIZE_PX, SIZE_PX, edge_px))
        n_samples = round((begin_s + seconds) * SAMPLE_RATE_HZ) - round(begin_s * SAMPLE_RATE_HZ)
        sounds.append(render_sound(scene, clock_s + begin_s, n_samples, SAMPLE_RATE_HZ))
        begin_s += seconds
    return np.concatenate(pictures), np.concatenate(sounds)


def draw_training(pool: Ids, n_clips: int, rng: np.random.Generator, loss_ratio: float = 0.1) -> Examples:
    """Clips of random combinations of `pool`, made imperfect as archives are.

    `loss_ratio` of them each have no picture, no sound, a silent sound track, or are short tails. One in sixteen runs
    over a cut between two scenes of this batch, and one in sixteen shows one of them with its frames out of order: near
    misses, so that the order of frames is what tells a motion.
    """
    n_odd = n_clips // 16
    scenes = [scene_of(int(row), rng) for row in rng.choice(pool, n_clips - 2 * n_odd)]
    scenes = [replace(scene, sound=None) if rng.random() < loss_ratio else scene for scene in scenes]
    clips = [_whole_or_tail(scene, rng, rng.random() < loss_ratio) for scene in scenes]
    clips += [_over_a_cut(_two_of(scenes, rng), rng) for _ in range(n_odd)]
    clips += [_out_of_order(_two_of(scenes, rng)[0], rng) for _ in range(n_odd)]
    examples = stack(clips)
    lost = rng.random(n_clips)
    drop_modalities(examples, lost < loss_ratio, lost > 1 - loss_ratio)
    return examples


def _whole_or_tail(scene: Scene, rng: np.random.Generator, short: bool) -> Clip:
    seconds = rng.uniform(0.2, WINDOW_S) if short else WINDOW_S
    labels = labels_of(scene.attributes)
    if seconds < _MOTION_TAKES_S:
        labels[2] = -1
    return labels, *render_window([(scene, seconds)], rng)


def _over_a_cut(scenes: Sequence[Scene], rng: np.random.Generator) -> Clip:
    (first, second), until_s = scenes, rng.uniform(0.35, WINDOW_S - 0.35)
    return [-1] * 4, *render_window([(first, until_s), (second, WINDOW_S - until_s)], rng)


def _out_of_order(scene: Scene, rng: np.random.Generator) -> Clip:
    frames, samples = render_window([(scene, WINDOW_S)], rng)
    labels = labels_of(scene.attributes)
    if scene.motion != "still":
        labels[2] = -1
    return labels, frames[rng.permutation(N_FRAMES)], samples


def _two_of(scenes: Sequence[Scene], rng: np.random.Generator) -> list[Scene]:
    return [scenes[place] for place in rng.choice(len(scenes), 2, replace=False)]


def draw_gallery(rows: Ids, rng: np.random.Generator) -> Examples:
    """One whole clip for each of these rows of `combinations()`."""
    scenes = [scene_of(int(row), rng) for row in rows]
    return stack([(labels_of(scene.attributes), *render_window([(scene, WINDOW_S)], rng)) for scene in scenes])


def stack(clips: Sequence[Clip]) -> Examples:
    """Clips to arrays; short sounds are masked at their end."""
    waveform = np.zeros((len(clips), N_SAMPLES), np.float32)
    sample_mask = np.zeros((len(clips), N_SAMPLES), bool)
    for row, (_, _, samples) in enumerate(clips):
        waveform[row, : len(samples)] = samples
        sample_mask[row, : len(samples)] = True
    frames = np.stack([frames for _, frames, _ in clips])
    labels = np.array([labels for labels, _, _ in clips])
    return Examples(frames, np.ones(frames.shape[:2], bool), waveform, sample_mask, labels)


def drop_modalities(examples: Examples, no_picture: NDArray[np.bool_], no_sound: NDArray[np.bool_]) -> None:
    """Take picture or sound away from the chosen clips, in place, and what only they told from their labels."""
    examples.frame_mask[no_picture] = False
    examples.frames[no_picture] = 0
    examples.labels[no_picture, :3] = -1
    examples.sample_mask[no_sound] = False
    examples.waveform[no_sound] = 0
    examples.labels[no_sound, 3] = -1
