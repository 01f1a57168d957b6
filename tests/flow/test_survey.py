"""A listing is compared with the lake in portions, and every portion boundary gives what one portion would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.flow.lakes import local_config, run

from shotlake.flow import portions as portions_module
from shotlake.records import Video
from shotlake.table.lake import Lake
from shotlake.table.readers import UriRange, known_videos, latest_videos


@pytest.mark.parametrize("portion", [1, 2, 3, 100])
def test_portions_of_any_size_find_the_same_changes(
    portion: int, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions_module, "PORTION", portion)
    first, second, third, fourth = sorted(copies.iterdir())
    (copies / "notes.txt").write_text("skipped")
    config = local_config(tmp_path / "lake")
    assert run(copies, config).ledger.videos == {"listed": 5, "skipped": 1, "indexed": 4, "unchanged": 0, "failed": 0,
                                                 "vanished": 0, "deferred": 0}  # fmt: skip
    shutil.copy2(fourth, second)  # changed
    first.unlink()  # vanished in front of all others
    shutil.copy2(third, copies / "zz.mp4")  # new behind them
    third.rename(copies / "a new name.mp4")
    report = run(copies, config)
    assert report.ledger.balanced
    counts = {name: report.ledger.videos[name] for name in ("listed", "indexed", "unchanged", "skipped", "vanished")}
    assert counts == {"listed": 5, "indexed": 3, "unchanged": 1, "skipped": 1, "vanished": 2}
    retired = Lake.open(config.lake).read("retired", ["uri"])["uri"].to_pylist()
    assert retired == [str(second)]
    assert run(copies, config).ledger.videos["unchanged"] == 4
    fourth.unlink()
    shutil.rmtree(copies)
    copies.mkdir()
    assert run(copies, config).ledger.videos["vanished"] == 4
    assert run(copies, config).ledger.videos["vanished"] == 0


def test_ranges_of_long_uris_open_every_file_that_they_need(tmp_path: Path) -> None:
    """Statistics of long strings are cut; what they decide must not be."""
    from datetime import UTC, datetime

    from shotlake.table.rows import video_rows

    lake, at = Lake.create_or_open(str(tmp_path / "lake")), datetime.now(UTC)
    uris = [f"s3://bucket/{'x' * 1000}/{number:03d}" for number in range(40)]
    for start in range(0, 40, 5):
        videos = [(Video(uri, "e", 1, at, "c"), None) for uri in uris[start : start + 5]]
        lake.append("videos", video_rows(videos, "s3://bucket", "r", at))
    assert sorted(latest_videos(lake, "s3://bucket")["uri"].to_pylist()) == uris
    for first, last in ((0, 39), (3, 3), (4, 5), (17, 31)):
        found = known_videos(lake, "s3://bucket", UriRange.between(uris[first], uris[last]))
        assert sorted(found["uri"].to_pylist()) == uris[first : last + 1]
    assert len(known_videos(lake, "s3://bucket", UriRange(uris[-1] + "\0"))) == 0
