"""The rows of a video are found by its runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shotlake.index import columns
from shotlake.index.columns import COLUMNS, ColumnWriter, ShardColumns


def test_videos_are_found_by_their_runs_also_where_all_hashes_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = ["a", "a", "b", "c", "a", "b", "b"]
    rows = pa.table({f.name: pa.array(videos) if f.name == "video_id" else pa.nulls(7, f.type) for f in COLUMNS})
    writer = ColumnWriter(tmp_path / "columns.arrow", COLUMNS)
    for batch in rows.cast(COLUMNS).to_batches(max_chunksize=3):
        writer.add(batch)
    writer.close()
    for agree in (False, True):
        if agree:
            monkeypatch.setattr(columns, "_hashes", lambda ids: np.zeros(len(ids), np.int64))
        found = ShardColumns(tmp_path / "columns.arrow")
        assert found.find("video_id", ["a"]).tolist() == [0, 1, 4]
        assert found.find("video_id", ["c", "b"]).tolist() == [2, 3, 5, 6]
        assert found.find("video_id", ["d"]).tolist() == found.find("video_id", []).tolist() == []
