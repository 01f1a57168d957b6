"""What the rest of the house reads from the lake: live segments, vectors, finished units, known videos, the balance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.errors import Unbalanced
from shotlake.records import Fingerprint, Space
from shotlake.table.lake import Lake
from shotlake.table.schemas import ERASED
from shotlake.table.snapshots import again_if_gone


@dataclass(frozen=True, slots=True)
class UriRange:
    """URIs of [start, end); None is no end. Files of other ranges are not opened."""

    start: str = ""
    end: str | None = None

    @classmethod
    def between(cls, first: str, last: str) -> UriRange:
        """Both ends included."""
        return cls(first, last + "\0")  # the next string there is

    @property
    def filter(self) -> pc.Expression:
        """True for rows of `videos` or `units` in the range."""
        found = pc.field("uri") >= self.start
        return found if self.end is None else found & (pc.field("uri") < self.end)


EVERYWHERE = UriRange()

UNIT_COLUMNS = (  # what planning needs; ids of units would double the memory, and nothing asks for them
    "video_id",
    "first_cell",
    "n_cells",
    "status",
    "written",
    "lost_ranges",
    "code",
    "retryable",
    "attempts",
)


def retired_videos(lake: Lake, embed_key: str, version: int | None = None) -> pa.Array:
    """Ids [R] of the videos whose rows in this space no reader may show."""
    concerned = pc.field("embed_key").is_null() | (pc.field("embed_key") == embed_key)
    return pc.unique(lake.read("retired", ["video_id"], concerned, version)["video_id"].combine_chunks())


def erased_videos(lake: Lake) -> pa.Array:
    """Ids of the videos that were erased: they are never to be indexed again, although they may still be listed."""
    return pc.unique(lake.read("retired", ["video_id"], pc.field("reason") == ERASED)["video_id"].combine_chunks())


def listed_again(lake: Lake, listed: pa.Array, embed_key: str) -> tuple[pa.Array, pa.Array]:
    """Of `listed` (ids) the superseded ones, whose objects got their old content back, and the erased ones."""
    erased = pc.is_in(listed, erased_videos(lake))
    return listed.filter(pc.and_not(pc.is_in(listed, retired_videos(lake, embed_key)), erased)), listed.filter(erased)


def live_segments(
    lake: Lake,
    embed_key: str,
    columns: Sequence[str] | None = None,
    filter: pc.Expression | None = None,
    version: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of one space without the retired ones, as a stream of batches; `version` is that of `segments`."""
    alive = _alive(lake, embed_key)
    return lake.batches("segments", columns, alive if filter is None else alive & filter, version)


def has_live_segments(lake: Lake, embed_key: str) -> bool:
    """True if `live_segments` has a row."""
    return lake.first("segments", ["segment_id"], _alive(lake, embed_key)) is not None


def _alive(lake: Lake, embed_key: str) -> pc.Expression:
    alive = pc.field("embed_key") == embed_key
    retired = retired_videos(lake, embed_key)
    return alive & ~pc.field("video_id").isin(retired) if len(retired) else alive


def read_vectors(
    lake_root: str,
    embed_key: str,
    space: Space = "fused",
    columns: Sequence[str] = ("segment_id",),
    version: int | None = None,
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float32]]]:
    """Pairs of `columns` [B rows] and their unit vectors [B, D], live rows only; rows without a vector are left out.

    Errors: SourceMissing (no lake), Unbalanced (lists of different length in one batch).
    """
    wanted = [*dict.fromkeys([*columns, space])]
    for batch in live_segments(Lake.open(lake_root), embed_key, wanted, pc.field(space).is_valid(), version):
        yield batch.select(list(columns)), matrix(batch.column(space))


def matrix(lists: pa.ListArray) -> NDArray[np.float32]:
    """[B] lists of D floats as [B, D], without a copy. Errors: Unbalanced."""
    values = lists.flatten().to_numpy(zero_copy_only=True)
    if len(lists) == 0 or len(values) % len(lists):
        raise Unbalanced(f"{len(values)} values in {len(lists)} vectors; a space has vectors of one length")
    return values.reshape(len(lists), -1)


