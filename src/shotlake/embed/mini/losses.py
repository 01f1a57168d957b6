"""What a batch of clips is asked in training: which captions are theirs, what each shows, and what a foil gets wrong.

All truth comes from the renderer. Heads exist for training only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shotlake.embed.mini.examples import Examples, as_tensors
from shotlake.embed.mini.labels import FIELDS, Parts, matches, parts_of
from shotlake.embed.mini.model import MiniModel, MiniShape
from shotlake.embed.mini.split import is_trained
from shotlake.embed.mini.text import Tokenizer
from shotlake.world.captions import Caption, claim_of, one_attribute_captions, partial_caption, write_caption
from shotlake.world.foils import draw_foil, draw_structural_foil
from shotlake.world.scenes import ATTRIBUTES, SOUNDS, Shown

_WEIGHTS = {"foil": 1.0, "told_apart": 2.0, "parts": 0.5, "text_parts": 0.3}
_HARD_WEIGHTS = _WEIGHTS | {"foil": 4.0}
_INITIAL_SCALE = 14.0
_TEXT_ROWS = 48  # texts of about one length go through the tower together


class Trainee(nn.Module):
    """The model and what only training needs: the temperature, and heads that name the parts of what is shown."""

    def __init__(self, shape: MiniShape) -> None:
        super().__init__()
        self.model = MiniModel(shape)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        self.fields = nn.ModuleList(nn.Linear(shape.dim, len(values)) for values in FIELDS.values())
        self.there = nn.Linear(shape.dim, 1)
        self.sounds = nn.ModuleList(nn.Linear(shape.dim, len(SOUNDS)) for _ in ("beginning", "end"))


def batch_loss(
    trainee: Trainee,
    tokenizer: Tokenizer,
    examples: Examples,
    imagined: Sequence[Shown],
    rng: np.random.Generator,
    hard: bool,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts by name.

    While it is not `hard`, the batch is about what things are. Then it is also about how they are put together: foils
    of that kind for every other clip. Captions name the parts that they claim as clips name those that they show, and
    so do captions of what was only `imagined`: a text costs little where a clip has to be painted.
    """
    whole, partial, foils, prompts = write_captions(examples.shown, rng, hard)
    imagined, others, false = _write_pairs(imagined, rng)
    texts = [caption.text for caption in (*whole, *partial, *foils.values(), *prompts, *others, *false)]
    with torch.autocast("cpu", torch.bfloat16):
        seen = trainee.model.fuse(trainee.model.tokens(*as_tensors(examples)))
        clips = F.normalize(trainee.model.project(seen).float(), dim=-1)
        read = read_by_length(trainee.model, tokenizer, texts)
        said = F.normalize(trainee.model.project(read).float(), dim=-1)
    scale = trainee.log_scale.exp().clamp(max=100)
    sizes = [len(whole), len(partial), len(foils), len(prompts), len(imagined), len(imagined), len(false)]
    whole_T, partial_T, foils_T, prompts_T, one_T, same_T, false_T = torch.split(said, sizes)
    asked = torch.cat([read[: len(whole) + len(partial)], read[sum(sizes[:4]) : sum(sizes[:6])]])
    parts = {
        "whole": contrast(scale * clips @ whole_T.T, _matches(examples.shown, whole)),
        "partial": contrast(scale * clips @ partial_T.T, _matches(examples.shown, partial)),
        "foil": _foil_loss(scale, clips, whole_T, foils_T, _rows_of(examples.shown, foils)),
        "told_apart": _told_apart(scale, one_T, same_T, false_T) if imagined else scale * 0,
        "prompt": _prompt_loss(scale * clips @ prompts_T.T, examples.shown),
        "parts": parts_loss(trainee, seen, examples.shown),
        "text_parts": parts_loss(trainee, asked, [caption.claims for caption in (*whole, *partial, *others)]),
    }
    weights = _HARD_WEIGHTS if hard else _WEIGHTS
    total = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
    return total, {name: part.item() for name, part in parts.items()}


