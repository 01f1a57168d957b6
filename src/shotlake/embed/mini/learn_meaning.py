"""The second training of `mini`: `Conjunctions` from kept states; towers, fusion and captions rest.

First the naming learns to say what states show, from clips and captions that are kept. Then the units and what adds
them up learn from imagined clips and captions, whose parts are named as some kept ones were: a step costs a quarter of
one that renders, and asks for hundreds of captions among hundreds of clips, most of which are almost right.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shotlake.embed.mini.answers import Answers
from shotlake.embed.mini.files import find_weights, load_weights, read_header, save_weights
from shotlake.embed.mini.imagined import Floats, Imagined, imagine
from shotlake.embed.mini.kept import Kept, keep_many
from shotlake.embed.mini.labels import Parts, hold, parts_of
from shotlake.embed.mini.losses import either_way, naming_cost
from shotlake.embed.mini.meaning import VALUE_SIZES, Conjunctions, Named, Naming, by_field
from shotlake.embed.mini.model import MiniModel
from shotlake.embed.mini.train import BEST, follow
from shotlake.embed.mini.windows import WINDOW_S

log = logging.getLogger(__name__)

_SHARE_WEIGHT = 20.0  # of clips of two shots: those of one have nothing to say about it
_HEARD_WEIGHT = 12.0
_WEIGHTS = {"whole": 1.2, "part": 0.7, "clip": 0.3, "match": 1.0}
_EACH_OF_PART = 0.3  # of what is asked of parts, that each right clip comes first; the rest, that any does
_N_HARDEST, _HARDEST_WEIGHT = 32, 1 / 8  # wrong clips of a caption that are to stay below the threshold, each
_GALLERY, _FALSE_SHARE = 1024, 0.05
_NEVER = -1e4


@dataclass(frozen=True, slots=True)
class MeaningPlan:
    """Whose states, how many of them, and how long; equal plans give equal weights on equal machines."""

    begun_with: str
    n_kept: int = 61_440
    naming_steps: int = 1600
    naming_rows: int = 512
    steps: int = 1600
    n_groups: int = 40
    held_out: float = 0.12  # of the kept clips, whose answers the second half of the training draws from
    vector_dim: int = 384
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    mean_decay: float = 0.99
    seed: int = 1
    n_processes: int = 2


def train_meaning(plan: MeaningPlan, folder: Path) -> None:
    """Write the network of `plan.begun_with` with its meaning learnt anew into `folder`. Errors: BadModel."""
    torch.set_num_threads(plan.n_processes)
    torch.manual_seed(plan.seed)
    base = find_weights(Path(plan.begun_with))
    model, words = with_conjunctions(base, plan)
    kept = keep_many(base, plan.n_kept, plan.seed, plan.n_processes)
    log.info("n_clips=%d n_captions=%d are kept", len(kept.shown), len(kept.claims))
    learn(conjunctions_of(model), kept, plan)
    training = {**read_header(base)["training"], "meaning": {**asdict(plan), "begun_with": base.parent.name}}
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / BEST, model, words, training)


def with_conjunctions(weights: Path, plan: MeaningPlan) -> tuple[MiniModel, list[str]]:
    """The network of a file with conjunctions that know nothing yet, and its words. Errors: BadModel."""
    resting, words = load_weights(weights)
    model = MiniModel(replace(resting.shape, meaning="conjunctions", vector_dim=plan.vector_dim)).eval()
    known = {name: tensor for name, tensor in resting.state_dict().items() if not name.startswith("meaning.")}
    model.load_state_dict(model.state_dict() | known)
    return model, words


def conjunctions_of(model: MiniModel) -> Conjunctions:
    """What `with_conjunctions` gave it."""
    assert isinstance(model.meaning, Conjunctions)
    return model.meaning


def learn(meaning: Conjunctions, kept: Kept, plan: MeaningPlan) -> None:
    """Both halves of the training; `meaning` is changed in place. Errors: ValueError where too little is kept."""
    clips = _Read(kept.clips_NSD.float(), parts_of(kept.shown), kept.seconds)
    captions = _Read(
        kept.captions_MSD.float(), parts_of(kept.claims), np.full((len(kept.claims), 2), WINDOW_S, np.float32)
    )
    (learnt_clips, held_clips), (learnt_captions, held_captions) = (
        read.split(plan.held_out) for read in (clips, captions)
    )
    learn_naming(meaning.naming, learnt_clips, learnt_captions, plan)
    rng = np.random.default_rng([plan.seed, 6])
    of_clips, of_captions = (
        Answers(read.named_by(meaning.naming), read.truth, read.seconds, rng) for read in (held_clips, held_captions)
    )
    cut = held_clips.truth.n_shots == 2
    if not cut.any():
        raise ValueError(f"of {plan.n_kept} kept clips none that is held out shows two shots; keep more")
    cuts = np.stack([held_clips.seconds[cut, 0], of_clips.share_N[cut]], 1)
    learn_conjunctions(meaning, of_clips, of_captions, cuts, plan)
    meaning.get_buffer("match_score").fill_(measure_match_score(meaning, held_clips, held_captions, rng))


@torch.no_grad()
def measure_match_score(meaning: Conjunctions, clips: _Read, captions: _Read, rng: np.random.Generator) -> float:
    """The score that the best clip of one in twenty captions reaches although none of `_GALLERY` clips answers them."""
    best = [np.zeros(0, np.float32)]
    for start in range(0, len(clips.seconds), _GALLERY):
        among = clips.take(np.arange(start, min(start + _GALLERY, len(clips.seconds))))
        asked = captions.take(rng.integers(0, len(captions.seconds), _GALLERY))
        scores = F.normalize(meaning(among.states_NSD), dim=-1) @ meaning.say(asked.states_NSD).T
        best.append(scores.max(0).values.numpy()[~hold(among.truth, asked.truth).any(0)])
    unanswered = np.concatenate(best)
    return float(np.quantile(unanswered, 1 - _FALSE_SHARE)) if len(unanswered) else 0.0


@dataclass(frozen=True, slots=True)
class _Read:
    """States with what is true of them."""

    states_NSD: Tensor
    truth: Parts
    seconds: Floats

    def take(self, rows: np.ndarray) -> _Read:
        return _Read(self.states_NSD[torch.from_numpy(rows)], self.truth.take(rows), self.seconds[rows])

    def split(self, share: float) -> tuple[_Read, _Read]:
        """All but the last of them, and the last."""
        n_learnt = round((1 - share) * len(self.seconds))
        return self.take(np.arange(n_learnt)), self.take(np.arange(n_learnt, len(self.seconds)))

    @torch.no_grad()
    def named_by(self, naming: Naming) -> Named:
        """Probabilities; the things stand in the order of the truth."""
        return in_order(naming.eval()(self.states_NSD), self.truth).likely()


def learn_naming(naming: Naming, clips: _Read, captions: _Read, plan: MeaningPlan) -> None:
    """States of clips and captions alike to what they show and claim."""
    optimizer = torch.optim.AdamW(naming.parameters(), plan.learning_rate, weight_decay=0.05)
    naming.train()

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([plan.seed, 7, step])
        parts: dict[str, Tensor] = {}
        for name, read in (("clip", clips), ("caption", captions)):
            batch = read.take(rng.integers(0, len(read.seconds), plan.naming_rows))
            parts |= {
                f"{name}_{part}": loss
                for part, loss in naming_losses(naming(batch.states_NSD), batch.truth, batch.seconds).items()
            }
        return parts

    _descend(optimizer, losses, plan.naming_steps, plan)
    naming.eval()


def in_order(named: Named, truth: Parts) -> Named:
    """The same logits, with the two states of each side the other way round where that names its things better."""
    straight, crossed = either_way(_cost(named, truth))
    turned_NCT = (crossed < straight)[..., None]
    values = torch.where(turned_NCT[..., None], named.values_NCTV.flip(2), named.values_NCTV)
    return replace(
        named, values_NCTV=values, there_NCT=torch.where(turned_NCT, named.there_NCT.flip(2), named.there_NCT)
    )


def naming_losses(named: Named, truth: Parts, seconds_NC: Floats) -> dict[str, Tensor]:
    """How badly logits name things, sounds and the share of the first shot."""
    cut, share = torch.from_numpy(truth.n_shots == 2), torch.from_numpy(seconds_NC[:, 0] / seconds_NC.sum(1))
    shares = F.binary_cross_entropy_with_logits(named.share_N, share, 1 + _SHARE_WEIGHT * cut)
    sounds = F.binary_cross_entropy_with_logits(named.sounds_NCH, torch.from_numpy(truth.sounds).float())
    things = torch.minimum(*either_way(_cost(named, truth))).sum(-1).mean()
    return {"things": things, "sounds": _HEARD_WEIGHT * sounds, "share": shares}


def _cost(named: Named, truth: Parts) -> Tensor:
    """[N, side, state, thing]; of what is there every field is asked, be it told or not."""
    asked = torch.from_numpy(truth.there)[..., None].expand(-1, -1, -1, len(VALUE_SIZES))
    return naming_cost(named.there_NCT, by_field(named.values_NCTV), truth, asked)


def learn_conjunctions(
    meaning: Conjunctions, clips: Answers, captions: Answers, cuts: Floats, plan: MeaningPlan
) -> None:
    """Named parts to vectors; `cuts` [K, 2] are seconds of first shots and what share they were read to have."""
    learner = _Learner(meaning)
    learnt = [parameter for name, parameter in learner.named_parameters() if "naming." not in name]
    optimizer = torch.optim.AdamW(learnt, plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    mean = copy.deepcopy(meaning)

    def losses(step: int) -> dict[str, Tensor]:
        if step:
            follow(mean, meaning, plan.mean_decay, step - 1)
        rng = np.random.default_rng([plan.seed, 8, step])
        imagined = imagine(plan.n_groups, cuts, rng)
        seen = clips.draw(imagined.clips, imagined.seconds, imagined.shares, rng)
        even = np.full((len(imagined.whole), 2), 0.5, np.float32)
        said = captions.draw(imagined.captions, even * 2 * WINDOW_S, even[:, 0], rng)
        return learner.losses(meaning.join(seen), meaning.hold_back(meaning.join(said)), imagined)

    _descend(optimizer, losses, plan.steps, plan)
    meaning.load_state_dict(mean.state_dict())


class _Learner(nn.Module):
    """What learns: how to join, how sharply it is asked, and from which score on a clip is said to match."""

    def __init__(self, meaning: Conjunctions) -> None:
        super().__init__()
        self.meaning = meaning
        self.log_scale, self.log_match_scale = (nn.Parameter(torch.tensor(math.log(20.0))) for _ in range(2))
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def losses(self, clips: Tensor, captions: Tensor, imagined: Imagined) -> dict[str, Tensor]:
        """What a batch asks, by name: captions find their clips, clips their captions, and all keep to a threshold."""
        cosines = F.normalize(clips, dim=-1) @ captions.T
        logits = self.log_scale.exp().clamp(max=100) * cosines
        right, held, whole = (torch.from_numpy(flags) for flags in (imagined.right, imagined.held, imagined.whole))
        unclear = torch.from_numpy(imagined.unclear)
        each, first = search_losses(logits, right, ~right & ~unclear)
        part = (_EACH_OF_PART * each + (1 - _EACH_OF_PART) * first)[~whole & right.any(0)]
        back, _ = search_losses(logits.T, held.T, ~held.T)
        parts = {
            "whole": each[whole & right.any(0)].mean(),
            "part": part.mean(),
            "clip": back[held.any(1)].mean(),
            "match": self._match_loss(cosines, right, unclear),
        }
        return {name: _WEIGHTS[name] * loss for name, loss in parts.items()}

    def _match_loss(self, cosines: Tensor, right: Tensor, unclear: Tensor) -> Tensor:
        """One threshold for all captions: scores of what matches above it, the highest of what does not below."""
        logits = self.log_match_scale.exp() * (cosines - self.threshold)
        cost = F.binary_cross_entropy_with_logits(logits, right.float(), reduction="none") * ~unclear
        hardest = (cost * ~right).topk(min(_N_HARDEST, len(cost)), dim=0).values.sum(0)
        return ((cost * right).sum(0) / right.sum(0).clamp(min=1) + _HARDEST_WEIGHT * hardest).mean()


def search_losses(logits_BM: Tensor, right_BM: Tensor, wrong_BM: Tensor) -> tuple[Tensor, Tensor]:
    """[M] twice: each right answer against all wrong ones, and the right ones together against them."""
    wrong = logits_BM.masked_fill(~wrong_BM, _NEVER).logsumexp(0)
    each = (F.softplus(wrong - logits_BM) * right_BM).sum(0) / right_BM.sum(0).clamp(min=1)
    return each, F.softplus(wrong - logits_BM.masked_fill(~right_BM, _NEVER).logsumexp(0))


def _descend(
    optimizer: torch.optim.Optimizer, losses: Callable[[int], dict[str, Tensor]], steps: int, plan: MeaningPlan
) -> None:
    for step in range(steps):
        share = min(1.0, (step + 1) / plan.warmup_steps, 2 * (steps - step) / steps)
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * share
        parts = losses(step)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        if (step + 1) % 200 == 0 or step + 1 == steps:
            log.info(json.dumps({"step": step + 1, **{name: round(part.item(), 4) for name, part in parts.items()}}))
