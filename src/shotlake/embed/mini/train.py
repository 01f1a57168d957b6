"""Training of `mini`: seeded, resumable, one-thread processes that average their gradients.

First come steps of captions alone, which cost a fraction of those with clips: the text tower learns to tell who has
what and what came first, and the heads that clips are then asked by already know what they ask.
The learning rate is constant until the last `decay_steps`, so a run may be stopped at any time and resumed with another
`steps`: sooner, to finish early, or later. What is kept is a running mean of the weights, at the step at which it did
best on clips of validation, whose pairs of attributes no training clip shows; test things are not touched here.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from shotlake.embed.mini.exam import embed_examples, embed_texts, find_own
from shotlake.embed.mini.examples import Examples, draw_training, render_examples
from shotlake.embed.mini.files import find_weights, load_weights, save_weights
from shotlake.embed.mini.losses import Trainee, batch_loss, caption_loss, told
from shotlake.embed.mini.model import MiniModel, MiniShape
from shotlake.embed.mini.split import drawer
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.windows import KIND_SHARES, DrawThing, Kind, draw_window, shown_in
from shotlake.world.captions import vocabulary, write_caption
from shotlake.world.foils import draw_foil, draw_structural_foil
from shotlake.world.scenes import Shown

log = logging.getLogger(__name__)

_FREE = {"steps": 0, "decay_steps": 0, "validate_every": 0}  # what may differ when a training is resumed
_IMAGINED: tuple[Kind, ...] = ("pair", "then")  # a text costs little where a clip has to be painted
_TEXT_ROWS = 24  # of each of these kinds
BEST, LAST = "best.safetensors", "last.pt"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard to train; equal plans give equal weights on equal machines."""

    steps: int = 5500
    text_steps: int = 1500
    begun_with: str = ""
    seed: int = 1
    n_processes: int = 2
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    warmup_steps: int = 150
    easy_steps: int = 800
    decay_steps: int = 600
    mean_decay: float = 0.995
    validate_every: int = 100
    validation_gallery: int = 600


def train(plan: Plan, folder: Path) -> None:
    """Train into `folder`: `last.pt` to go on from, the best network, `log.jsonl`. Goes on where it was stopped.

    `plan.begun_with` names a model directory whose network is trained on; its heads, which are not kept, anew.
    This process is the first of `plan.n_processes`. Errors: ValueError if the folder is another plan's.
    """
    torch.set_num_threads(1)
    training = Training.begin(plan, folder)
    if plan.n_processes == 1:
        training.run(0)
        return
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    arguments = (plan, folder, meeting.resolve().as_uri())
    others = spawn(_run_other, arguments, plan.n_processes - 1, join=False, daemon=True)  # type: ignore[no-untyped-call]
    _join_group(0, plan, arguments[2])
    training.run(0)
    others.join()
    dist.destroy_process_group()
    meeting.unlink(missing_ok=True)


def _run_other(number: int, plan: Plan, folder: Path, meeting: str) -> None:
    torch.set_num_threads(1)
    training = Training.begin(plan, folder)
    _join_group(number + 1, plan, meeting)
    training.run(number + 1)
    dist.destroy_process_group()


def _join_group(rank: int, plan: Plan, meeting: str) -> None:
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=plan.n_processes)