def caption_loss(
    trainee: Trainee, tokenizer: Tokenizer, imagined: Sequence[Shown], rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of captions alone, of what was only imagined: they answer what clips will be asked."""
    imagined, others, false = _write_pairs(imagined, rng)
    with torch.autocast("cpu", torch.bfloat16):
        read = read_by_length(trainee.model, tokenizer, [caption.text for caption in (*others, *false)])
        one, same, other = F.normalize(trainee.model.project(read).float(), dim=-1).chunk(3)
    scale = trainee.log_scale.exp().clamp(max=100)
    parts = {
        "told_apart": _told_apart(scale, one, same, other),
        "text_parts": parts_loss(trainee, read[: len(others)], (*imagined, *imagined)),
    }
    return parts["told_apart"] + parts["text_parts"], {name: part.item() for name, part in parts.items()}


def _write_pairs(
    imagined: Sequence[Shown], rng: np.random.Generator
) -> tuple[list[Shown], list[Caption], list[Caption]]:
    """What has a foil that may be named; of each a caption, then of each another; a caption of each foil."""
    pairs = [(shown, draw_structural_foil(shown, rng)) for shown in imagined]
    kept = [(shown, foil) for shown, foil in pairs if is_trained(foil)]
    others = [write_caption(shown, rng) for _ in range(2) for shown, _ in kept]
    return [shown for shown, _ in kept], others, [write_caption(foil, rng) for _, foil in kept]


def write_captions(
    shown: Sequence[Shown], rng: np.random.Generator, hard: bool
) -> tuple[list[Caption], list[Caption], dict[int, Caption], list[Caption]]:
    """Whole and partial captions of clips that show something, foils by row, one-attribute captions."""
    telling = [shots for shots in map(told, shown) if shots]
    whole = [write_caption(shots, rng) for shots in telling]
    partial = [caption for shots in telling if (caption := partial_caption(shots, rng))]
    foils = {}
    for row, shots in enumerate(shown):
        if told(shots) and (hard or row % 2 == 0):
            claims = (draw_structural_foil if row % 2 else draw_foil)(told(shots), rng)
            if is_trained(claims):  # a text is no place to meet what is held out either
                foils[row] = write_caption(claims, rng)
    return whole, partial, foils, one_attribute_captions(rng)


def told(shown: Shown) -> Shown:
    """The shots that show or sound at all."""
    return tuple(shot for shot in shown if shot.things or shot.sounds)


def contrast(logits_BM: Tensor, match_BM: Tensor) -> Tensor:
    """Two-way InfoNCE with several right answers a row, by their mean log-probability; rows without are left out."""
    loss = logits_BM.new_zeros(())
    for logits, match in ((logits_BM, match_BM), (logits_BM.T, match_BM.T)):
        loss = loss + 0.5 * even_cross_entropy(logits, match)
    return loss


def even_cross_entropy(logits_BM: Tensor, right_BM: Tensor) -> Tensor:
    """Cross-entropy against all right answers evenly; rows without any are left out, and no row at all is 0."""
    n_right = right_BM.sum(1)
    log_right = (logits_BM.log_softmax(1) * right_BM).sum(1) / n_right.clamp(min=1)
    return -log_right[n_right > 0].sum() / (n_right > 0).sum().clamp(min=1)


def _matches(shown: Sequence[Shown], captions: Sequence[Caption]) -> Tensor:
    return torch.from_numpy(matches(shown, [caption.claims for caption in captions]))


def _rows_of(shown: Sequence[Shown], foils: dict[int, Caption]) -> tuple[list[int], list[int]]:
    """Rows of the clips that have a foil, and rows of their whole captions."""
    place = {row: number for number, row in enumerate(row for row, shots in enumerate(shown) if told(shots))}
    return list(foils), [place[row] for row in foils]


def _foil_loss(
    scale: Tensor, clips: Tensor, whole_T: Tensor, foils_T: Tensor, rows: tuple[list[int], list[int]]
) -> Tensor:
    """A clip is nearer to its caption than to the foil of it."""
    mine = clips[rows[0]]
    return _told_apart(scale, mine, whole_T[rows[1]], foils_T)


def _told_apart(scale: Tensor, mine: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """Each of mine is nearer to what says the same than to what does not."""
    gap = scale * ((mine * same).sum(1) - (mine * other).sum(1))
    return F.softplus(-gap).sum() / max(1, len(gap))


def _prompt_loss(logits: Tensor, shown: Sequence[Shown]) -> Tensor:
    """Each clip against the captions of one value each: those that hold evenly, and all where it does not tell."""
    right = torch.from_numpy(matches(shown, _single_claims()))
    losses, start = [], 0
    for values in ATTRIBUTES.values():
        columns = slice(start, start := start + len(values))
        holds = right[:, columns]
        losses.append(even_cross_entropy(logits[:, columns], holds | ~holds.any(1, keepdim=True)))
    return torch.stack(losses).mean()


def _single_claims() -> list[Shown]:
    return [(claim_of(name, value),) for name, values in ATTRIBUTES.items() for value in values]


def parts_loss(trainee: Trainee, states_NSD: Tensor, shown: Sequence[Shown]) -> Tensor:
    """How badly the states name things and sounds; two states may name the two things of a shot either way round."""
    parts, states = parts_of(shown), states_NSD.float()
    things = states[:, 2:].view(len(shown), 2, 2, -1)
    told_NCTF = torch.from_numpy(parts.values >= 0)  # what is not told costs nothing
    named = [head(things) for head in trainee.fields]
    cost = naming_cost(trainee.there(things)[..., 0], named, parts, told_NCTF)
    heard = [
        even_cross_entropy(head(states[:, side]), torch.from_numpy(parts.sounds[:, side]))
        for side, head in enumerate(trainee.sounds)
    ]
    return torch.minimum(*either_way(cost)).mean() + torch.stack(heard).mean()


def either_way(cost_NCTT: Tensor) -> tuple[Tensor, Tensor]:
    """[N, side] twice: what it costs to take two states for two things as they stand, and the other way round."""
    return cost_NCTT[..., 0, 0] + cost_NCTT[..., 1, 1], cost_NCTT[..., 0, 1] + cost_NCTT[..., 1, 0]


def naming_cost(there_NCT: Tensor, fields_NCTV: Sequence[Tensor], parts: Parts, asked_NCTF: Tensor) -> Tensor:
    """[N, side, state, thing]: what it costs to take this state for that thing, in logits, by the fields `asked`.

    The last place of a field stands for a value that is not told.
    """
    is_there = torch.from_numpy(parts.there).float()[:, :, None].expand(-1, -1, 2, -1)
    says = there_NCT[..., None].expand(-1, -1, -1, 2)
    cost = F.binary_cross_entropy_with_logits(says, is_there, reduction="none")
    for number, field in enumerate(fields_NCTV):
        value = torch.from_numpy(parts.values[..., number] % field.shape[-1])[:, :, None].expand(-1, -1, 2, -1)
        cost = cost - torch.gather(field.log_softmax(-1), 3, value) * asked_NCTF[:, :, None, :, number]
    return cost


def read_by_length(model: MiniModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """[Q, 6, D] states in the order given; short texts are not padded to the longest."""
    pieces, rows = (torch.from_numpy(table) for table in tokenizer.ids(texts))
    lengths = (rows > 0).sum(1)
    order = lengths.argsort()
    groups = [order[start : start + _TEXT_ROWS] for start in range(0, len(order), _TEXT_ROWS)]
    states = [model.text(pieces, rows[group, : max(1, int(lengths[group].max()))]) for group in groups]
    return torch.cat(states)[order.argsort()]
