"""Bad checkpoints: one sentence, exit status 4, before a video is opened, and none of their code is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from tests.embed.checkpoints import save_pe_av

from shotlake.config import EmbedConfig
from shotlake.embed.checkpoint import open_checkpoint
from shotlake.embed.load import load_encoder
from shotlake.errors import BadModel

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed; the extra `models` brings it")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pe_av(tmp_path_factory.mktemp("good"))


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy that the test may spoil."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def refusal(model: Path | str, revision: str = "") -> str:
    with pytest.raises(BadModel) as caught:
        load_encoder(EmbedConfig(model=str(model), revision=revision))
    assert caught.value.exit_status == 4
    assert "\n" not in caught.value.message
    return caught.value.message


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def pickles_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def half_of_the_file(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def a_part_is_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00001-of-2"}}))


def another_architecture(folder: Path) -> None:
    edit(folder / "config.json", model_type="bert")


def remote_code(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    (folder / "modeling_evil.py").write_text("raise SystemExit('code of a model directory was run')")


def remote_code_of_the_tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]})


def broken_settings(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def a_setting_of_the_wrong_kind(folder: Path) -> None:
    edit(folder / "config.json", audio_video_config={"hidden_size": "wide"})


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


BROKEN = {
    a_setting_of_the_wrong_kind: "cannot be loaded as a 'pe_audio_video' model",
    no_tokenizer: "cannot be loaded as a 'pe_audio_video' model",
    pickles_only: "pytorch_model.bin, and only safetensors are read",
    half_of_the_file: "not a whole safetensors file",
    a_part_is_missing: "names model-00001-of-2 which is not there",
    another_architecture: "architecture 'bert'; known are pe_audio_video",
    remote_code: "asks for code of its own",
    remote_code_of_the_tokenizer: "asks for code of its own",
    broken_settings: "not readable JSON",
}


@needs_timm
@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_a_bad_directory_is_refused(folder: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder)
    assert BROKEN[spoil] in refusal(folder)


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(change(tensors), path, {"format": "pt"})


@needs_timm
def test_tensors_that_are_missing_or_of_another_shape_are_named(folder: Path) -> None:
    name = "audio_video_head.proj.weight"
    rewrite(folder / "model.safetensors", lambda tensors: {k: v for k, v in tensors.items() if k != name})
    assert name in refusal(folder)
    other = "text_audio_video_head.proj.weight"
    rewrite(
        folder / "model.safetensors",
        lambda tensors: {**tensors, name: tensors[other].clone(), other: tensors[other][1:]},
    )
    assert "2 tensors are missing or of another shape" in refusal(folder)


@needs_timm
def test_several_parts_are_one_model(folder: Path) -> None:
    whole = open_checkpoint(str(folder)).weights_sha256
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for part, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / part, {"format": "pt"})
    weight_map = {name: part for part, own in parts.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    found = open_checkpoint(str(folder))
    assert [path.name for path in found.seen.paths] == sorted(parts)
    assert found.weights_sha256 != whole
    assert load_encoder(EmbedConfig(model=str(folder))).fingerprint.weights_sha256 == found.weights_sha256


def test_missing_weights_name_the_command_that_fetches_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "facebook/pe-av-base-16-frame"
    assert f"shotlake models fetch {name} --revision {COMMIT}" in refusal(name, COMMIT)
    assert f"`shotlake models fetch {name}` prints the newest" in refusal(name)
    assert "40 hex digits" in refusal(name, "main")


@needs_timm
def test_weights_in_the_cache_are_found_offline_at_their_commit(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = tmp_path / "models--tiny--pe-av" / "snapshots"
    snapshots.mkdir(parents=True)
    shutil.copytree(good, snapshots / COMMIT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    fingerprint = load_encoder(EmbedConfig(model="tiny/pe-av", revision=COMMIT)).fingerprint
    assert (fingerprint.model_id, fingerprint.revision) == ("tiny/pe-av", COMMIT)
    assert fingerprint.weights_sha256 == load_encoder(EmbedConfig(model=str(good))).fingerprint.weights_sha256
