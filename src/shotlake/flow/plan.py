"""What there is to do: list a root, compare with the lake, probe what is new, cut it into units and blocks.

Every listed object is counted in exactly one class of the run's books; what is to do is counted when its units end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.catalog.changes import (
    Again,
    VideoUnits,
    compare,
    earlier_units,
    listed_table,
    lost_with,
    progress,
    videos_of,
)
from shotlake.catalog.listing import Skipped, default_collection, list_videos
from shotlake.catalog.sources import list_source
from shotlake.catalog.units import pack_blocks, plan_units, unit_cost_us
from shotlake.errors import RETRYABLE_CODES, ModelNotNamed
from shotlake.flow.ledger import add_usage
from shotlake.flow.pools import Block, probe_videos
from shotlake.flow.run import Run
from shotlake.flow.steps import unit_batch
from shotlake.records import MediaInfo, UnitOutcome, Video, WorkUnit
from shotlake.table.erase import readmit
from shotlake.table.readers import finished_units, latest_videos, retired_videos
from shotlake.table.rows import table_of, video_rows
from shotlake.table.schemas import RETIRED, VIDEOS

FILES_A_WAVE = 50  # so that a small archive is committed as it goes, and a large one in large files
MIN_ROWS = 256


@dataclass(frozen=True, slots=True)
class Survey:
    """A listed root: the ids of what it holds, by uri, the videos to do, and the ids of all that is not settled."""

    root: str
    listed: pa.Table
    todo: list[Video]
    unsettled: frozenset[str]
    wave_videos: int

    @property
    def waves(self) -> Iterator[list[Video]]:
        """The videos to do, a bounded number together."""
        rest = iter(self.todo)
        while wave := list(islice(rest, self.wave_videos)):
            yield wave


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks of units to run, and how many rows a data file of them holds."""

    blocks: list[Block]
    rows_per_file: int


def check_source(source: str) -> str:
    """The normalised root. Errors: SourceMissing, AccessDenied, ConfigError for a scheme that is not known."""
    root = storage.normalise(source)
    next(list_source(root), None)
    return root


def survey(root: str, run: Run) -> Survey:
    """List a root and find out what of it is new, changed, unfinished or to be tried again."""
    config, books = run.config, run.ledger.videos
    with run.measured("list"):
        found = list(list_videos(root, default_collection(root), config.catalog, run.lake.root))
        skipped = [item for item in found if isinstance(item, Skipped)]
        listed = listed_table(item for item in found if isinstance(item, Video))
        erased = readmit(run.lake, listed["video_id"].combine_chunks(), run.space.key)
        listed = listed.filter(pc.invert(pc.is_in(listed["video_id"], erased)))
        known = latest_videos(run.lake, root)
        changes = compare(listed, known)
        durations = changes.unchanged.select(["video_id"]).join(known.select(["video_id", "duration_us"]), "video_id")
        units = finished_units(run.lake, run.space.key)
        standing = progress(durations, units, run.space.clip_spec, _again(run))
    books["listed"] += len(found)
    books["skipped"] += len(skipped) + len(erased)
    books["unchanged"] += len(standing.complete)
    books["failed"] += len(standing.exhausted)
    books["vanished"] += len(changes.vanished)
    books["deferred"] += len(listed) - len(standing.complete) - len(standing.exhausted)  # until they are done
    _record_skipped(skipped, known, root, run)
    _record_vanished(changes.vanished, run)
    settled = pa.concat_arrays([part["video_id"].combine_chunks() for part in (standing.complete, standing.exhausted)])
    todo = listed.filter(pc.invert(pc.is_in(listed["video_id"], settled)))
    unsettled = frozenset(todo["video_id"].to_pylist())
    if run.retried:  # the rest waits for an ordinary run
        todo = todo.filter(pc.is_in(todo["video_id"], lost_with(units, run.retried)))
    return Survey(root, listed, list(videos_of(todo)), unsettled, config.flow.wave_videos)


def plan_wave(wave: list[Video], root: str, run: Run) -> Plan:
    """Probe the videos, record what they are, and cut them into blocks of units; unreadable ones fail here."""
    config, space = run.config, run.space
    media, failed = _probe(wave, run)
    _check_model(media, run)
    rows = video_rows([(video, media.get(video.video_id)) for video in wave], root, run.run_id, datetime.now(UTC))
    run.append("videos", rows)
    units = finished_units(run.lake, space.key)
    earlier = earlier_units(units, [video.video_id for video in wave], _again(run))
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


def _again(run: Run) -> Again:
    return Again(run.config.flow.max_attempts, run.retried)


def supersede(found: Survey, run: Run) -> None:
    """Retire the rows of what an object held before, once what it holds now is done.

    Everything ever known of the root is looked at, so that a run that died before this leaves nothing behind.
    """
    if not len(found.listed):
        return
    rows = run.lake.read(
        "videos", ["uri", "video_id"], (pc.field("root") == found.root) & (pc.field("status") == "listed")
    )
    ever = rows.group_by(["uri", "video_id"]).aggregate([])
    now = found.listed.select(["uri", "video_id"]).rename_columns(["uri", "now"])
    pairs = ever.join(now, "uri", join_type="inner")
    old = pairs.filter(pc.not_equal(pairs["video_id"], pairs["now"]))
    retired = retired_videos(run.lake, run.space.key)
    old = old.filter(pc.invert(pc.is_in(old["video_id"], retired)))
    unfinished = found.unsettled - run.ledger.done
    old = old.filter(pc.invert(pc.is_in(old["now"], pa.array(sorted(unfinished), pa.string()))))
    at = datetime.now(UTC)
    same = {"embed_key": run.space.key, "reason": "superseded", "run_id": run.run_id, "at": at}
    gone = [
        {**same, "video_id": row["video_id"], "uri": row["uri"], "superseded_by": row["now"]} for row in old.to_pylist()
    ]
    if gone:
        run.append("retired", table_of(RETIRED, gone))


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


def _record_skipped(skipped: list[Skipped], known: pa.Table, root: str, run: Run) -> None:
    """One row of `videos` for each object that is skipped for the first time, with its reason."""
    before = set(known.filter(pc.equal(known["status"], "skipped"))["uri"].to_pylist())
    collection, now = default_collection(root), datetime.now(UTC)
    by_reason: dict[str, list[tuple[Video, None]]] = {}
    for item in skipped:
        if item.uri not in before:
            video = Video(item.uri, "", item.size_bytes, now, collection)
            by_reason.setdefault(item.reason, []).append((video, None))
    rows = [video_rows(videos, root, run.run_id, now, "skipped", reason) for reason, videos in by_reason.items()]
    if rows:
        run.append("videos", pa.concat_tables(rows))


def _record_vanished(vanished: pa.Table, run: Run) -> None:
    """One row of `videos` for each object that is not listed any more; its segments stay until they are erased."""
    if not len(vanished):
        return
    now = datetime.now(UTC)
    replaced = {"status": "vanished", "reason": "not listed", "run_id": run.run_id, "at": now}
    rows = [{**row, **replaced} for row in vanished.to_pylist()]
    run.append("videos", table_of(VIDEOS, rows))
