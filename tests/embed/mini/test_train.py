"""Training: resuming to the same weights, two processes, and that it learns."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.embed.mini.tiny import TINY, few_texts

from shotlake.config import EmbedConfig
from shotlake.embed.load import load_encoder
from shotlake.embed.mini.files import load_weights, read_header
from shotlake.embed.mini.train import BEST, LAST, Plan, Training, follow, learning_share, train


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / LAST, weights_only=True)["trainee"]


def test_an_interrupted_training_ends_where_the_other_does(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Training._learn

    def stop_at_three(training: Training, *arguments: Any) -> dict[str, float]:
        if training.step == 3:
            raise KeyboardInterrupt
        return learn(training, *arguments)

    with few_texts():
        monkeypatch.setattr(Training, "_learn", stop_at_three)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, tmp_path / "stopped")
        monkeypatch.undo()
        train(TINY, tmp_path / "stopped")
    straight, stopped = weights(trained), weights(tmp_path / "stopped")
    assert all(torch.equal(straight[name], stopped[name]) for name in straight)
    steps = [json.loads(line)["step"] for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]
    with pytest.raises(ValueError, match="another plan"):
        train(replace(TINY, seed=9), tmp_path / "stopped")


def test_a_training_can_be_finished_sooner_than_planned() -> None:
    plan = Plan(steps=1000, warmup_steps=10, decay_steps=100)
    rates = [learning_share(step, plan) for step in (0, 9, 500, 899, 950, 999)]
    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5, 0.01])
    assert learning_share(500, replace(plan, steps=550)) == pytest.approx(0.5)


def test_what_is_kept_is_a_mean_that_follows_the_weights(tmp_path: Path) -> None:
    training = Training.begin(replace(TINY, mean_decay=0.9), tmp_path)
    start = {name: tensor.clone() for name, tensor in training.mean.state_dict().items()}
    for parameter in training.trainee.model.parameters():
        parameter.data += 1.0
    follow(training.mean, training.trainee.model, 0.9, step=100)
    for name, tensor in training.mean.state_dict().items():
        if name in dict(training.trainee.model.named_parameters()):
            torch.testing.assert_close(tensor, start[name] + 0.1)


def test_what_was_trained_is_a_model_directory(trained: Path) -> None:
    assert read_header(trained / BEST)["training"]["steps"] == 4
    encoder = load_encoder(EmbedConfig(model=str(trained)))
    assert encoder.embed_text(["a red circle"])["fused"].shape == (1, encoder.dim)


def test_a_training_can_go_on_with_the_network_of_another(trained: Path, tmp_path: Path) -> None:
    kept, _ = load_weights(trained / BEST)
    training = Training.begin(replace(TINY, begun_with=str(trained)), tmp_path / "second")
    for mine in (training.trainee.model, training.mean):
        assert all(torch.equal(tensor, mine.state_dict()[name]) for name, tensor in kept.state_dict().items())


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path) -> None:
    train(replace(TINY, n_processes=2), tmp_path)
    assert torch.load(tmp_path / LAST, weights_only=True)["step"] == 4
    assert not (tmp_path / "meeting").exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_short_training_learns_unseen_combinations(tmp_path: Path) -> None:
    """R@1 among 600 clips, where chance is 0.002. Six minutes on two quiet cores."""
    train(Plan(steps=620, text_steps=400, decay_steps=120, validate_every=620), tmp_path)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["validation_r1"] > 0.05
