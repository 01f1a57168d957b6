"""A folder of a thousand files of which a hundred are damaged: every one is accounted for, none is tried for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.flow.lakes import run

from shotlake.demo import demo_config
from shotlake.table.lake import Lake
from shotlake.world.film import Film, Span, paint_video
from shotlake.world.scenes import draw_scene


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """A cut, a hole, flipped bytes, a lost head, or nothing left."""
    broken, at = bytearray(data), int(random.integers(len(data) // 2))
    match int(random.integers(5)):
        case 0:
            return bytes(broken[:at])
        case 1:
            broken[at : at + len(data) // 4] = bytes(len(data) // 4)
        case 2:
            for place in random.integers(len(data), size=200):
                broken[place] ^= 0xFF
        case 3:
            return bytes(broken[200:])
        case 4:
            return b""
    return bytes(broken)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_every_file_is_accounted_for_and_none_is_tried_for_ever(tmp_path: Path, ray_cluster: None) -> None:
    random = np.random.default_rng(11)
    folder = tmp_path / "thousand"
    folder.mkdir()
    original = folder / "0000.mp4"
    paint_video(original, (Span(0, 3_000_000, draw_scene(random, silent_ratio=0.0)),), Film())
    data = original.read_bytes()
    for number in range(1, 1000):
        content = damaged(data, random) if number % 10 == 0 else data
        (folder / f"{number:04d}.mp4").write_bytes(content)
    config = demo_config(tmp_path / "lake", ("limits.tolerated_failure_ratio=0.2",))
    report = run(folder, config)
    videos = report.ledger.videos
    print({name: videos[name] for name in ("listed", "indexed", "partial", "failed")}, dict(report.ledger.codes))
    assert report.ledger.balanced
    assert videos["listed"] == 1000
    assert videos["indexed"] >= 901
    assert videos["indexed"] + videos["partial"] + videos["failed"] == 1000
    assert report.exit_status(config.limits) == 0
    for _ in range(config.flow.max_attempts):
        again = run(folder, config)
        assert again.ledger.balanced
        assert again.ledger.videos["indexed"] == 0
    assert again.ledger.cells["planned"] == 0
    units = Lake.open(config.lake).read("units", ["attempts"])
    assert max(units["attempts"].to_pylist()) <= config.flow.max_attempts