@dataclass(slots=True)
class Training:
    """One process's share of a training; every process holds the same weights after every step."""

    plan: Plan
    folder: Path
    trainee: Trainee
    mean: MiniModel
    tokenizer: Tokenizer
    optimizer: torch.optim.Optimizer
    step: int = 0
    best_score: float = -1.0

    @classmethod
    def begin(cls, plan: Plan, folder: Path) -> Training:
        """A fresh start, or what an interrupted run of the same plan left in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(plan.seed)
        state = torch.load(folder / LAST, weights_only=True) if (folder / LAST).exists() else None
        tokenizer = Tokenizer(state["words"] if state else vocabulary(), MiniShape(0).max_words)
        trainee = Trainee(MiniShape(tokenizer.n_pieces))
        optimizer = torch.optim.AdamW(trainee.parameters(), plan.learning_rate, weight_decay=0.05)
        if plan.begun_with and not state:
            _take_over(Path(plan.begun_with), trainee, tokenizer)
        training = cls(plan, folder, trainee, copy.deepcopy(trainee.model), tokenizer, optimizer)
        if state:
            training._resume(state)
        return training

    def _resume(self, state: dict[str, Any]) -> None:
        if state["plan"] | _FREE != asdict(self.plan) | _FREE:
            raise ValueError(f"{self.folder} holds the training of another plan, {state['plan']}; name another folder")
        self.trainee.load_state_dict(state["trainee"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_score = state["step"], state["best_score"]

    def run(self, rank: int) -> None:
        """All steps that are left. The first process validates and writes."""
        draw, started = drawer("train"), time.monotonic()
        while self.step < self.plan.steps:
            rng = np.random.default_rng([self.plan.seed, self.step, rank])
            kinds = _IMAGINED if self.step >= self.plan.text_steps else (*_IMAGINED, "single", "several")
            imagined = [told(shown_in(draw_window(kind, draw, rng))) for kind in kinds for _ in range(_TEXT_ROWS)]
            parts = self._learn(*self._loss(draw, imagined, rng))
            self.step += 1
            if rank == 0 and (self.step % self.plan.validate_every == 0 or self.step == self.plan.steps):
                self._validate_and_keep(parts, time.monotonic() - started)

    def _loss(
        self, draw: DrawThing, imagined: list[Shown], rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        self.trainee.train()
        since = self.step - self.plan.text_steps
        if since < 0:
            return caption_loss(self.trainee, self.tokenizer, imagined, rng)
        easy = 1 - since / self.plan.easy_steps if since < self.plan.easy_steps else 0.0
        examples = draw_training(draw, self.plan.batch_size, rng, easy)  # single things first: all is made of them
        return batch_loss(self.trainee, self.tokenizer, examples, imagined, rng, hard=easy == 0)

    def _learn(self, loss: Tensor, parts: dict[str, float]) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * learning_share(self.step, self.plan)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        _average_gradients(self.trainee, self.plan.n_processes)
        nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
        self.optimizer.step()
        follow(self.mean, self.trainee.model, self.plan.mean_decay, self.step)
        return parts

    def _validate_and_keep(self, parts: dict[str, float], wall_s: float) -> None:
        found = validate(self.mean, self.tokenizer, self.plan) if self.step > self.plan.text_steps else {}
        line = {
            "step": self.step,
            **{name: round(share, 4) for name, share in found.items()},
            "wall_s": round(wall_s, 1),
        }
        losses = {name: round(part, 4) for name, part in parts.items()}
        log.info(" ".join(f"{key}={value}" for key, value in (line | losses).items()))
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | losses) + "\n")
        if found and (score := sum(found.values()) / len(found)) >= self.best_score:
            self.best_score = score
            plan = {**asdict(self.plan), "begun_with": Path(self.plan.begun_with).name}
            save_weights(self.folder / BEST, self.mean, self.tokenizer.vocabulary, plan | line)
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "best_score": self.best_score,
            "mean": self.mean.state_dict(),
        }
        state |= {
            "words": list(self.tokenizer.vocabulary),
            "trainee": self.trainee.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, self.folder / f"{LAST}.tmp")
        (self.folder / f"{LAST}.tmp").replace(self.folder / LAST)


@torch.no_grad()
def follow(mean: nn.Module, learner: nn.Module, decay: float, step: int) -> None:
    """Move the mean towards the weights: slowly, but for the first steps, which it would remember too long."""
    share = max(1 - decay, 1 / (1 + step))
    for mine, new in zip(mean.state_dict().values(), learner.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, share)
        else:
            mine.copy_(new)


def _take_over(folder: Path, trainee: Trainee, tokenizer: Tokenizer) -> None:
    """All that the network of a model directory knows; its captions only if its words are ours. Errors: BadModel.

    Conjunctions are left: they are learnt from states that rest.
    """
    model, words = load_weights(find_weights(folder))
    own = trainee.model.state_dict()
    left = () if list(words) == list(tokenizer.vocabulary) else ("text.",)
    left = left if model.shape.meaning == trainee.model.shape.meaning else (*left, "meaning.")
    trainee.model.load_state_dict(own | {k: v for k, v in model.state_dict().items() if not k.startswith(left)})


def learning_share(step: int, plan: Plan) -> float:
    """Of the learning rate: up in `warmup_steps` (again where clips begin), 1, down to nothing in `decay_steps`."""
    since = step - plan.text_steps if step >= plan.text_steps else step
    return min(1.0, (since + 1) / plan.warmup_steps, (plan.steps - step) / plan.decay_steps)


def _average_gradients(trainee: Trainee, n_processes: int) -> None:
    if n_processes == 1:
        return
    gradients = [parameter.grad for parameter in trainee.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    pieces = torch.split(flat / n_processes, [gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def validate(model: MiniModel, tokenizer: Tokenizer, plan: Plan) -> dict[str, float]:
    """Clips of all kinds whose things hold a validation pair: R@1 of captions, and how often each beats a foil."""
    rng, examples = np.random.default_rng([plan.seed, 3]), _validation_clips(plan.seed, plan.validation_gallery)
    clips = embed_examples(model, examples).fused
    own = [write_caption(shown, rng).text for shown in examples.shown]
    told = embed_texts(model, tokenizer, own)

    def beats(draw: Callable[[Shown, np.random.Generator], Shown]) -> float:
        foils = embed_texts(model, tokenizer, [write_caption(draw(shown, rng), rng).text for shown in examples.shown])
        return float(((clips * told).sum(1) > (clips * foils).sum(1)).float().mean())

    return {
        "validation_r1": float(find_own(model, tokenizer, own, clips).mean()),
        "validation_choice": beats(draw_foil),
        "validation_structure": beats(draw_structural_foil),
    }


@cache
def _validation_clips(seed: int, count: int) -> Examples:
    rng, draw, kinds = np.random.default_rng([seed, 1]), drawer("validation"), tuple(KIND_SHARES)
    return render_examples([draw_window(kinds[n % len(kinds)], draw, rng) for n in range(count)], rng)
