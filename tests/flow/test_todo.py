"""What is to do rests on disk and comes in waves: by key, the newest first, or some prefixes before all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.catalog.listed import listed_table
from tests.flow.lakes import local_config, run

from shotlake.config import CatalogConfig
from shotlake.flow.todo import Todo
from shotlake.records import Video
from shotlake.table.lake import Lake

AT = datetime(2026, 3, 1, tzinfo=UTC)


def video(number: int) -> Video:
    """Later numbers were modified later; every fifth was recorded long before."""
    recorded = AT - timedelta(days=number) if number % 5 == 0 else None
    key = f"{'ab'[number % 2]}/{number:02d}"
    return Video(f"s3://b/{key}", "e", number, AT + timedelta(hours=number), "b", None, recorded)


VIDEOS = sorted(map(video, range(25)), key=lambda video: video.uri)


def waves(**catalog: object) -> list[list[Video]]:
    todo = Todo()
    for start in range(0, 25, 10):
        todo.add(listed_table(VIDEOS[start : start + 10]))
    assert len(todo) == 25
    return list(todo.waves(7, CatalogConfig(**catalog), "s3://b"))


def test_waves_in_the_order_of_keys() -> None:
    found = waves()
    assert [len(wave) for wave in found] == [7, 7, 7, 4]
    assert [video for wave in found for video in wave] == VIDEOS
    assert list(Todo().waves(5, CatalogConfig(), "s3://b")) == []


@pytest.mark.parametrize(("n", "count"), [(1, 1), (3, 3), (25, 25), (99, 25)])
def test_a_sample_is_spread_over_all(n: int, count: int) -> None:
    todo = Todo()
    todo.add(listed_table(VIDEOS))
    found = todo.spread(n)
    assert len(found) == count and set(found) <= set(VIDEOS)
    assert found == sorted(found, key=VIDEOS.index) and found[0] == VIDEOS[0]
    assert n == 1 or found[-1] == VIDEOS[-1]
    assert Todo().spread(n) == []


def test_the_newest_first() -> None:
    found = [video for wave in waves(order="newest") for video in wave]
    assert found == sorted(VIDEOS, key=lambda video: video.recorded_at or video.modified_at, reverse=True)


@pytest.mark.parametrize("order", ["key", "newest"])
def test_prefixes_before_all_others(order: str) -> None:
    found = [video.uri.removeprefix("s3://b/") for wave in waves(first=("b/1", "a/0"), order=order) for video in wave]
    groups = [0 if key.startswith("b/1") else 1 if key.startswith("a/0") else 2 for key in found]
    assert groups == sorted(groups) and len(set(found)) == 25
    plain = [video.uri.removeprefix("s3://b/") for wave in waves(order=order) for video in wave]
    assert [key for key in found if key.startswith("b/1")] == [key for key in plain if key.startswith("b/1")]


def test_a_limited_run_takes_what_comes_first_and_defers_the_rest(copies: Path, tmp_path: Path) -> None:
    last = sorted(copies.iterdir())[-1]
    sets = ("limits.max_units=1", f'catalog.first=["{last.name}"]')
    config = local_config(tmp_path / "lake", *sets)
    report = run(copies, config)
    assert report.status == "partial" and report.ledger.balanced
    assert (report.ledger.videos["indexed"], report.ledger.videos["deferred"]) == (1, 3)
    assert set(Lake.open(config.lake).read("segments", ["uri"])["uri"].to_pylist()) == {str(last)}
