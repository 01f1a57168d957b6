"""Videos that wait on local disk for their turn: in memory is one wave of them, and how they are ordered."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake.catalog.changes import videos_of
from shotlake.catalog.listing import LISTED
from shotlake.config import CatalogConfig
from shotlake.records import Video


class Todo:
    """What is to do of a root, added in the order of its URIs. Its file goes with the last reference to it."""

    def __init__(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="shotlake-todo-")
        weakref.finalize(self, folder.cleanup)
        self._path = Path(folder.name) / "videos.arrow"
        self._file = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_file(self._file, LISTED)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, listed: pa.Table) -> None:
        """Append rows with the columns of LISTED."""
        self._writer.write_table(listed)
        self._n += len(listed)

    def waves(self, n_videos: int, config: CatalogConfig, root: str) -> Iterator[list[Video]]:
        """The videos, so many together: those under `catalog.first` before all others, each in `catalog.order`.

        `root` is what the prefixes of `catalog.first` are relative to.
        """
        if config.order == "key" and not config.first:
            yield from self._waves_by_key(n_videos)
            return
        with self._rows() as rows:
            turns = _turns(rows, config, root.rstrip("/") + "/")
            for start in range(0, len(rows), n_videos):
                yield list(videos_of(rows.take(turns[start : start + n_videos])))

    def _waves_by_key(self, n_videos: int) -> Iterator[list[Video]]:
        """As they stand, read batch by batch: a mapped file would stay in memory as far as it was read."""
        self._close()
        with pa.OSFile(str(self._path)) as file:
            reader = pa.ipc.open_file(file)
            rest = LISTED.empty_table()
            for number in range(reader.num_record_batches):
                rest = pa.concat_tables([rest, pa.Table.from_batches([reader.get_batch(number)])])
                while len(rest) >= n_videos:
                    yield list(videos_of(rest.slice(0, n_videos)))
                    rest = rest.slice(n_videos)
            if len(rest):
                yield list(videos_of(rest))

    def spread(self, n_videos: int) -> list[Video]:
        """So many of the videos, or all if there are fewer, evenly spread over their URIs."""
        with self._rows() as rows:
            chosen = np.unique(np.linspace(0, max(0, len(rows) - 1), min(n_videos, len(rows))).astype(np.int64))
            return list(videos_of(rows.take(chosen)))

    @contextmanager
    def _rows(self) -> Iterator[pa.Table]:
        """All that was added."""
        self._close()
        with pa.memory_map(str(self._path)) as file:
            yield pa.ipc.open_file(file).read_all()

    def _close(self) -> None:
        """Nothing can be added any more."""
        self._writer.close()
        self._file.close()


def _turns(rows: pa.Table, config: CatalogConfig, root: str) -> pa.Array:
    """The order [N] of the rows."""
    rank = np.full(len(rows), len(config.first), np.int32)
    for place, prefix in reversed(list(enumerate(config.first))):
        rank[np.asarray(pc.starts_with(rows["uri"], root + prefix))] = place
    keys = {"rank": pa.array(rank)}
    if config.order == "newest":
        keys["at"] = pc.negate(pc.coalesce(rows["recorded_at"], rows["modified_at"]).cast(pa.int64()))
    return pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
