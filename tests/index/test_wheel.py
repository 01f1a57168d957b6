"""Exactly one faiss may be installed, since two share a folder."""

from __future__ import annotations

import pytest

from shotlake.errors import PreflightError
from shotlake.index import wheel


def test_the_one_faiss_of_this_environment_is_named():
    name, version = wheel.check_one_faiss().split()
    assert name.startswith("faiss") and version[0].isdigit()


@pytest.mark.parametrize(
    ("found", "words"),
    [({}, r"shotlake\[cpu\]"), ({"faiss-cpu": "1", "faiss-gpu": "1"}, "faiss-cpu and faiss-gpu overwrite")],
)
def test_none_and_two_are_refused(monkeypatch, found, words):
    monkeypatch.setattr(wheel, "installed", lambda: found)
    with pytest.raises(PreflightError, match=words):
        wheel.check_one_faiss.__wrapped__()
