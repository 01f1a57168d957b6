"""The second training: what it asks, what it leaves alone, and that it learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shotlake.config import EmbedConfig
from shotlake.embed.load import load_encoder
from shotlake.embed.mini.encoder import MINI_FOLDER
from shotlake.embed.mini.files import find_weights, load_weights, read_header
from shotlake.embed.mini.kept import join, keep
from shotlake.embed.mini.labels import matches, parts_of
from shotlake.embed.mini.learn_meaning import (
    BEST,
    MeaningPlan,
    conjunctions_of,
    in_order,
    naming_losses,
    search_losses,
    train_meaning,
    with_conjunctions,
)
from shotlake.embed.mini.meaning import VALUE_SIZES, Named
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.train import Plan, Training, validate
from shotlake.world.scenes import Shot, Shown, Thing

RED, BLUE = Thing("red", "plain", "star", "left", 1), Thing("blue", "dotted", None, "up", 2)
PAIR: Shown = (Shot((RED, BLUE), ("hiss",)),)


@pytest.fixture(scope="module")
def plan(trained: Path) -> MeaningPlan:
    return MeaningPlan(
        str(trained),
        n_kept=128,
        held_out=0.5,
        naming_steps=10,
        naming_rows=64,
        steps=10,
        n_groups=4,
        vector_dim=64,
        n_processes=1,
    )


def certain(shown: list[Shown], *, swapped: bool = False) -> Named:
    """Logits that name everything rightly, if wanted with both states the other way round."""
    truth = parts_of(shown)
    values = torch.full((len(shown), 2, 2, sum(VALUE_SIZES)), -12.0)
    start = 0
    for number, size in enumerate(VALUE_SIZES):
        for place in np.ndindex(*truth.there.shape):
            values[*place, start + truth.values[*place, number] % size] = 12.0
        start += size
    there = torch.from_numpy(truth.there) * 24.0 - 12.0
    sounds = torch.from_numpy(truth.sounds) * 24.0 - 12.0
    turned = (values.flip(2), there.flip(2)) if swapped else (values, there)
    return Named(*turned, sounds, torch.zeros(len(shown)))


@pytest.mark.parametrize("swapped", [False, True])
def test_naming_is_asked_for_things_in_either_order(swapped: bool) -> None:
    shown, seconds = [PAIR], np.full((1, 2), 2.0, np.float32)
    losses = naming_losses(certain(shown, swapped=swapped), parts_of(shown), seconds)
    assert losses["things"] < 1e-3 and losses["sounds"] < 1e-3
    ordered = in_order(certain(shown, swapped=swapped), parts_of(shown)).likely()
    torch.testing.assert_close(ordered.values_NCTV, certain(shown).likely().values_NCTV)
    wrong = naming_losses(certain([(Shot((RED, RED), ("bell",)),)]), parts_of(shown), seconds)
    assert wrong["things"] > 5 and wrong["sounds"] > 5


def test_the_share_of_the_first_shot_is_asked_of_two() -> None:
    cut: Shown = (Shot((RED,)), Shot((BLUE,)))
    seconds = np.array([[1.5, 0.5]], np.float32)
    right, wrong = (
        naming_losses(
            replace(certain([cut]), share_N=torch.tensor([np.log(share / (1 - share))])), parts_of([cut]), seconds
        )["share"]
        for share in (0.75, 0.25)
    )
    assert right < wrong


def test_a_search_asks_for_every_right_answer_or_for_one() -> None:
    logits = torch.tensor([[9.0], [0.0], [5.0]])
    right = torch.tensor([[True], [True], [False]])
    each, first = search_losses(logits, right, ~right)
    assert float(first) < 0.05 < 2.0 < float(each)
    unclear, _ = search_losses(logits, right, torch.zeros_like(right))
    assert float(unclear) == pytest.approx(0.0, abs=1e-6)


def test_only_the_meaning_is_learnt_and_the_result_is_a_model_directory(plan: MeaningPlan, tmp_path: Path) -> None:
    train_meaning(plan, tmp_path)
    before, words = load_weights(Path(plan.begun_with) / BEST)
    after, same_words = load_weights(tmp_path / BEST)
    assert words == same_words and after.shape.meaning == "conjunctions"
    resting = {name: tensor for name, tensor in before.state_dict().items() if not name.startswith("meaning.")}
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in resting.items())
    training = read_header(tmp_path / BEST)["training"]
    assert training["meaning"]["steps"] == plan.steps and training["meaning"]["begun_with"] == "first"
    encoder = load_encoder(EmbedConfig(model=str(tmp_path)))
    assert encoder.embed_text(["a red circle"])["fused"].shape == (1, 64)

    training = Training.begin(Plan(begun_with=str(tmp_path), n_processes=1), tmp_path / "further")
    assert all(torch.equal(tensor, training.mean.state_dict()[name]) for name, tensor in resting.items())


def test_equal_plans_learn_equal_weights(plan: MeaningPlan, tmp_path: Path) -> None:
    learnt = []
    for name in ("one", "other"):
        train_meaning(plan, tmp_path / name)
        learnt.append(load_weights(tmp_path / name / BEST)[0].state_dict())
    assert all(torch.equal(tensor, learnt[1][name]) for name, tensor in learnt[0].items())


def test_too_few_clips_to_know_cuts_are_refused(plan: MeaningPlan, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of 64 kept clips none"):
        train_meaning(replace(plan, n_kept=64, held_out=0.02, seed=2), tmp_path)


def test_the_match_score_is_what_few_unanswered_captions_reach() -> None:
    """Measured anew on clips and captions that were not kept, it lets through about as many."""
    model, words = load_weights(find_weights(MINI_FOLDER))
    meaning, tokenizer = conjunctions_of(model), Tokenizer(words, model.shape.max_words)
    kept = join([keep(model, tokenizer, (77, 5, number)) for number in range(8)])
    with torch.no_grad():
        clips = torch.nn.functional.normalize(meaning(kept.clips_NSD.float()), dim=-1)
        scores = (meaning.say(kept.captions_MSD.float()) @ clips.T).numpy()
    answered = matches(kept.shown, kept.claims).T
    n_each = len(kept.claims) // 2  # captions of half of the clips, among the others: most have no answer there
    others = np.arange(len(kept.shown)) >= len(kept.shown) * 5 // 8
    unanswered = ~answered[:n_each][:, others].any(1)
    best = scores[:n_each][:, others].max(1)
    threshold = float(meaning.get_buffer("match_score"))
    assert unanswered.sum() > 300 and np.mean(best[unanswered] >= threshold) < 0.08
    own = np.where(answered, scores, -1.0).max(1)
    assert np.mean(own[answered.any(1)] >= threshold) > 0.7


def test_a_meaning_that_begins_anew_keeps_all_else(plan: MeaningPlan) -> None:
    model, _ = with_conjunctions(Path(plan.begun_with) / BEST, plan)
    assert model.shape.vector_dim == 64 and model.shape.meaning == "conjunctions"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_second_training_learns_pairs_that_were_never_seen(tmp_path: Path) -> None:
    """R@1 among 600 clips of validation, from the shipped towers with a meaning that knows nothing: chance is 0.002."""
    plan = MeaningPlan(str(MINI_FOLDER), n_kept=4096, naming_steps=300, steps=150, n_groups=24)
    train_meaning(plan, tmp_path)
    model, words = load_weights(tmp_path / BEST)
    found = validate(model, Tokenizer(words, model.shape.max_words), Plan())
    assert found["validation_r1"] > 0.7 and found["validation_structure"] > 0.85