def finished_units(
    lake: Lake, embed_key: str, columns: Sequence[str] = UNIT_COLUMNS, only: pc.Expression | None = None
) -> pa.Table:
    """The units of a space that were ever worked on, one row each: its success, or its last failure.

    Of the many that succeeded nothing but `columns` is held in memory. `only`: a filter of `units`.
    """
    mine, failed = pc.field("embed_key") == embed_key, pc.field("status") == "failed"
    mine = mine if only is None else mine & only
    wanted = [*dict.fromkeys([*columns, "unit_id", "attempts"])]
    lost = newest(lake.read("units", wanted, mine & failed), "unit_id", "attempts")
    again = lake.read("units", ["unit_id"], mine & ~failed & pc.field("unit_id").isin(lost["unit_id"].combine_chunks()))
    lost = lost.filter(pc.invert(pc.is_in(lost["unit_id"], again["unit_id"].combine_chunks())))
    return pa.concat_tables([lake.read("units", columns, mine & ~failed), lost.select(list(columns))])


def written_fingerprints(lake: Lake) -> dict[str, Fingerprint]:
    """The encoder of every space that the lake has segments of, by embed_key; a row of each is read."""
    keys = pc.unique(lake.read("runs", ["embed_key"])["embed_key"].combine_chunks()).drop_null().to_pylist()
    columns = ["model_id", "model_revision", "weights_sha256", "preprocess_sha256"]
    rows = {key: lake.first("segments", columns, pc.field("embed_key") == key) for key in keys}
    return {key: Fingerprint(*row.values()) for key, row in rows.items() if row}


def known_videos(lake: Lake, root: str, within: UriRange) -> pa.Table:
    """All rows of `videos` of objects that were listed under `root`."""
    return lake.read("videos", filter=(pc.field("root") == root) & within.filter)


def sampled_uris(lake: Lake, table: str, rows: pc.Expression, every: int) -> list[str]:
    """One of `every` so many URIs of those rows of a table, ascending; they are streamed, not held."""

    def sample() -> list[str]:
        found, seen = set(), 0
        for batch in lake.batches(table, ["uri"], rows):
            found.update(batch.column("uri")[-seen % every :: every].to_pylist())
            seen += len(batch)
        return sorted(found)

    return again_if_gone(sample)


def latest_videos(lake: Lake, root: str) -> pa.Table:
    """The newest row of `videos` for each uri that was listed under `root`."""
    return newest(known_videos(lake, root, EVERYWHERE), "uri", "at")


def video_metadata(lake: Lake, only: pc.Expression | None = None) -> pa.Table:
    """(video_id, metadata): what `catalog.metadata` said last of the videos that it ever said something of.

    `only`: a filter of `videos`. Without metadata nothing is held, however many videos there are.
    """

    def told() -> pa.Array:
        ids = [pa.array([], pa.string())]
        for batch in lake.batches("videos", ["video_id", "metadata"], only):
            is_told = np.diff(batch.column("metadata").offsets) > 0  # how many pairs each map has
            ids.append(batch.column("video_id").filter(pa.array(is_told)))
        return pa.concat_arrays(ids)

    rows = lake.read("videos", ["video_id", "metadata", "at"], pc.field("video_id").isin(again_if_gone(told)))
    return newest(rows, "video_id", "at").select(["video_id", "metadata"])


def with_metadata(batch: pa.RecordBatch, known: pa.Table) -> pa.RecordBatch:
    """Rows with a `video_id` and, in one more column, what `video_metadata` knows of it."""
    at = pc.index_in(batch.column("video_id"), known["video_id"].combine_chunks())
    return batch.append_column("metadata", known["metadata"].combine_chunks().take(at))


def newest(rows: pa.Table, key: str, order: str) -> pa.Table:
    """Of the rows with the same `key` the one with the greatest `order`."""
    rows = rows.sort_by([(key, "ascending"), (order, "ascending")])
    if not len(rows):
        return rows
    keys = rows[key].combine_chunks()
    last = pc.not_equal(keys[:-1], keys[1:])
    return rows.filter(pa.concat_arrays([last, pa.array([True])]))


