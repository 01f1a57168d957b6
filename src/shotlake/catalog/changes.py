"""What is new, changed, vanished, and left to do: Arrow in, Arrow out, vectorised over the archive.

`listed` has the columns of LISTED, `known` those and `status`, `duration_us`; `units` are the finished units of one
space: video_id, first_cell, n_cells, status, code, written, lost_ranges, retryable, attempts. An object is its uri, its
content is its video_id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.catalog.units import Cells
from shotlake.errors import RETRYABLE_CODES
from shotlake.records import ClipSpec, Video, cell_count
from shotlake.storage import datetimes

UNITS_A_SLICE = 1_000_000  # bounds the memory of the arithmetic; the units themselves take about 80 bytes each


def videos_of(listed: pa.Table) -> Iterator[Video]:
    """The rows of a listed table as videos."""
    plain = ("uri", "etag", "size_bytes")
    columns: list[list[Any]] = [listed[name].to_pylist() for name in plain]
    columns += [datetimes(listed["modified_at"]), listed["collection"].to_pylist(), listed["version_id"].to_pylist()]
    columns += [datetimes(listed["recorded_at"])]
    columns += [listed[name].to_pylist() for name in ("recorded_from", "recorded_zone")]
    pairs = (tuple(metadata or ()) for metadata in listed["metadata"].to_pylist())
    return (Video(*values) for values in zip(*columns, pairs))


@dataclass(frozen=True, slots=True)
class Changes:
    """Tables of one root. The first three split `listed`; `superseded` and `vanished` are known rows."""

    new: pa.Table
    changed: pa.Table
    unchanged: pa.Table
    superseded: pa.Table  # the known rows whose uri now holds other content, in the order of `changed`
    vanished: pa.Table  # known, and not listed any more


def compare(listed: pa.Table, known: pa.Table) -> Changes:
    """Split what is listed under a root by what is known of it.

    `known`: the newest row of each uri under that root, with `status`; rows that were skipped or have vanished before
    count as unknown.
    """
    live = known.filter(pc.equal(known["status"], "listed"))
    at = pc.index_in(listed["uri"], live["uri"].combine_chunks())
    before = live["video_id"].combine_chunks().take(at.combine_chunks())
    is_new = pc.is_null(at)
    is_changed = pc.fill_null(pc.not_equal(listed["video_id"], before), False)
    same = pc.invert(pc.or_(is_new, is_changed))
    gone = pc.invert(pc.is_in(live["uri"], listed["uri"].combine_chunks()))
    return Changes(
        new=listed.filter(is_new),
        changed=listed.filter(is_changed),
        unchanged=listed.filter(same),
        superseded=live.take(at.filter(is_changed).combine_chunks()),
        vanished=live.filter(gone),
    )


@dataclass(frozen=True, slots=True)
class Again:
    """What is tried again: retryable losses up to `max_attempts` attempts, and what was lost with one of `codes`."""

    max_attempts: int
    codes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where videos stand in one space; every row of `videos` is in exactly one of the three."""

    complete: pa.Table  # every cell was written, or lost for good
    exhausted: pa.Table  # nothing was written, and no attempt is left
    todo: pa.Table  # everything else


def progress(videos: pa.Table, units: pa.Table, spec: ClipSpec, again: Again) -> Progress:
    """Sort `videos` (video_id, duration_us; null or 0 if unknown) by what `units` of the space have settled.

    A cell is settled when it was written, or lost with a code or after so many attempts that it is not tried again.
    """
    slices = (units.slice(start, UNITS_A_SLICE) for start in range(0, max(1, len(units)), UNITS_A_SLICE))
    sums = _by_video(pa.concat_tables([_by_video(_settled(part, again)) for part in slices]))
    at = pc.index_in(videos["video_id"], sums["video_id"].combine_chunks())
    cells, owed, written = (_taken(sums, name, at, 0) for name in ("settled", "open_owed", "written"))
    wanted = _cell_counts(videos["duration_us"], spec)
    whole = np.logical_and(wanted > 0, cells >= wanted)
    done = np.logical_or(whole, np.logical_and(_taken(sums, "open", at, False), cells >= owed))
    hopeless = np.logical_and(done, written == 0)
    masks = (done & ~hopeless, hopeless, ~done)
    return Progress(*(videos.filter(pa.array(mask)) for mask in masks))


