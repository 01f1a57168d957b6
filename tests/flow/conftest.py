"""Folders that the tests of the flow may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shotlake.world.archive import Truth


@pytest.fixture
def copies(demo_archive: tuple[Path, Truth], tmp_path: Path) -> Path:
    """Four videos of the painted archive in a folder that the test may change."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for video in [video for video in demo_archive[1].videos if not video.fault][:4]:
        shutil.copy2(demo_archive[0] / video.path, folder / Path(video.path).name)
    return folder
