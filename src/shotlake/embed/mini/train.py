"""Training of `mini`: seeded, resumable, one-thread processes that average their gradients.

The signal is the renderer's own truth: captions are matched to clips by what they claim, and every clip is also asked
for each attribute, by one-attribute captions and by heads that are dropped afterwards. The checkpoint that is kept is
the one that finds most clips of validation combinations; test combinations are not touched here.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from shotlake.embed.mini.evaluate import embed_examples, find_own
from shotlake.embed.mini.examples import (
    Examples,
    Ids,
    as_tensors,
    claims_of,
    draw_gallery,
    draw_training,
    labels_of_rows,
    matches,
    split_combinations,
)
from shotlake.embed.mini.files import save_weights
from shotlake.embed.mini.model import MiniModel, MiniShape
from shotlake.embed.mini.text import Tokenizer
from shotlake.world.captions import Caption, full_caption, one_attribute_captions, partial_caption, vocabulary
from shotlake.world.scenes import ATTRIBUTES

log = logging.getLogger(__name__)

BEST, LAST = "best.safetensors", "last.pt"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard to train; equal plans give equal weights on equal machines."""

    steps: int = 1000
    seed: int = 1
    n_processes: int = 2
    batch_size: int = 64
    learning_rate: float = 2.5e-3
    warmup_steps: int = 120
    prompt_weight: float = 1.0
    head_weight: float = 1.5
    initial_scale: float = 14.0
    validate_every: int = 200
    validation_gallery: int = 1152


class Trainee(nn.Module):
    """The model and what only training needs: the temperature and one head an attribute."""

    def __init__(self, shape: MiniShape, initial_scale: float) -> None:
        super().__init__()
        self.model = MiniModel(shape)
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))
        self.heads = nn.ModuleList(nn.Linear(shape.dim, len(values)) for values in ATTRIBUTES.values())


def train(plan: Plan, folder: Path) -> None:
    """Train into `folder`: `last.pt` to go on from, the best network, `log.jsonl`. Goes on where it was stopped.

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
    tokenizer: Tokenizer
    optimizer: torch.optim.Optimizer
    step: int = 0
    best_r1: float = -1.0

    @classmethod
    def begin(cls, plan: Plan, folder: Path) -> Training:
        """A fresh start, or what an interrupted run of the same plan left in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(plan.seed)
        tokenizer = Tokenizer(vocabulary(), MiniShape(0).max_words)
        trainee = Trainee(MiniShape(n_words=len(tokenizer.vocabulary)), plan.initial_scale)
        optimizer = torch.optim.AdamW(trainee.parameters(), plan.learning_rate, weight_decay=0.05)
        training = cls(plan, folder, trainee, tokenizer, optimizer)
        if (folder / LAST).exists():
            state = torch.load(folder / LAST, weights_only=True)
            if state["plan"] != asdict(plan):
                raise ValueError(f"{folder} holds the training of another plan, {state['plan']}; name another folder")
            trainee.load_state_dict(state["trainee"])
            optimizer.load_state_dict(state["optimizer"])
            training.step, training.best_r1 = state["step"], state["best_r1"]
        return training

    def run(self, rank: int) -> None:
        """All steps that are left. The first process validates and writes."""
        pool, started = split_combinations().train, time.monotonic()
        while self.step < self.plan.steps:
            loss = self._learn(np.random.default_rng([self.plan.seed, self.step, rank]), pool)
            self.step += 1
            if rank == 0 and (self.step % self.plan.validate_every == 0 or self.step == self.plan.steps):
                self._validate_and_keep(loss, time.monotonic() - started)

    def _learn(self, rng: np.random.Generator, pool: Ids) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * _schedule(self.step, self.plan)
        self.trainee.train()
        examples = draw_training(pool, self.plan.batch_size, rng)
        loss = batch_loss(self.trainee, self.tokenizer, examples, rng, self.plan)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        _average_gradients(self.trainee, self.plan.n_processes)
        nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def _validate_and_keep(self, loss: float, wall_s: float) -> None:
        r1 = validation_r1(self.trainee.model, self.tokenizer, self.plan)
        line = {"step": self.step, "loss": round(loss, 4), "validation_r1": round(r1, 4), "wall_s": round(wall_s, 1)}
        log.info(" ".join(f"{key}={value}" for key, value in line.items()))
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if r1 >= self.best_r1:
            self.best_r1 = r1
            save_weights(
                self.folder / BEST, self.trainee.model, self.tokenizer.vocabulary, {**asdict(self.plan), **line}
            )
        state = {"plan": asdict(self.plan), "step": self.step, "best_r1": self.best_r1}
        state |= {"trainee": self.trainee.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, self.folder / f"{LAST}.tmp")
        (self.folder / f"{LAST}.tmp").replace(self.folder / LAST)