def _settled(units: pa.Table, again: Again) -> pa.Table:
    """For each unit the cells that it settles; apart, whether it is an open-ended one and what that leaves."""
    open_ended = pc.equal(units["n_cells"], 0)
    owed = _owed(units, again)
    tried_out = pc.or_(pc.not_equal(units["status"], "failed"), pc.invert(_is_again(units, again)))
    return pa.table(
        {
            "video_id": units["video_id"],
            "settled": pc.if_else(open_ended, 0, pc.subtract(units["n_cells"], owed)),
            "open": pc.and_(open_ended, tried_out),
            "open_owed": pc.if_else(open_ended, owed, 0),
            "written": units["written"],
        }
    )


def _by_video(cells: pa.Table) -> pa.Table:
    names = ["video_id", "settled", "open", "open_owed", "written"]
    ways = [("settled", "sum"), ("open", "max"), ("open_owed", "sum"), ("written", "sum")]
    return cells.group_by("video_id").aggregate(ways).rename_columns(names)


@dataclass(slots=True)
class VideoUnits:
    """What earlier runs did to one video: `known` cells are not planned again, `retry` are, with their attempt.

    `done` are (status, code) of the units that are not tried again. `next_attempt` is that of units planned from here
    on: above 1 if the video could not even be opened before.
    """

    known: list[Cells] = field(default_factory=list)
    retry: list[tuple[Cells, int]] = field(default_factory=list)
    done: list[tuple[str, str]] = field(default_factory=list)
    next_attempt: int = 1


def earlier_units(units: pa.Table, video_ids: pa.Array, again: Again) -> dict[str, VideoUnits]:
    """What was done to videos that are still to do, by video_id; few, compared with the archive.

    A failed unit is tried again as it was; of a partial one its lost ranges are, as units of their own.
    """
    mine = units.filter(pc.is_in(units["video_id"], pa.array(video_ids, pa.string())))
    rows = mine.append_column("again", _is_again(mine, again)).to_pylist()
    tried = {(row["video_id"], row["first_cell"], row["n_cells"]) for row in rows}
    found: dict[str, VideoUnits] = {}
    for row in rows:
        video = found.setdefault(row["video_id"], VideoUnits())
        cells, attempt = (row["first_cell"], row["n_cells"]), row["attempts"] + 1
        if row["status"] == "failed" and cells == (0, 0):  # it was never opened
            video.next_attempt = attempt if row["again"] else 1
            continue
        video.known.append(cells)
        if not (row["again"] and row["status"] == "failed"):
            video.done.append((row["status"], row["code"]))
        if not row["again"]:
            continue
        parts = [cells] if row["status"] == "failed" else _ranges_again(row, again)
        fresh = [part for part in parts if part == cells or (row["video_id"], *part) not in tried]
        video.retry += [(part, attempt) for part in fresh]
    return found


def lost_with(units: pa.Table, codes: frozenset[str]) -> pa.Array:
    """Ids [V] of the videos that lost something with one of these codes."""
    return pc.unique(units.filter(_was_lost_with(units, codes))["video_id"].combine_chunks())


def _ranges_again(unit: dict[str, Any], again: Again) -> list[Cells]:
    wanted = again.codes | (RETRYABLE_CODES if unit["attempts"] < again.max_attempts else frozenset())
    return [(part["first_cell"], part["n_cells"]) for part in unit["lost_ranges"] if part["code"] in wanted]


