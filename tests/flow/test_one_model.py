"""A run writes vectors of one model, or it fails: whatever happens to the model's files meanwhile, on whatever node."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.flow.lakes import local_config, run

import shotlake.flow.backfill as flow
from shotlake.config import Config
from shotlake.embed.mini.encoder import MINI_FOLDER
from shotlake.errors import ModelChanged
from shotlake.flow.verify import lake_balance
from shotlake.table.lake import Lake

FILE = "mini.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(MINI_FOLDER / FILE, folder / FILE)
    return folder


def _turn_a_bit(folder: Path) -> None:
    data = bytearray((folder / FILE).read_bytes())
    data[-10] ^= 1
    (folder / "new").write_bytes(data)
    (folder / "new").replace(folder / FILE)


def _config(tmp_path: Path, model: Path, engine: str) -> Config:
    sets = (f"embed.model={model}", "flow.wave_videos=2", "catalog.block_s=1", f"flow.engine={engine}")
    return local_config(tmp_path / "lake", *sets)


def _before_wave(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    waves, real = [0], flow.run_blocks

    def run_blocks(*arguments: object) -> object:
        waves[0] += 1
        if waves[0] == number:
            act()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(flow, "run_blocks", run_blocks)


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.long])])
def test_weights_that_change_between_waves_end_the_run(
    engine: str,
    copies: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_cluster")
    config = _config(tmp_path, model, engine)
    with monkeypatch.context() as patch:
        _before_wave(patch, 2, lambda: _turn_a_bit(model))
        with pytest.raises(ModelChanged, match="weights_sha256") as raised:
            run(copies, config)
    assert raised.value.exit_status == 1
    lake = Lake.open(config.lake)
    rows = lake.read("segments", ["embed_key", "weights_sha256", "uri"])
    assert len(set(rows["uri"].to_pylist())) == 2
    assert len(set(zip(rows["embed_key"].to_pylist(), rows["weights_sha256"].to_pylist()))) == 1
    assert lake.read("runs").sort_by("at")["status"].to_pylist()[-1] == "failed"
    shutil.copy(MINI_FOLDER / FILE, model / FILE)
    assert run(copies, config).ledger.videos["indexed"] == 2  # the rest, with the first model
    assert lake_balance(config.lake)["balanced"]


def test_weights_that_are_broken_between_waves_end_the_run(
    copies: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before_wave(monkeypatch, 2, lambda: (model / FILE).write_bytes(b"half a fi"))
    with pytest.raises(ModelChanged, match="not a whole safetensors file"):
        run(copies, _config(tmp_path, model, "local"))


def test_the_first_node_with_another_model_ends_the_run_without_a_row(
    copies: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tmp_path, model, "local")
    _before_wave(monkeypatch, 1, lambda: _turn_a_bit(model))
    with pytest.raises(ModelChanged):
        run(copies, config)
    assert not len(Lake.open(config.lake).read("segments"))
