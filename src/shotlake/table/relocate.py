"""A moved archive: rows of the same content under new names, copied instead of embedded again.

What is copied is committed like any other unit, exactly once; then the old videos are retired. A crash in between
leaves both until the same call is made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.records import LostRange, UnitOutcome, Video, WorkUnit, segment_id
from shotlake.table.committer import Committer, CommitTotals
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.maintenance import forget
from shotlake.table.readers import finished_units, newest, retired_videos
from shotlake.table.rows import table_of
from shotlake.table.schemas import RETIRED, SEGMENTS, UNITS, VIDEOS

VIDEOS_A_PORTION = 64


@dataclass(frozen=True, slots=True)
class Move:
    """A known video and the listed object that has its content now."""

    old_video_id: str
    new: Video


def relocate(lake: Lake, committer: Committer, moves: Sequence[Move], embed_key: str, new_root: str) -> CommitTotals:
    """Give the rows of each moved video its new names, in one space; nothing is decoded or embedded.

    `committer` works under the lease of (embed_key, new root), after `recover`. Videos that are there already are only
    retired under their old name. Errors: as `Committer.add`.
    """
    new_ids = pa.array([move.new.video_id for move in moves], pa.string())
    forget(lake, new_ids.filter(pc.is_in(new_ids, retired_videos(lake, embed_key))), embed_key, committer.run_id)
    units = finished_units(lake, embed_key, UNITS.names)
    there = set(units["video_id"].filter(pc.is_in(units["video_id"], new_ids)).to_pylist())
    for portion in _portions([move for move in moves if move.new.video_id not in there]):
        _copy(lake, committer, portion, units, embed_key)
    totals = committer.close()
    _record(lake, moves, embed_key, new_root, committer.run_id)
    return totals


def _copy(lake: Lake, committer: Committer, moves: Sequence[Move], units: pa.Table, embed_key: str) -> None:
    old_ids = pa.array({move.old_video_id for move in moves}, pa.string())
    mine = (pc.field("embed_key") == embed_key) & pc.field("video_id").isin(old_ids)
    rows = lake.read("segments", SEGMENTS.names, mine)
    old_units = units.filter(pc.is_in(units["video_id"], old_ids)).to_pylist()
    parts: list[pa.Table] = []
    outcomes: list[UnitOutcome] = []
    for move in moves:
        of_video = [unit for unit in old_units if unit["video_id"] == move.old_video_id]
        renamed = {unit["unit_id"]: _outcome(unit, move.new, embed_key) for unit in of_video}
        outcomes += renamed.values()
        found = rows.filter(pc.equal(rows["video_id"], move.old_video_id))
        unit_ids = {old: outcome.unit.unit_id for old, outcome in renamed.items()}
        parts.append(_renamed(found, move.new, embed_key, unit_ids, committer.run_id))
    copied = pa.concat_tables(parts)
    files = write_segments(lake.root, committer.run_id, copied) if len(copied) else []
    committer.add(files, outcomes)


def _renamed(rows: pa.Table, video: Video, embed_key: str, unit_ids: dict[str, str], run_id: str) -> pa.Table:
    """The rows with the ids and names of another object; the vectors and how they were made stay."""
    cells = rows["cell"].to_pylist()
    columns: dict[str, list[Any]] = {
        "segment_id": [segment_id(video.video_id, cell, embed_key) for cell in cells],
        "unit_id": [unit_ids[old] for old in rows["unit_id"].to_pylist()],
        "video_id": [video.video_id] * len(cells),
        "uri": [video.uri] * len(cells),
        "etag": [video.etag] * len(cells),
        "version_id": [video.version_id] * len(cells),
        "collection": [video.collection] * len(cells),
        "run_id": [run_id] * len(cells),  # the run that commits them
    }
    for name, values in columns.items():
        field = SEGMENTS.field(name)
        rows = rows.set_column(SEGMENTS.get_field_index(name), field, pa.array(values, field.type))
    return rows


def _outcome(unit: dict[str, Any], video: Video, embed_key: str) -> UnitOutcome:
    """How the unit ended for the old name, told of the new one; no resources were used this time."""
    same = ("status", "planned", "written", "code", "retryable", "covered_us", "declared_us", "corrupt_frames")
    more = ("packet_errors", "salvaged_until_us", "content_sha256")
    return UnitOutcome(
        unit=WorkUnit(video, embed_key, unit["first_cell"], unit["n_cells"], unit["attempts"]),
        lost=tuple(LostRange(**lost) for lost in unit["lost_ranges"]),
        **{name: unit[name] for name in (*same, *more)},
    )


def _record(lake: Lake, moves: Sequence[Move], embed_key: str, new_root: str, run_id: str) -> None:
    """Rows of `videos` for the new names, with what was probed of the old ones, and `retired` rows for those."""
    at = datetime.now(UTC)
    retired = set(retired_videos(lake, embed_key).to_pylist())
    moves = [move for move in moves if move.old_video_id not in retired]
    old_ids = pa.array({move.old_video_id for move in moves}, pa.string())
    known = newest(lake.read("videos", filter=pc.field("video_id").isin(old_ids)), "video_id", "at").to_pylist()
    probed = {row["video_id"]: row for row in known}
    videos, gone = [], {}
    for move in moves:
        names = {name: getattr(move.new, name) for name in ("uri", "etag", "size_bytes", "version_id", "collection")}
        names |= {"video_id": move.new.video_id, "modified_at": move.new.modified_at, "root": new_root}
        same = {"status": "listed", "reason": "relocated", "run_id": run_id, "at": at}
        videos.append({**probed.get(move.old_video_id, {}), **names, **same})
        gone[move.old_video_id] = {
            "video_id": move.old_video_id,
            "embed_key": embed_key,
            "uri": probed.get(move.old_video_id, {}).get("uri"),
            "reason": "superseded",
            "superseded_by": move.new.video_id,
            "run_id": run_id,
            "at": at,
        }
    if moves:
        lake.append("videos", table_of(VIDEOS, videos), (f"{run_id}/videos", 1))
        lake.append("retired", table_of(RETIRED, list(gone.values())), (f"{run_id}/retired", 1))


def _portions(moves: Sequence[Move]) -> Iterator[Sequence[Move]]:
    return (moves[start : start + VIDEOS_A_PORTION] for start in range(0, len(moves), VIDEOS_A_PORTION))
