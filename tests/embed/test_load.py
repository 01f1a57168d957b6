"""What a configuration means, and what a bad model gets: one sentence, exit 4, no code run."""

import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder, resolve_device
from shotlake.embed.mini.encoder import MINI_FOLDER, MiniEncoder
from shotlake.embed.mini.files import find_weights
from shotlake.errors import BadModel

SHIPPED = find_weights(MINI_FOLDER)


class NotAnEncoder:
    """Has the constructor and nothing else."""

    def __init__(self, config: EmbedConfig, device: str) -> None:
        self.config = config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model directory with the shipped weights under another name."""
    shutil.copy(SHIPPED, tmp_path / "model.safetensors")
    return tmp_path


def refusal(model: str | Path) -> str:
    with pytest.raises(BadModel) as caught:
        load_encoder(EmbedConfig(model=str(model)))
    assert caught.value.exit_status == 4 and "\n" not in caught.value.message
    return caught.value.message


def rewrite(path: Path, header: dict[str, str] | None = None, drop: str = "") -> None:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != drop}  # noqa: SIM118
        metadata = {**file.metadata(), **(header or {})}
    save_file(tensors, path, metadata)


def test_a_directory_is_the_same_encoder_wherever_it_lies(folder: Path, encoder: Encoder) -> None:
    (folder / "modeling.py").write_text("raise SystemExit('code of a model directory was run')")
    other = load_encoder(EmbedConfig(model=str(folder)))
    assert isinstance(other, Encoder) and other.fingerprint == encoder.fingerprint


def test_other_weights_have_another_fingerprint(folder: Path, encoder: Encoder) -> None:
    rewrite(folder / "model.safetensors", {"training": '{"steps": 1}'})
    assert load_encoder(EmbedConfig(model=str(folder))).fingerprint != encoder.fingerprint


def test_an_installed_class_is_loaded() -> None:
    name = f"{MiniEncoder.__module__}.{MiniEncoder.__name__}"
    assert "mini" in refusal("python:shotlake.embed.mini.nowhere.Class")
    assert "cannot be imported" in refusal("python:")
    assert "cannot be imported" in refusal(f"python:{name}Typo")
    assert "lacks methods" in refusal("python:collections.ChainMap")


def test_directories_that_cannot_be_used(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    assert str(empty) in refusal(empty) and "none" in refusal(empty)
    (empty / "pytorch_model.bin").write_bytes(b"\x80\x02pickle")
    assert "holds none for .safetensors" in refusal(empty)
    shutil.copy(SHIPPED, folder / "second.safetensors")
    assert "second.safetensors" in refusal(folder)


@pytest.mark.parametrize("size_bytes", [0, 4, 1_000, 1_000_000])
def test_a_file_that_is_cut_off(folder: Path, size_bytes: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size_bytes])
    assert "not a whole safetensors file" in refusal(folder)


def test_files_of_another_network(folder: Path) -> None:
    weights = folder / "model.safetensors"
    rewrite(weights, drop="meaning.loudness.bias")
    assert "meaning.loudness.bias" in refusal(folder)
    shutil.copy(SHIPPED, weights)
    rewrite(weights, {"shape": '{"n_pieces": 3, "wings": 2}'})
    assert "does not hold a mini network" in refusal(folder)
    rewrite(weights, {"format": "something-else"})
    assert "something-else" in refusal(folder)


@pytest.mark.parametrize("model", ["facebook/pe-av-base-16-frame", "./no/such/folder", "minni"])
def test_what_is_not_here_is_named(model: str) -> None:
    assert repr(model) in refusal(model)


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda"}
