"""Videos as rows of a listing, and listings as videos."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from shotlake.catalog.changes import videos_of
from shotlake.catalog.listing import LISTED, default_collection, list_archive, videos_in
from shotlake.config import CatalogConfig
from shotlake.records import Video
from shotlake.storage import OBJECTS


def listed_table(videos: Iterable[Video]) -> pa.Table:
    """The videos with the columns of LISTED."""
    rows = list(videos)
    return pa.table({f.name: pa.array([getattr(v, f.name) for v in rows], f.type) for f in LISTED}, schema=LISTED)


def listed(
    root: str, config: CatalogConfig, collection: str = "", **more: Any
) -> tuple[list[Video], list[dict[str, Any]]]:
    """The videos under a root, and the rows of what is skipped."""
    found = pa.Table.from_batches(list_archive(root, config, **more), OBJECTS)
    skipped = [row for row in found.to_pylist() if row["reason"]]
    return list(videos_of(videos_in(found, collection or default_collection(root), config))), skipped
