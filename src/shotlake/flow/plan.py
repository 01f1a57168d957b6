"""What a wave of videos is cut into: each is probed, recorded, and planned as units and blocks.

What is to do is counted when its units end; what cannot be opened fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.catalog.changes import VideoUnits, earlier_units
from shotlake.catalog.units import pack_blocks, plan_units, unit_cost_us
from shotlake.config import CatalogConfig, Config
from shotlake.errors import RETRYABLE_CODES, ErasedContent, ModelNotNamed
from shotlake.flow.ledger import add_usage
from shotlake.flow.pools import Block, probe_videos
from shotlake.flow.portions import Scope
from shotlake.flow.run import Run
from shotlake.flow.steps import unit_batch
from shotlake.records import ClipSpec, MediaInfo, UnitOutcome, Usage, Video, WorkUnit
from shotlake.table.readers import UNIT_COLUMNS, UriRange, finished_units
from shotlake.table.rows import video_rows
from shotlake.table.tombstones import NOTHING, Signs

FILES_A_WAVE = 50  # so that a small archive is committed as it goes, and a large one in large files
MIN_ROWS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks of units to run, and how many rows a data file of them holds."""

    blocks: list[Block]
    rows_per_file: int


@dataclass(frozen=True, slots=True)
class Probes:
    """What containers say of themselves, and an outcome for each that cannot be opened, by video_id; what that took."""

    media: dict[str, MediaInfo]
    failed: dict[str, UnitOutcome]
    usage: Usage

    @property
    def hours(self) -> float:
        """Hours of video."""
        return sum(info.duration_us for info in self.media.values()) / 3.6e9


def plan_wave(wave: list[Video], root: str, run: Run) -> Plan:
    """Probe the videos, record what they are, and cut them into blocks of units; unreadable ones fail here."""
    config, space = run.config, run.space
    wave = run.watch.begin_wave(wave)
    found = probe(wave, space.key, config, run.watch.tombstones.signs)
    wave = _not_erased(wave, found, run)
    if not wave:
        return Plan([], MIN_ROWS)
    media = found.media
    add_usage(run.stages, "decode", found.usage)
    check_model(found.hours, config)
    rows = video_rows([(video, media.get(video.video_id)) for video in wave], root, run.run_id, datetime.now(UTC))
    run.append("videos", rows)
    planned: list[WorkUnit] = []
    for video, before, mine in cut(wave, media, run.scope):
        if video.video_id in found.failed:
            unit = WorkUnit(video, space.key, 0, 0, before.next_attempt)
            run.ledger.expect(video.video_id, [unit])
            run.commit([], [replace(found.failed[video.video_id], unit=unit)])
            continue
        run.ledger.expect(video.video_id, mine, before.done)
        planned += run.within_limit(mine)
    packed = pack(planned, space.clip_spec, config.catalog)
    rows_each = max(MIN_ROWS, sum(unit.n_cells for unit in planned) // FILES_A_WAVE)
    return Plan([unit_batch(block, media) for block in packed], min(config.table.rows_per_file, rows_each))


def _not_erased(wave: list[Video], found: Probes, run: Run) -> list[Video]:
    """Without those whose content was erased under another name; nothing is written of them."""
    erased = [outcome for outcome in found.failed.values() if outcome.code == ErasedContent.code]
    for _ in erased:
        run.ledger.skip_erased()
    run.watch.found_again(erased)
    names = {outcome.unit.video.video_id for outcome in erased}
    return [video for video in wave if video.video_id not in names]


def probe(wave: list[Video], key: str, config: Config, signs: Signs = NOTHING) -> Probes:
    """Open the videos, by the engine of the configuration; those that may be erased content are read as a whole."""
    media: dict[str, MediaInfo] = {}
    failed: dict[str, UnitOutcome] = {}
    used = Usage()
    units = [WorkUnit(video, key, 0, 0) for video in wave]
    for unit, found in zip(units, probe_videos(units, config, signs)):
        used += found.usage
        video_id = unit.video.video_id
        if found.code:
            retryable = found.code in RETRYABLE_CODES
            outcome = UnitOutcome(unit, "failed", 0, 0, (), found.code, found.message, retryable)
            failed[video_id] = replace(outcome, content_sha256=found.content_sha256 or None)
        else:
            media[video_id] = found.media
    return Probes(media, failed, used)


def cut(
    wave: list[Video], media: dict[str, MediaInfo], scope: Scope
) -> Iterator[tuple[Video, VideoUnits, list[WorkUnit]]]:
    """For each video what earlier runs did to it, and the units that are left; none of one without `media`."""
    key, spec, config = scope.space.key, scope.space.clip_spec, scope.config.catalog
    units = finished_units(scope.lake, key, UNIT_COLUMNS, _of(wave))
    earlier = earlier_units(units, [video.video_id for video in wave], scope.again)
    for video in wave:
        before, info = earlier.get(video.video_id, VideoUnits()), media.get(video.video_id)
        mine: list[WorkUnit] = []
        if info is not None:
            mine = plan_units(video, info.duration_us, spec, key, config, before.next_attempt, before.known)
            mine += [WorkUnit(video, key, *cells, attempt) for cells, attempt in before.retry]
        yield video, before, mine


def pack(units: list[WorkUnit], spec: ClipSpec, config: CatalogConfig) -> Iterator[list[WorkUnit]]:
    """Blocks of units of even cost."""
    unknown_us = round(config.unit_s * 1e6)
    return pack_blocks(units, lambda unit: unit_cost_us(unit, spec, unknown_us), config.block_s)


def check_model(hours: float, config: Config) -> None:
    """No archive is filled with toy vectors by default. Errors: ModelNotNamed."""
    if "model" not in config.embed.model_fields_set and hours > config.limits.mini_max_hours:
        raise ModelNotNamed(
            f"{hours:.1f} hours of video and no encoder named; set embed.model (configs/archive.yaml has one), "
            "or --set embed.model=mini if a toy world is what you want"
        )


def _of(wave: list[Video]) -> pc.Expression:
    """True for units of the wave; the range of their URIs says which files are opened."""
    uris = [video.uri for video in wave]
    ids = pa.array([video.video_id for video in wave], pa.string())
    return UriRange.between(min(uris), max(uris)).filter & pc.field("video_id").isin(ids)