def standing_failures(lake: Lake, columns: Sequence[str]) -> pa.Table:
    """Rows of `failures` that no later attempt has made good, the newest of each range; without retired videos.

    A file that could not be opened is made good by any unit that was. A row without cells says of a partial unit that
    it was damaged, and stands.
    """
    cells = ["video_id", "embed_key", "first_cell", "n_cells"]
    rows = lake.read("failures", [*dict.fromkeys([*columns, *cells, "unit_id", "at"])])
    at = rows["at"].cast(pa.int64())
    newest_at = rows.select(cells).append_column("at", at).group_by(cells).aggregate([("at", "max")])
    rows = rows.append_column("at_us", at).join(newest_at, [*cells, "at_us"], [*cells, "at_max"], join_type="left semi")
    units = lake.read("units", [*cells, "unit_id", "status"], pc.field("video_id").isin(pc.unique(rows["video_id"])))
    good = units.filter(pc.not_equal(units["status"], "failed"))
    ranges = rows.filter(pc.greater(rows["n_cells"], 0)).join(good.select(cells), cells, join_type="left anti")
    whole = rows.filter(pc.equal(rows["n_cells"], 0))
    damaged = pc.is_in(whole["unit_id"], good["unit_id"].combine_chunks())
    opened = pa.concat_tables([good, units.filter(pc.greater(units["n_cells"], 0))]).select(["video_id", "embed_key"])
    unopened = whole.filter(pc.invert(damaged)).join(opened, ["video_id", "embed_key"], join_type="left anti")
    rows = pa.concat_tables([ranges, whole.filter(damaged), unopened])
    gone = lake.read("retired", ["video_id"])["video_id"].combine_chunks()
    return rows.filter(pc.invert(pc.is_in(rows["video_id"], gone))).select(list(columns))


@dataclass(frozen=True, slots=True)
class Balance:
    """Cells of one run, recomputed from the tables: `planned = written + lost`, each side counted by itself."""

    planned: int
    written: int
    lost: int
    rows: int
    failure_cells: int
    videos_indexed: int
    videos_partial: int
    videos_failed: int
    wrong_units: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """True if every planned cell is a row of `segments` or a cell of a row of `failures`."""
        sums = self.planned == self.written + self.lost
        return sums and self.lost == self.failure_cells and not self.wrong_units


def balance(lake: Lake, run_id: str) -> Balance:
    """Count a run's cells and videos from `units`, `segments` and `failures`.

    `wrong_units` are the units whose rows in `segments` are not as many as `units` says; those of retired videos may
    be gone.
    """
    mine = pc.field("run_id") == run_id
    units = lake.read("units", filter=mine)
    rows = lake.read("segments", ["unit_id"], mine).group_by("unit_id").aggregate([([], "count_all")])
    failures = lake.read("failures", ["n_cells"], mine)
    retired = lake.read("retired", ["video_id"])["video_id"].combine_chunks()
    due = units.group_by(["unit_id", "video_id"]).aggregate([("written", "sum")])
    found = due.join(rows, "unit_id", join_type="full outer")
    written, there = (pc.fill_null(found[name], 0) for name in ("written_sum", "count_all"))
    removed = pc.and_(pc.equal(there, 0), pc.is_in(found["video_id"], retired))
    wrong = found.filter(pc.and_not(pc.not_equal(written, there), removed))["unit_id"].to_pylist()
    by_video = (
        newest(units, "unit_id", "attempts")
        .group_by("video_id")
        .aggregate([("status", "distinct")])["status_distinct"]
        .to_pylist()
    )
    whole = sum(set(statuses) == {"ok"} for statuses in by_video)
    failed = sum(set(statuses) == {"failed"} for statuses in by_video)
    return Balance(
        planned=_sum(units["planned"]),
        written=_sum(units["written"]),
        lost=_sum(units["lost"]),
        rows=_sum(rows["count_all"]),
        failure_cells=_sum(failures["n_cells"]),
        videos_indexed=whole,
        videos_partial=len(by_video) - whole - failed,
        videos_failed=failed,
        wrong_units=tuple(sorted(wrong)),
    )


def _sum(column: pa.ChunkedArray) -> int:
    return pc.sum(column).as_py() or 0
