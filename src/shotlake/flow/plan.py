"""What a wave of videos is cut into: each is probed, recorded, and planned as units and blocks.

What is to do is counted when its units end; what cannot be opened fails here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.catalog.changes import VideoUnits, earlier_units
from shotlake.catalog.units import pack_blocks, plan_units, unit_cost_us
from shotlake.errors import RETRYABLE_CODES, ModelNotNamed
from shotlake.flow.ledger import add_usage
from shotlake.flow.pools import Block, probe_videos
from shotlake.flow.run import Run
from shotlake.flow.steps import unit_batch
from shotlake.records import MediaInfo, UnitOutcome, Video, WorkUnit
from shotlake.table.readers import UNIT_COLUMNS, UriRange, finished_units
from shotlake.table.rows import video_rows

FILES_A_WAVE = 50  # so that a small archive is committed as it goes, and a large one in large files
MIN_ROWS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks of units to run, and how many rows a data file of them holds."""

    blocks: list[Block]
    rows_per_file: int


def plan_wave(wave: list[Video], root: str, run: Run) -> Plan:
    """Probe the videos, record what they are, and cut them into blocks of units; unreadable ones fail here."""
    config, space = run.config, run.space
    media, failed = _probe(wave, run)
    _check_model(media, run)
    rows = video_rows([(video, media.get(video.video_id)) for video in wave], root, run.run_id, datetime.now(UTC))
    run.append("videos", rows)
    units = finished_units(run.lake, space.key, UNIT_COLUMNS, _of(wave))
    earlier = earlier_units(units, [video.video_id for video in wave], run.again)
    planned: list[WorkUnit] = []
    for video in wave:
        before = earlier.get(video.video_id, VideoUnits())
        if video.video_id in failed:
            unit = WorkUnit(video, space.key, 0, 0, before.next_attempt)
            run.ledger.expect(video.video_id, [unit])
            run.commit([], [replace(failed[video.video_id], unit=unit)])
            continue
        known, duration_us = before.known, media[video.video_id].duration_us
        mine = plan_units(video, duration_us, space.clip_spec, space.key, config.catalog, before.next_attempt, known)
        mine += [WorkUnit(video, space.key, *cells, attempt) for cells, attempt in before.retry]
        run.ledger.expect(video.video_id, mine, before.done)
        planned += run.within_limit(mine)
    unknown_us = round(config.catalog.unit_s * 1e6)
    packed = pack_blocks(planned, lambda unit: unit_cost_us(unit, space.clip_spec, unknown_us), config.catalog.block_s)
    rows_each = max(MIN_ROWS, sum(unit.n_cells for unit in planned) // FILES_A_WAVE)
    return Plan([unit_batch(block, media) for block in packed], min(config.table.rows_per_file, rows_each))


def _of(wave: list[Video]) -> pc.Expression:
    """True for units of the wave; the range of their URIs says which files are opened."""
    uris = [video.uri for video in wave]
    ids = pa.array([video.video_id for video in wave], pa.string())
    return UriRange.between(min(uris), max(uris)).filter & pc.field("video_id").isin(ids)


def _probe(wave: list[Video], run: Run) -> tuple[dict[str, MediaInfo], dict[str, UnitOutcome]]:
    """What each container says of itself, and an outcome for each that cannot be opened, by video_id."""
    media: dict[str, MediaInfo] = {}
    failed: dict[str, UnitOutcome] = {}
    units = [WorkUnit(video, run.space.key, 0, 0) for video in wave]
    for unit, found in zip(units, probe_videos(units, run.config)):
        add_usage(run.stages, "decode", found.usage)
        video_id = unit.video.video_id
        if found.code:
            retryable = found.code in RETRYABLE_CODES
            failed[video_id] = UnitOutcome(unit, "failed", 0, 0, (), found.code, found.message, retryable)
        else:
            media[video_id] = found.media
    return media, failed


def _check_model(media: dict[str, MediaInfo], run: Run) -> None:
    """No archive is filled with toy vectors by default."""
    config = run.config
    hours = sum(info.duration_us for info in media.values()) / 3.6e9
    if "model" not in config.embed.model_fields_set and hours > config.limits.mini_max_hours:
        raise ModelNotNamed(
            f"{hours:.1f} hours of video and no encoder named; set embed.model (configs/archive.yaml has one), "
            "or --set embed.model=mini if a toy world is what you want"
        )
