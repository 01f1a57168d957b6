"""The smallest training, once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.embed.mini.tiny import TINY, few_texts

from shotlake.embed.mini.train import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed training left: a network that has hardly begun to learn. Tests only read it."""
    folder = tmp_path_factory.mktemp("mini") / "first"
    with few_texts():
        train(TINY, folder)
    return folder
