"""A hash is that of the bytes that were loaded, and is computed once a node."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shotlake.embed import weights
from shotlake.embed.weights import Seen
from shotlake.errors import BadModel


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shotlake" / "weights"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"first" * 100)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found: list[Path] = []
    hashed = weights.sha256_of
    monkeypatch.setattr(weights, "sha256_of", lambda path: found.append(path) or hashed(path))
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_at_rest_is_read_once(file: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "RACY_NS", -1)
    assert [Seen.now([file]).sha256s() for _ in range(3)] == [[_sha256(file)]] * 3
    assert reads == [file]


def test_a_file_of_this_moment_is_read_each_time(file: Path, reads: list[Path]) -> None:
    for _ in range(2):
        Seen.now([file]).sha256s()
    assert reads == [file, file]


def test_other_bytes_of_the_same_size_and_time_are_another_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "RACY_NS", -1)
    Seen.now([file]).sha256s()
    at = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"other" * 100)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert Seen.now([file]).sha256s() == [_sha256(file)]


@pytest.mark.parametrize("how", ["overwritten", "replaced", "gone"])
def test_a_file_that_changes_between_load_and_hash_is_refused(file: Path, how: str) -> None:
    seen = Seen.now([file])
    time.sleep(0.02)
    if how == "gone":
        file.unlink()
    else:
        target = file if how == "overwritten" else file.with_name("new")
        target.write_bytes(b"other" * 100)
        target.replace(file)
    with pytest.raises(BadModel):
        seen.sha256s()


def test_what_is_no_hash_in_the_cache_is_not_believed(
    file: Path, cache: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "RACY_NS", -1)
    Seen.now([file]).sha256s()
    (kept,) = [path for path in cache.iterdir() if path.suffix != ".lock"]
    kept.write_text("half a ha")
    assert Seen.now([file]).sha256s() == [_sha256(file)]
    assert len(reads) == 2


def test_without_a_cache_folder_it_is_hashed(file: Path, cache: Path) -> None:
    cache.parent.parent.write_text("a file is in the way")
    assert Seen.now([file]).sha256s() == [_sha256(file)]


def test_processes_side_by_side_hash_once(file: Path, tmp_path: Path) -> None:
    log = tmp_path / "reads"
    program = (
        "import sys, time; from pathlib import Path; from shotlake.embed import weights\n"
        "real, weights.RACY_NS = weights.sha256_of, -1\n"
        "def slow(path):\n    open(sys.argv[2], 'a').write('x'); time.sleep(0.5); return real(path)\n"
        "weights.sha256_of = slow; print(weights.Seen.now([Path(sys.argv[1])]).sha256s()[0])"
    )
    command = [sys.executable, "-c", program, str(file), str(log)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate()[0].strip() for process in running} == {_sha256(file)}
    assert log.read_text() == "x"