def batch_loss(
    trainee: Trainee, tokenizer: Tokenizer, examples: Examples, rng: np.random.Generator, plan: Plan
) -> Tensor:
    """Contrast with whole and with partial captions, one-attribute prompts, attribute heads."""
    whole, partial, prompts = write_captions(examples, rng)
    with torch.autocast("cpu", torch.bfloat16):
        summary = trainee.model.fuse(trainee.model.tokens(*as_tensors(examples)))
        clips = F.normalize(trainee.model.project(summary).float(), dim=-1)
        ids = torch.from_numpy(tokenizer.ids([caption.text for caption in (*whole, *partial, *prompts)]))
        texts = F.normalize(trainee.model.text(ids).float(), dim=-1)
    scale = trainee.log_scale.exp().clamp(max=100)
    whole_T, partial_T, prompts_T = torch.split(texts, [len(whole), len(partial), len(prompts)])
    loss = contrast(scale * clips @ whole_T.T, torch.from_numpy(matches(examples.labels, whole)))
    loss = loss + contrast(scale * clips @ partial_T.T, torch.from_numpy(matches(examples.labels, partial)))
    labels = torch.from_numpy(examples.labels)
    asked = torch.split(scale * clips @ prompts_T.T, [len(values) for values in ATTRIBUTES.values()], dim=1)
    for place, (prompt_logits, head) in enumerate(zip(asked, trainee.heads, strict=True)):
        wanted = even_targets(labels[:, place], prompt_logits.shape[1])
        loss = loss + plan.prompt_weight / 4 * F.cross_entropy(prompt_logits, wanted)
        loss = loss + plan.head_weight / 4 * F.cross_entropy(head(summary.float()), wanted)
    return loss


def write_captions(examples: Examples, rng: np.random.Generator) -> tuple[list[Caption], list[Caption], list[Caption]]:
    """Whole and partial captions of the clips that show something, and the 34 one-attribute captions."""
    shown = [claims_of(labels) for labels in examples.labels]
    whole = [full_caption(claims, rng) for claims in shown if claims]
    return whole, [partial_caption(claims, rng) for claims in shown if claims], one_attribute_captions(rng)


def even_targets(labels_B: Tensor, n_values: int) -> Tensor:
    """[B, n_values]: all on the label; evenly on every value where it is -1, since such a clip does not tell."""
    told = (labels_B >= 0)[:, None]
    return torch.where(told, F.one_hot(labels_B.clamp(min=0), n_values), 1 / n_values)


def contrast(logits_BM: Tensor, match_BM: Tensor) -> Tensor:
    """Two-way InfoNCE with several right answers a row, by their mean log-probability; rows without are left out."""
    loss = logits_BM.new_zeros(())
    for logits, match in ((logits_BM, match_BM), (logits_BM.T, match_BM.T)):
        n_right = match.sum(1)
        log_right = (logits.log_softmax(1) * match).sum(1) / n_right.clamp(min=1)
        loss = loss - 0.5 * log_right[n_right > 0].mean()
    return loss


def _schedule(step: int, plan: Plan) -> float:
    if step < plan.warmup_steps:
        return (step + 1) / plan.warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)))


def _average_gradients(trainee: Trainee, n_processes: int) -> None:
    if n_processes == 1:
        return
    gradients = [parameter.grad for parameter in trainee.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    pieces = torch.split(flat / n_processes, [gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def validation_r1(model: MiniModel, tokenizer: Tokenizer, plan: Plan) -> float:
    """R@1 of whole captions of validation combinations, among them and others that are not test."""
    split, rng = split_combinations(), np.random.default_rng([plan.seed, 1])
    rows = np.concatenate([split.validation, split.train])[: plan.validation_gallery]
    clips = embed_examples(model, draw_gallery(rows, rng)).fused
    shown = labels_of_rows(rows[: len(split.validation)])
    asked = [full_caption(claims_of(labels), rng).text for labels in shown]
    return float(find_own(model, tokenizer, asked, clips).mean())
