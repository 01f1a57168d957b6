"""However a tree is cut, every object of it comes out once and in order."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tests.catalog.test_listing import put

from shotlake import storage
from shotlake.catalog import fanout
from shotlake.catalog.fanout import folder_cuts, list_tree
from shotlake.errors import StoreError
from shotlake.storage import s3_listing

KEYS = ["a b/%2F.mp4", "a-1/x", "a.mp4", "a/", "a/ x", "a/1", "a/b/2", "a/b/3", "a0", "m/ä", "m/ö", "z", "z/~"]
ODD = ["a//x", "m/../x"]  # which obstore refuses to list


def listed_keys(root: str, cuts: Sequence[str] = ()) -> list[str]:
    return [key for page in list_tree(root, cuts) for key in page["key"].to_pylist()]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages hold an object, trees of a few are large, and parts of two pages come one after the other."""
    monkeypatch.setattr(s3_listing, "PAGE", 1)
    monkeypatch.setattr(fanout, "ALONE", 2)
    monkeypatch.setattr(fanout, "AHEAD", 2)
    monkeypatch.setattr(fanout, "STREAMS", 3)


@pytest.mark.s3
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("more", [[], ODD], ids=["obstore", "s3fs"])
def test_every_object_comes_once_and_in_order(s3_root: str, more: list[str]) -> None:
    keys = sorted(KEYS + more)
    for key in random.Random(0).sample(keys, len(keys)):
        put(f"{s3_root}/{key}", b"x")
    assert listed_keys(s3_root) == keys
    for cuts in (keys, ["a/ "], ["0", "a/", "a/b/2", "m/../x", "n\n", "zz"]):
        assert listed_keys(s3_root, cuts) == keys


@pytest.mark.s3
@pytest.mark.usefixtures("small")
def test_an_error_of_a_stream_is_that_of_the_listing(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        put(f"{s3_root}/{key}", b"x")
    whole = storage.list_pages

    def broken(root: str, after: str = "", until: str | None = None):
        if after >= "m":
            raise storage.store_error(root, OSError("the line is cut"))
        yield from whole(root, after, until)

    monkeypatch.setattr(storage, "list_pages", broken)
    with pytest.raises(StoreError, match="the line is cut"):
        list(list_tree(s3_root, ["a/", "m"]))


@pytest.mark.s3
def test_folders_are_cut_before_their_contents(s3_root: str) -> None:
    for key in ("2024/01/x", "2024/02/x", "2025/y", "loose"):
        put(f"{s3_root}/{key}", b"x")
    assert folder_cuts(s3_root) == ["2024/ ", "2024/01/ ", "2024/02/ ", "2025/ "]
    assert storage.folders(s3_root) == ["2024/", "2025/"]
    assert storage.folders(s3_root, "2024/") == ["2024/01/", "2024/02/"]
