"""The tests of this room share `lakes.py`, and run on a local folder and on an S3 server."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a lake."""
    return str(tmp_path / "lake") if request.param == "local" else str(request.getfixturevalue("s3_root"))
