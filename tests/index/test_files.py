"""The cache of a remote lake's files: what was not asked for longest makes room, and never what is in use."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from shotlake import storage
from shotlake.errors import CorruptGeneration
from shotlake.index.files import discard, fetch, file_entry, store

ROOT = "s3://lake/index/key"


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A lake of four files of a hundred bytes behind s3:// URIs; gives their entries."""
    folder = tmp_path / "remote"
    folder.mkdir()

    def here(uri: str) -> Path:
        return folder / uri.removeprefix(f"{ROOT}/")

    monkeypatch.setattr(storage, "download", lambda uri, path: _copy(here(uri), path))
    monkeypatch.setattr(storage, "upload", lambda path, uri: shutil.copyfile(path, here(uri)))
    for k in range(4):
        (folder / f"{k}.bin").write_bytes(bytes([k]) * 100)
    return [file_entry(folder / f"{k}.bin", f"{k}.bin") for k in range(4)]


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)


def cached(cache: Path) -> set[str]:
    return {path.name for path in (cache / "generations").rglob("*.bin")}


def ask(files, cache: Path, cap: int = 0, at: int = 0):
    """Fetch, at a time of day."""
    found = fetch(ROOT, files, cache, cap)
    for receipt in (cache / "receipts").iterdir():
        if at and receipt.stat().st_mtime > 1_000:
            os.utime(receipt, (at, at))
    return found


def test_the_longest_unused_file_makes_room(remote, tmp_path):
    cache = tmp_path / "cache"
    ask([remote[0]], cache, 250, at=1)
    ask([remote[1]], cache, 250, at=2)
    assert cached(cache) == {"0.bin", "1.bin"}
    ask([remote[0]], cache, 250, at=3)
    ask([remote[2]], cache, 250, at=4)
    assert cached(cache) == {"0.bin", "2.bin"}
    ask([remote[3]], cache, at=5)
    assert len(cached(cache)) == 3, "without a cap nothing is removed"


def test_a_file_in_use_stays_though_the_cap_is_passed(remote, tmp_path, caplog):
    cache = tmp_path / "cache"
    held = ask(remote[:2], cache, 150, at=1)
    assert cached(cache) == {"0.bin", "1.bin"}, "a generation that is larger than the cap is loaded all the same"
    with caplog.at_level(logging.WARNING):
        later = ask([remote[2]], cache, 150, at=2)
    assert "more than index.cache_bytes is in use" in caplog.text
    assert held["0.bin"].read_bytes() == bytes(100) and cached(cache) == {"0.bin", "1.bin", "2.bin"}
    del held
    ask([remote[3]], cache, 250)
    assert cached(cache) == {"2.bin", "3.bin"}
    assert later["2.bin"].exists()


def test_a_copy_of_what_is_stored_no_more_goes_unless_it_is_in_use(remote, tmp_path):
    cache = tmp_path / "cache"
    held = ask([remote[0]], cache, at=1)
    ask([remote[1]], cache, at=1)
    for file in remote:
        discard(f"{ROOT}/{file.path}", cache)
    assert cached(cache) == {"0.bin"}, "of what was never asked for there is none"
    assert len(list((cache / "receipts").iterdir())) == 1
    del held
    discard(f"{ROOT}/0.bin", cache)
    assert not cached(cache)


def test_what_was_stored_from_here_is_not_downloaded(remote, tmp_path, monkeypatch):
    cache, path = tmp_path / "cache", tmp_path / "new.bin"
    path.write_bytes(b"x" * 100)
    ask([remote[0]], cache, 150)
    entry = store(path, ROOT, "new.bin", cache, 150)
    assert cached(cache) == {"new.bin"} and not path.exists()
    monkeypatch.setattr(storage, "download", None)
    assert fetch(ROOT, [entry], cache)["new.bin"].read_bytes() == b"x" * 100


def test_a_download_that_is_not_what_the_manifest_says_is_refused_and_forgotten(remote, tmp_path):
    wrong = remote[1].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(CorruptGeneration, match="does not have the sha256"):
        fetch(ROOT, [wrong], tmp_path / "cache")
    assert cached(tmp_path / "cache") == set()
    assert fetch(ROOT, remote[:2], tmp_path / "cache").keys() == {"0.bin", "1.bin"}


def test_a_local_file_is_used_in_place_or_copied(tmp_path):
    lake, cache = tmp_path / "lake", tmp_path / "cache"
    lake.mkdir()
    (lake / "a.bin").write_bytes(b"a" * 100)
    entry = file_entry(lake / "a.bin", "a.bin")
    assert fetch(str(lake), [entry], cache)["a.bin"] == lake / "a.bin" and cached(cache) == set()
    held = fetch(str(lake), [entry], cache, in_place=False)
    copy = held["a.bin"]
    assert copy.is_relative_to(cache) and copy.stat().st_ino != (lake / "a.bin").stat().st_ino
    (lake / "a.bin").write_bytes(b"b" * 50)
    assert copy.read_bytes() == b"a" * 100
    with pytest.raises(CorruptGeneration, match="has 50 bytes"):
        fetch(str(lake), [entry], cache)
    discard(str(lake / "a.bin"), cache)
    assert cached(cache) == {"a.bin"}, "it is held"
    del held
    assert cached(cache) == set()


def test_a_copy_of_what_stood_there_before_is_made_anew(tmp_path):
    lake, cache = tmp_path / "lake", tmp_path / "cache"
    lake.mkdir()
    for content in (b"one", b"other", b"again"):
        (lake / "a.bin").write_bytes(content)
        entry = file_entry(lake / "a.bin", "a.bin")
        assert fetch(str(lake), [entry], cache, in_place=False)["a.bin"].read_bytes() == content
    (lake / "a.bin").write_bytes(b"wrong")
    assert fetch(str(lake), [entry], cache, in_place=False)["a.bin"].read_bytes() == b"again"
    discard(str(lake / "a.bin"), cache)
    for _ in range(2):
        with pytest.raises(CorruptGeneration, match="does not have the sha256"):
            fetch(str(lake), [entry], cache, in_place=False)
        assert cached(cache) == set()
