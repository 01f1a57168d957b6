"""Folders that the tests of the flow may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.flow.lakes import MadeOnce

from shotlake.config import Config
from shotlake.world.archive import Truth


@pytest.fixture(autouse=True)
def captions_are_embedded_once(embeds_once: None) -> None:
    """In every test of this folder."""


@pytest.fixture(scope="session")
def four_done(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Four videos of the painted archive and their lake, with the settings of the demo."""
    videos = [demo_archive[0] / video.path for video in demo_archive[1].videos if not video.fault][:4]
    return MadeOnce.of(videos, tmp_path_factory.mktemp("four"))


@pytest.fixture
def done(four_done: MadeOnce, tmp_path: Path) -> tuple[Path, Config]:
    """That folder and a copy of that lake. The test may change both."""
    return four_done.put_back(tmp_path / "lake")


@pytest.fixture
def copies(demo_archive: tuple[Path, Truth], tmp_path: Path) -> Path:
    """Four videos of the painted archive in a folder that the test may change."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for video in [video for video in demo_archive[1].videos if not video.fault][:4]:
        shutil.copy2(demo_archive[0] / video.path, folder / Path(video.path).name)
    return folder
