"""What a `mini` network finds in the rendered world: the numbers of its card, from combinations it was never shown.

The gallery has one clip of each of the 4,608 combinations unless said otherwise; queries are those of the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.mini.examples import (
    Examples,
    Ids,
    as_tensors,
    claims_of,
    draw_gallery,
    labels_of_rows,
    rows_of_labels,
    split_combinations,
)
from shotlake.embed.mini.model import MiniModel
from shotlake.embed.mini.text import Tokenizer
from shotlake.world.captions import SOUND_WORDS, full_caption, plain_caption
from shotlake.world.scenes import MOTIONS, REVERSE, SOUNDS, combinations

_BATCH = 16  # fits the cache


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit vectors [B, D] of B clips: of all there is, of the picture alone, of the sound alone."""

    fused: Tensor
    visual: Tensor
    audio: Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """What the card states; shares of 1."""

    n_gallery: int
    n_queries: int
    text_to_clip_r1: float
    clip_to_text_r1: float
    motion_r1: dict[str, float]
    reversed_r1: float
    shuffled_r1: float
    shuffled_sense: float
    sound_p20: float
    audio_space_sound_p20: float
    visual_space_r1: float


@torch.inference_mode()
def embed_examples(model: MiniModel, examples: Examples) -> Embedded:
    """All clips, in small batches; the network is left in inference mode."""
    model.eval()
    pieces = []
    for start in range(0, len(examples.labels), _BATCH):
        tokens = model.tokens(*as_tensors(examples, slice(start, start + _BATCH)))
        views = (tokens, tokens.picture_only(), tokens.sound_only())
        pieces.append([F.normalize(model.project(model.fuse(view)), dim=-1) for view in views])
    return Embedded(*(torch.cat(space) for space in zip(*pieces, strict=True)))


