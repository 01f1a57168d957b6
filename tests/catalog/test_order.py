"""A listing of any order comes out in the order of its URIs, once each, through memory or through disk."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shotlake.catalog.order import in_order
from shotlake.storage import ObjectInfo, list_objects

AT = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ["a", "a/b", "a!b", "a0", "Z", "ä", "日本", "a//b", "a b", "a\nb", "%2F", *map(str, range(200))]


def info(name: str, etag: str = "e") -> ObjectInfo:
    return ObjectInfo(f"s3://b/{name}", name, len(name), etag, AT, "v" if len(name) % 2 else None, "GLACIER")


@pytest.mark.parametrize("portion", [7, 211, 1000])
def test_everything_comes_once_in_the_order_of_bytes(portion: int) -> None:
    items = [info(name) for name in NAMES]
    random.Random(1).shuffle(items)
    found = list(in_order([*items, info("a", "later"), info("100", "later")], portion))
    assert found == sorted((info(name) for name in NAMES), key=lambda item: item.uri.encode())


def test_nothing_is_in_order() -> None:
    assert list(in_order([])) == []


def test_a_tree_is_in_order_by_itself(tmp_path: Path) -> None:
    for name in ("b/a.mp4", "b.mp4", "b!/a.mp4", "a/z.mp4", "b/a/c.mp4", "ä.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    listed = list(list_objects(str(tmp_path)))
    assert listed == list(in_order(listed)) and len(listed) == 6