def _is_again(units: pa.Table, again: Again) -> pa.Array:
    """True for units [U] of which something is tried again."""
    return pc.or_(_has_attempts(units, again), _was_lost_with(units, again.codes))


def _has_attempts(units: pa.Table, again: Again) -> pa.ChunkedArray:
    return pc.and_(units["retryable"], pc.less(units["attempts"], again.max_attempts))


def _was_lost_with(units: pa.Table, codes: frozenset[str]) -> pa.Array:
    """True for failed units [U] with one of the codes, and for others with a lost range of it."""
    failed = pc.and_(pc.equal(units["status"], "failed"), pc.is_in(units["code"], _strings(codes)))
    return pc.or_(failed, pa.array(_lost_cells(units, codes) > 0))


def _owed(units: pa.Table, again: Again) -> pa.Array:
    """Cells of each unit [U] that it does not settle: all of a failed one, lost ranges of a partial one."""
    retried = np.where(_has_attempts(units, again).to_numpy(), _lost_cells(units, RETRYABLE_CODES - again.codes), 0)
    ranges = retried + _lost_cells(units, again.codes)
    failed = pc.and_(pc.equal(units["status"], "failed"), _is_again(units, again))
    return pc.if_else(failed, units["n_cells"], pc.if_else(pc.equal(units["status"], "failed"), 0, pa.array(ranges)))


def _lost_cells(units: pa.Table, codes: frozenset[str]) -> NDArray[np.int64]:
    """Cells of each unit [U] that were lost with one of the codes."""
    lists = units["lost_ranges"].combine_chunks()
    ranges = lists.flatten()
    counts = np.zeros(len(units), dtype=np.int64)
    if len(ranges) and codes:
        mine = pc.is_in(ranges.field("code"), _strings(codes)).to_numpy(zero_copy_only=False)
        lost = np.where(mine, ranges.field("n_cells").to_numpy(zero_copy_only=False), 0)
        np.add.at(counts, pc.list_parent_indices(lists).to_numpy(zero_copy_only=False), lost)
    return counts


def _strings(codes: frozenset[str]) -> pa.Array:
    return pa.array(sorted(codes), pa.string())


def _taken(sums: pa.Table, name: str, at: pa.ChunkedArray, default: Any) -> NDArray[Any]:
    """A column of `sums` for each video, `default` for those without units."""
    column = pc.fill_null(sums[name].combine_chunks().take(at.combine_chunks()), default)
    return column.to_numpy(zero_copy_only=False)


def _cell_counts(duration_us: pa.ChunkedArray, spec: ClipSpec) -> NDArray[np.int64]:
    """`records.cell_count` for a column; 0 where the duration is unknown."""
    durations, at = np.unique(pc.fill_null(duration_us, 0).to_numpy(), return_inverse=True)
    return np.array([cell_count(int(duration), spec) for duration in durations], dtype=np.int64)[at]


def match_moved(listed: pa.Table, known: pa.Table, new_root: str, old_root: str) -> list[tuple[str, Video]]:
    """Pairs of a known video_id and the listed object under another root with the same etag and size.

    What has vanished counts as well: a run may have seen the old root empty before it was told of the move. Of several
    with the same content the one with the same key below its root is taken. An empty object matches nothing.
    """
    live = known.filter(pc.not_equal(known["status"], "skipped"))
    same_content: dict[tuple[str, int], dict[str, str]] = {}
    names = ("etag", "size_bytes", "uri", "video_id")
    for etag, size_bytes, uri, video_id in zip(*(live[name].to_pylist() for name in names)):
        if etag and size_bytes:
            same_content.setdefault((etag, size_bytes), {})[uri.removeprefix(old_root)] = video_id
    moves = []
    for video in videos_of(listed):
        candidates = same_content.get((video.etag, video.size_bytes), {})
        if candidates:
            key = video.uri.removeprefix(new_root)
            moves.append((candidates.get(key) or min(candidates.values()), video))
    return moves
