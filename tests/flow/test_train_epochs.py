"""An epoch that a task of the cluster has trained, under an interpreter of its own, is that of one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.flow.test_fill_shards import build

from shotlake.config import FlowConfig
from shotlake.errors import ConfigError
from shotlake.flow.train_epochs import refusal, trainer
from shotlake.index.fill import fill_here, maker, train_here
from shotlake.index.manifest import Manifest
from shotlake.index.receipts import Trained

RAY = FlowConfig(engine="ray")


def trained_hashes(manifest: Manifest) -> dict[str, str]:
    return {file.path.split("/")[2]: file.sha256 for file in manifest.files if file.path.endswith("trained.faiss")}


@pytest.mark.ray
def test_a_task_trains_what_one_process_trains(ray_cluster, demo_lake, tmp_path) -> None:
    done: list[Trained] = []

    def train(*what) -> Trained:
        done.append(trainer(RAY, sys.executable)(*what))
        return done[-1]

    here = build(demo_lake, tmp_path / "here", fill_here)
    apart = build(demo_lake, tmp_path / "apart", fill_here, train)
    assert len(trained_hashes(here)) == 2 and trained_hashes(here) == trained_hashes(apart)
    assert here.faiss == apart.faiss and here.shards == apart.shards
    assert done[0].maker != maker()
    report = next((tmp_path / "apart").rglob("epochs/*/fused/report.json"))
    assert json.loads(report.read_text())["device"] == "cpu"


@pytest.mark.ray
def test_an_interpreter_that_is_not_there_is_named(ray_cluster, demo_lake, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"index\.train_python is '/none/python', which starts no worker: .*No such"):
        build(demo_lake, tmp_path / "index", fill_here, trainer(RAY, "/none/python"))


def test_why_an_interpreter_starts_no_worker(tmp_path: Path) -> None:
    import ray

    assert refusal(sys.executable, ray.__version__) == ""
    assert refusal(sys.executable, "1.0") == f"it has Ray {ray.__version__}, the cluster 1.0"
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    bare.chmod(0o755)
    assert "No module named 'ray'" in refusal(str(bare), ray.__version__)


def test_this_process_trains_where_nothing_else_is_asked_for() -> None:
    assert trainer(RAY, "") is train_here
    assert trainer(FlowConfig(engine="local"), sys.executable) is train_here
