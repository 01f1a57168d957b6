"""Records as rows: outcomes become `units` and `failures`, listed objects become `videos`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyarrow as pa

from shotlake.errors import RETRYABLE_CODES
from shotlake.records import LostRange, MediaInfo, UnitOutcome, Video
from shotlake.table.schemas import FAILURES, UNITS, VIDEOS

# The room in which a code arises; everything else happens while decoding.
_STAGES = {"bad_clip": "embed", "non_finite_vector": "embed", "embed_error": "embed"}


def table_of(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of exactly this schema; a column that no row names is null."""
    return pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in schema}, schema=schema)


def unit_rows(outcomes: Iterable[UnitOutcome], run_id: str, segments_version: int, at: datetime) -> pa.Table:
    """One row of `units` for each outcome."""
    rows = []
    for outcome in outcomes:
        lost = [asdict(lost) for lost in outcome.lost]
        rows.append(
            {
                **_unit_columns(outcome, run_id, at),
                **asdict(outcome.usage),
                "first_cell": outcome.unit.first_cell,
                "n_cells": outcome.unit.n_cells,
                "status": outcome.status,
                "planned": outcome.planned,
                "written": outcome.written,
                "lost": sum(item["n_cells"] for item in lost),
                "lost_ranges": lost,
                "code": outcome.code,
                "covered_us": outcome.covered_us,
                "declared_us": outcome.declared_us,
                "corrupt_frames": outcome.corrupt_frames,
                "packet_errors": outcome.packet_errors,
                "content_sha256": outcome.content_sha256,
                "segments_version": segments_version,
            }
        )
    return table_of(UNITS, rows)


def failure_rows(outcomes: Iterable[UnitOutcome], run_id: str, at: datetime) -> pa.Table:
    """One row of `failures` for each lost range, and one for a unit that failed or is partial without any."""
    rows = []
    for outcome in outcomes:
        lost = outcome.lost
        if not lost and outcome.status != "ok":
            lost = (LostRange(outcome.unit.first_cell, 0, outcome.code),)
        for item in lost:
            retryable = outcome.retryable if item.code == outcome.code else item.code in RETRYABLE_CODES
            stage = _STAGES.get(item.code, "decode")
            columns = {**_unit_columns(outcome, run_id, at), **asdict(item)}
            rows.append({**columns, "stage": stage, "message": outcome.message, "retryable": retryable})
    return table_of(FAILURES, rows)


def failures_again(units: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows of `failures` that belong to rows of `units`, where they were lost: all of them but their messages."""
    rows = []
    for unit in units:
        lost = unit["lost_ranges"] or [{"first_cell": unit["first_cell"], "n_cells": 0, "code": unit["code"]}]
        is_erased = unit["uri"] is None
        message = None if is_erased else "made again by repair: what was said of it is lost"
        for item in lost if unit["status"] != "ok" else ():
            retryable = unit["retryable"] if item["code"] == unit["code"] else item["code"] in RETRYABLE_CODES
            stage = _STAGES.get(item["code"], "decode")
            rows.append({**unit, **item, "stage": stage, "message": message, "retryable": retryable})
    return table_of(FAILURES, rows)


def video_rows(
    videos: Iterable[tuple[Video, MediaInfo | None]],
    root: str,
    run_id: str,
    at: datetime,
    status: str = "listed",
    reason: str = "",
) -> pa.Table:
    """One row of `videos` for each object; `media` is None where nothing was probed."""
    rows = []
    for video, media in videos:
        probed = asdict(media) if media else {}
        recorded_at = video.recorded_at or probed.get("recorded_at")
        recorded_from = video.recorded_from or ("container" if recorded_at else "")
        recorded_zone = video.recorded_zone or ("UTC" if recorded_at else "")
        recorded = {"recorded_at": recorded_at, "recorded_from": recorded_from, "recorded_zone": recorded_zone}
        same = {"root": root, "status": status, "reason": reason, "run_id": run_id, "at": at}
        rows.append({**probed, **asdict(video), "video_id": video.video_id, **recorded, **same})
    return table_of(VIDEOS, rows)


def _unit_columns(outcome: UnitOutcome, run_id: str, at: datetime) -> dict[str, Any]:
    unit = outcome.unit
    return {
        "unit_id": unit.unit_id,
        "video_id": unit.video.video_id,
        "uri": unit.video.uri,
        "collection": unit.video.collection,
        "embed_key": unit.embed_key,
        "attempts": unit.attempt,
        "retryable": outcome.retryable,
        "salvaged_until_us": outcome.salvaged_until_us,
        "run_id": run_id,
        "at": at,
    }
