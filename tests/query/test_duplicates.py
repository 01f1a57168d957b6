"""Copies that the test made are found as groups; neighbours within one video are not."""

from __future__ import annotations

import numpy as np
import toy_lake
from toy_lake import CONFIG, ToyEncoder, add_rows, index_lake, make_lake, retire

from shotlake.query.duplicates import near_duplicates
from shotlake.query.search import LakeSearch
from shotlake.records import stable_id


def test_copies_across_videos_are_groups(tmp_path, monkeypatch):
    world = toy_lake.WORLD.copy()
    world[57], world[123] = world[5], 0.98 * world[5] + 0.02 * world[9]  # one scene in three videos
    world[71] = world[205]
    world[33] = world[34]  # a still picture inside one video
    world /= np.linalg.norm(world, axis=1, keepdims=True)
    monkeypatch.setattr(toy_lake, "WORLD", world)
    lake = make_lake(tmp_path)
    index_lake(lake)
    search = LakeSearch.open(lake.root, ToyEncoder(), CONFIG)
    groups = near_duplicates(search.rows, likeness=0.99)
    assert [[s["segment_id"] for s in group] for group in groups] == [
        [stable_id(5), stable_id(123), stable_id(57)],
        [stable_id(205), stable_id(71)],
    ]
    assert groups[1][0] == {
        "segment_id": stable_id(205),
        "video_id": "video-20",
        "uri": "/archive/20.mp4",
        "start_us": 10_000_000,
        "end_us": 12_000_000,
    }
    retire(lake, 7)
    add_rows(lake, 300, 10, run="run-2")
    assert len(near_duplicates(search.refreshed().rows, likeness=0.99)) == 1