@torch.inference_mode()
def embed_texts(model: MiniModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """[Q, D] unit vectors."""
    model.eval()
    return F.normalize(model.text(torch.from_numpy(tokenizer.ids(texts))), dim=-1)


def find_own(model: MiniModel, tokenizer: Tokenizer, texts: Sequence[str], clips_BD: Tensor) -> NDArray[np.bool_]:
    """[Q]: text q finds clip q first among all B clips (B >= Q)."""
    best = (embed_texts(model, tokenizer, texts) @ clips_BD.T).argmax(dim=1)
    return (best == torch.arange(len(texts))).numpy()


def evaluate(model: MiniModel, tokenizer: Tokenizer, n_gallery: int | None = None, seed: int = 2) -> Scores:
    """All scores of the card. `n_gallery` clips (the test ones first) instead of all combinations make it quicker."""
    split, rng = split_combinations(), np.random.default_rng([seed, 2])
    rows = np.concatenate([split.test, split.validation, split.train])[:n_gallery]
    n_queries = min(len(split.test), len(rows))
    gallery = draw_gallery(rows, rng)
    clips, tests = embed_examples(model, gallery), gallery.take(slice(n_queries))
    asked = [full_caption(claims_of(labels), rng).text for labels in tests.labels]
    found = find_own(model, tokenizer, asked, clips.fused)
    told = _caption_vectors(model, tokenizer, labels_of_rows(np.arange(len(combinations()))))
    closest = _closest_combination(clips.fused[:n_queries], told)
    shuffled_r1, shuffled_sense = _shuffled(model, told, tests, rng)
    return Scores(
        n_gallery=len(rows),
        n_queries=n_queries,
        text_to_clip_r1=float(found.mean()),
        clip_to_text_r1=float((closest == tests.labels).all(1).mean()),
        motion_r1={name: float(found[tests.labels[:, 2] == i].mean()) for i, name in enumerate(MOTIONS)},
        reversed_r1=_reversed_r1(model, told, tests.take(_reversible(tests.labels))),
        shuffled_r1=shuffled_r1,
        shuffled_sense=shuffled_sense,
        sound_p20=_sound_p20(model, tokenizer, clips.fused, gallery.labels),
        audio_space_sound_p20=_sound_p20(model, tokenizer, clips.audio, gallery.labels),
        visual_space_r1=_visual_r1(model, tokenizer, clips.visual[:n_queries], tests.labels),
    )


def _reversed_r1(model: MiniModel, told: Tensor, reversible: Examples) -> float:
    """Clips shown backwards against the captions of every combination: the reversed motion must come first."""
    clips = embed_examples(model, replace(reversible, frames=reversible.frames[:, ::-1].copy())).fused
    wanted = _reversed_labels(reversible.labels)
    return float((_closest_combination(clips, told) == wanted).all(1).mean())


def _shuffled(model: MiniModel, told: Tensor, tests: Examples, rng: np.random.Generator) -> tuple[float, float]:
    """Clips whose frames are out of order: R@1 among all captions, and how often the own direction beats the reverse.

    A heap of frames still shows the kind of motion (a line, an orbit, sizes), but nothing tells its direction.
    """
    frames = np.stack([frames[rng.permutation(len(frames))] for frames in tests.frames])
    clips = embed_examples(model, replace(tests, frames=frames)).fused
    found = (_closest_combination(clips, told) == tests.labels).all(1).mean()
    rows = _reversible(tests.labels)
    own, other = (told[rows_of_labels(labels)] for labels in (tests.labels[rows], _reversed_labels(tests.labels[rows])))
    return float(found), float(((clips[rows] * own).sum(1) > (clips[rows] * other).sum(1)).float().mean())


def _reversible(labels_B4: Ids) -> list[int]:
    return [row for row, labels in enumerate(labels_B4) if MOTIONS[labels[2]] in REVERSE]


def _reversed_labels(labels_B4: Ids) -> Ids:
    wanted = labels_B4.copy()
    wanted[:, 2] = [MOTIONS.index(REVERSE[MOTIONS[motion]]) for motion in wanted[:, 2]]
    return wanted


def _caption_vectors(model: MiniModel, tokenizer: Tokenizer, labels_B4: Ids) -> Tensor:
    return embed_texts(model, tokenizer, [plain_caption(claims_of(labels)).text for labels in labels_B4])


def _closest_combination(clips_BD: Tensor, told: Tensor) -> Ids:
    """[B, 4] labels of the combination whose plain caption (`told`, all of them) is nearest to each clip."""
    return labels_of_rows((clips_BD @ told.T).argmax(1).numpy())


def _sound_p20(model: MiniModel, tokenizer: Tokenizer, clips_BD: Tensor, labels_B4: Ids) -> float:
    """Mean share of right sounds among the first 20 clips, over every phrase for every sound."""
    asked = [(text, sound) for sound, texts in SOUND_WORDS.items() for text in texts]
    best = (embed_texts(model, tokenizer, [text for text, _ in asked]) @ clips_BD.T).topk(20).indices.numpy()
    wanted = np.array([SOUNDS.index(sound) for _, sound in asked])
    return float((labels_B4[best, 3] == wanted[:, None]).mean())


def _visual_r1(model: MiniModel, tokenizer: Tokenizer, clips_QD: Tensor, labels_Q4: Ids) -> float:
    """Picture-only vectors against the captions of all 576 pictures."""
    pictures = labels_of_rows(np.arange(0, len(combinations()), len(SOUNDS)))
    pictures[:, 3] = -1
    best = (clips_QD @ _caption_vectors(model, tokenizer, pictures).T).argmax(1).numpy()
    return float((pictures[best, :3] == labels_Q4[:, :3]).all(1).mean())


def as_json(scores: Scores) -> dict[str, object]:
    """Rounded to a tenth of a per cent."""
    flat = asdict(scores)
    motions = {name: round(share, 3) for name, share in scores.motion_r1.items()}
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in flat.items()}
    return {**rounded, "motion_r1": motions}
