"""Segments that show the same in several videos, by exact cosine: pairs of near neighbours become groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from shotlake.index.depth import Depth
from shotlake.query.live import LiveRows, Rows
from shotlake.records import Space

BLOCK_ROWS = 1_024
NEIGHBOURS = 20


def near_duplicates(
    rows: LiveRows, likeness: float, space: Space = "fused", neighbours: int = NEIGHBOURS
) -> list[list[dict[str, Any]]]:
    """Groups of segments of at least two videos, largest first; any two of a group are linked by pairs of `likeness`.

    Looks at the `neighbours` nearest of every indexed row, found with the recall of segment queries. A segment is
    {segment_id, video_id, uri, start_us, end_us}; segments of one group are in the order of uri and time.
    """
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for first, second in _pairs(rows, likeness, space, neighbours):
        parent[root(first)] = root(second)
    members: dict[int, list[int]] = defaultdict(list)
    for row in parent:
        members[root(row)].append(row)
    names = ["segment_id", "video_id", "uri", "start_us", "end_us"]
    groups = [rows.columns(np.array(group), names).to_pylist() for group in members.values()]
    groups = [sorted(group, key=lambda s: (s["uri"], s["start_us"])) for group in groups]
    across = [group for group in groups if len({segment["video_id"] for segment in group}) > 1]
    return sorted(across, key=lambda group: (-len(group), group[0]["uri"], group[0]["start_us"]))


def _pairs(rows: LiveRows, likeness: float, space: Space, neighbours: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows.manifest.n_rows, BLOCK_ROWS):
        block: Rows = np.arange(start, min(start + BLOCK_ROWS, rows.manifest.n_rows))
        block = np.setdiff1d(block, rows.hidden, assume_unique=True)
        vectors = rows.searcher.vectors(space, block)
        block, vectors = block[vectors.any(axis=1)], vectors[vectors.any(axis=1)]
        if not len(block):
            continue
        scores, found = rows.searcher.search_vectors(vectors, space, neighbours + 1, Depth("segment"))
        alike = (scores >= likeness) & (found >= 0) & (found != block[:, None])
        for line, column in zip(*np.nonzero(alike)):
            yield int(block[line]), int(found[line, column])
