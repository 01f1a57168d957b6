"""The time in a name, in the zone that it was written in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.catalog.listed import listed

from shotlake.catalog.recorded import recorded_at
from shotlake.config import CatalogConfig
from shotlake.errors import ConfigError

DAY = r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)"
TIME = DAY + r"(?:[T_](?P<hour>\d\d)(?P<minute>\d\d))?"


@pytest.mark.parametrize(
    ("key", "zone", "expected"),
    [
        ("cam1/2024-07-01/x.mp4", "UTC", datetime(2024, 7, 1, tzinfo=UTC)),
        ("20240701_1230.mp4", "Europe/Berlin", datetime(2024, 7, 1, 10, 30, tzinfo=UTC)),
        ("20241301_1230.mp4", "UTC", None),
        ("clip.mp4", "UTC", None),
    ],
)
def test_times_in_keys(key: str, zone: str, expected: datetime | None) -> None:
    assert recorded_at(key, CatalogConfig(recorded_pattern=TIME, time_zone=zone)) == expected


def test_a_listed_video_carries_it(tmp_path: Path) -> None:
    (tmp_path / "2024-07-01.mp4").write_bytes(b"x")
    (video,), _ = listed(str(tmp_path), CatalogConfig(recorded_pattern=DAY, time_zone="Asia/Tokyo"))
    assert video.recorded_at == datetime(2024, 6, 30, 15, tzinfo=UTC)
    assert (video.recorded_from, video.recorded_zone) == ("name", "Asia/Tokyo")
    (plain,), _ = listed(str(tmp_path), CatalogConfig())
    assert (plain.recorded_at, plain.recorded_from, plain.recorded_zone) == (None, "", "")
    assert plain.video_id == video.video_id


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"recorded_pattern": "("}, "recorded_pattern is '\\('"),
        ({"recorded_pattern": r"(?P<year>\d+)"}, "needs the groups"),
        ({"recorded_pattern": DAY + "(?P<week>x)?"}, "needs the groups"),
        ({"recorded_pattern": DAY, "time_zone": "Mars/Base"}, "time_zone is 'Mars/Base'"),
    ],
)
def test_a_wrong_pattern_or_zone_is_named(config: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recorded_at("2024-07-01", CatalogConfig(**config))
