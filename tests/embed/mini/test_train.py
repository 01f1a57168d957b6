"""Training: the losses, resuming to the same weights, two processes, and that it learns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shotlake.config import EmbedConfig
from shotlake.embed.load import load_encoder
from shotlake.embed.mini.files import read_header
from shotlake.embed.mini.train import BEST, LAST, Plan, Training, contrast, even_targets, train

TINY = Plan(steps=4, n_processes=1, batch_size=8, validate_every=2, validation_gallery=32)


def test_contrast_wants_every_right_answer_and_leaves_out_rows_without() -> None:
    match = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    right = torch.where(match, 9.0, -9.0)
    assert contrast(right, match) < 1
    assert contrast(-right, match) > 9
    only_one = right.clone()
    only_one[0, 1] = -9.0
    assert contrast(only_one, match) > contrast(right, match) + 1
    assert torch.isfinite(contrast(right, match))


def test_a_clip_that_does_not_tell_is_asked_to_be_unsure() -> None:
    wanted = even_targets(torch.tensor([1, -1]), 4)
    assert wanted.tolist() == [[0, 1, 0, 0], [0.25, 0.25, 0.25, 0.25]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / LAST, weights_only=True)["trainee"]


def test_an_interrupted_training_ends_where_the_other_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(TINY, tmp_path / "straight")
    learn = Training._learn

    def stop_at_three(training: Training, *arguments: object) -> float:
        if training.step == 3:
            raise KeyboardInterrupt
        return learn(training, *arguments)

    monkeypatch.setattr(Training, "_learn", stop_at_three)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "stopped")
    monkeypatch.undo()
    train(TINY, tmp_path / "stopped")
    straight, stopped = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert all(torch.equal(straight[name], stopped[name]) for name in straight)
    steps = [json.loads(line)["step"] for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]
    with pytest.raises(ValueError, match="another plan"):
        train(replace(TINY, seed=9), tmp_path / "stopped")


def test_what_was_trained_is_a_model_directory(tmp_path: Path) -> None:
    train(TINY, tmp_path)
    assert read_header(tmp_path / BEST)["training"]["steps"] == 4
    encoder = load_encoder(EmbedConfig(model=str(tmp_path)))
    assert encoder.embed_text(["a red circle"])["fused"].shape == (1, encoder.dim)


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path) -> None:
    train(replace(TINY, n_processes=2), tmp_path)
    assert torch.load(tmp_path / LAST, weights_only=True)["step"] == 4
    assert not (tmp_path / "meeting").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_training_learns_unseen_combinations(tmp_path: Path) -> None:
    train(Plan(steps=350, n_processes=1, validate_every=350), tmp_path)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["validation_r1"] > 0.6
