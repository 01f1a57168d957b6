"""The live rows of a space as one sequence that can be read from any row on, by several readers at once.

The order is that of the data files' names, so that rows of a collection stand together, and the same for every reader:
version, retired videos and counts are fixed when the sequence is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from shotlake.table.delta import delta_errors
from shotlake.table.lake import Lake
from shotlake.table.readers import retired_videos


@dataclass(frozen=True)
class SegmentRange:
    """Rows of `segments` at `version` that fulfil `live`; `counts`: how many of them each data file has."""

    lake: Lake
    version: int
    live: pc.Expression
    counts: tuple[tuple[str, int], ...]

    @classmethod
    def at(
        cls,
        lake: Lake,
        embed_key: str,
        version: int,
        wanted: pc.Expression | None = None,
        retired: pa.Array | None = None,
    ) -> SegmentRange:
        """The rows of a space without those of retired videos, or the `wanted` ones of them; counts every file.

        `retired`: ids of the videos that are retired; None: as the lake says now.
        """
        live = pc.field("embed_key") == embed_key
        retired = retired_videos(lake, embed_key) if retired is None else retired
        if len(retired):
            live &= ~pc.field("video_id").isin(retired)
        live = live if wanted is None else live & wanted
        with delta_errors(lake.uri("segments")):
            schema = lake.dataset("segments", version).schema
            counted = [
                (file.path, ds.Scanner.from_fragment(file, schema=schema, columns=[], filter=live).count_rows())
                for file in _files(lake, version, live)
            ]
        return cls(lake, version, live, tuple((path, count) for path, count in sorted(counted) if count))

    def __len__(self) -> int:
        return sum(count for _, count in self.counts)

    def read(self, columns: Sequence[str], first: int = 0) -> Iterator[pa.RecordBatch]:
        """Non-empty batches from row `first` on; files before it are not opened."""
        with delta_errors(self.lake.uri("segments")):
            files = {file.path: file for file in _files(self.lake, self.version, self.live)}
            schema = self.lake.dataset("segments", self.version).schema
            for path, count in self.counts:
                if first >= count:
                    first -= count
                    continue
                for batch in files[path].to_batches(schema=schema, columns=list(columns), filter=self.live):
                    if first < len(batch):
                        yield batch.slice(first)
                    first = max(0, first - len(batch))


def _files(lake: Lake, version: int, live: pc.Expression) -> Iterator[ds.Fragment]:
    """The data files that may hold such rows."""
    yield from lake.dataset("segments", version).get_fragments(filter=live)
