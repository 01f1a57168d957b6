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
    split_combinations,
)
from shotlake.embed.mini.model import MiniModel
from shotlake.embed.mini.text import Tokenizer
from shotlake.world.captions import SOUND_WORDS, full_caption, plain_caption
from shotlake.world.scenes import ATTRIBUTES, MOTIONS, REVERSE, SOUNDS, combinations

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
    labels = labels_of_rows(rows)
    gallery = draw_gallery(rows, rng)
    clips = embed_examples(model, gallery)
    asked = [full_caption(claims_of(row), rng).text for row in labels[:n_queries]]
    found = find_own(model, tokenizer, asked, clips.fused)
    tests = gallery.take(slice(n_queries))
    return Scores(
        n_gallery=len(rows),
        n_queries=n_queries,
        text_to_clip_r1=float(found.mean()),
        clip_to_text_r1=float(
            (_closest_combination(model, tokenizer, clips.fused[:n_queries]) == labels[:n_queries]).all(1).mean()
        ),
        motion_r1={name: float(found[labels[:n_queries, 2] == i].mean()) for i, name in enumerate(MOTIONS)},
        reversed_r1=_reversed_r1(model, tokenizer, tests),
        shuffled_r1=_shuffled_r1(model, tokenizer, tests, rng),
        sound_p20=_sound_p20(model, tokenizer, clips.fused, labels),
        audio_space_sound_p20=_sound_p20(model, tokenizer, clips.audio, labels),
        visual_space_r1=_visual_r1(model, tokenizer, clips.visual[:n_queries], labels[:n_queries]),
    )


def _reversed_r1(model: MiniModel, tokenizer: Tokenizer, tests: Examples) -> float:
    """Clips shown backwards against the captions of every combination: the reversed motion must come first."""
    rows = [row for row, labels in enumerate(tests.labels) if MOTIONS[labels[2]] in REVERSE]
    backwards = tests.take(rows)
    clips = embed_examples(model, replace(backwards, frames=backwards.frames[:, ::-1].copy())).fused
    wanted = backwards.labels.copy()
    wanted[:, 2] = [MOTIONS.index(REVERSE[MOTIONS[motion]]) for motion in wanted[:, 2]]
    return float((_closest_combination(model, tokenizer, clips) == wanted).all(1).mean())


def _shuffled_r1(model: MiniModel, tokenizer: Tokenizer, tests: Examples, rng: np.random.Generator) -> float:
    """Clips whose frames are out of order against the captions of every combination: motions should be lost."""
    frames = np.stack([frames[rng.permutation(len(frames))] for frames in tests.frames])
    clips = embed_examples(model, replace(tests, frames=frames)).fused
    return float((_closest_combination(model, tokenizer, clips) == tests.labels).all(1).mean())


def _closest_combination(model: MiniModel, tokenizer: Tokenizer, clips_BD: Tensor) -> Ids:
    """[B, 4] labels of the plain caption, of all combinations, that is nearest to each clip."""
    everything = labels_of_rows(np.arange(len(combinations())))
    texts = embed_texts(model, tokenizer, [plain_caption(claims_of(labels)).text for labels in everything])
    return everything[(clips_BD @ texts.T).argmax(1).numpy()]


def _sound_p20(model: MiniModel, tokenizer: Tokenizer, clips_BD: Tensor, labels_B4: Ids) -> float:
    """Mean share of right sounds among the first 20 clips, over every phrase for every sound."""
    asked = [(text, sound) for sound, texts in SOUND_WORDS.items() for text in texts]
    best = (embed_texts(model, tokenizer, [text for text, _ in asked]) @ clips_BD.T).topk(20).indices.numpy()
    wanted = np.array([SOUNDS.index(sound) for _, sound in asked])
    return float((labels_B4[best, 3] == wanted[:, None]).mean())


def _visual_r1(model: MiniModel, tokenizer: Tokenizer, clips_QD: Tensor, labels_Q4: Ids) -> float:
    """Picture-only vectors against the captions of all 576 pictures."""
    pictures = np.unique(np.column_stack([labels_of_rows(np.arange(len(combinations())))[:, :3]]), axis=0)
    names = list(ATTRIBUTES)[:3]
    claims = [{name: ATTRIBUTES[name][i] for name, i in zip(names, row, strict=True)} for row in pictures]
    texts = embed_texts(model, tokenizer, [plain_caption(claim).text for claim in claims])
    return float((pictures[(clips_QD @ texts.T).argmax(1).numpy()] == labels_Q4[:, :3]).all(1).mean())


def as_json(scores: Scores) -> dict[str, object]:
    """Rounded to a tenth of a per cent."""
    flat = asdict(scores)
    motions = {name: round(share, 3) for name, share in scores.motion_r1.items()}
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in flat.items()}
    return {**rounded, "motion_r1": motions}
