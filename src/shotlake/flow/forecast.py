"""What a backfill would do, without doing it: nothing is written into the lake, and no machine is started.

The listing and its comparison with the lake are the job's own; of what is to do a sample is opened, and what it holds
stands for the rest, by bytes.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from shotlake.catalog.changes import Again
from shotlake.config import Config, LimitsConfig
from shotlake.errors import SourceMissing
from shotlake.flow.ledger import add_usage
from shotlake.flow.plan import MIN_ROWS, check_model, cut, pack, probe
from shotlake.flow.pools import Job, run_here
from shotlake.flow.portions import Scope, portions
from shotlake.flow.run import check_prices
from shotlake.flow.space import VectorSpace, check_lake, open_space
from shotlake.flow.status import newest_runs
from shotlake.flow.steps import provenance, unit_batch
from shotlake.flow.survey import check_source
from shotlake.flow.todo import Todo
from shotlake.records import ClipSpec, MediaInfo, UnitOutcome, Usage, WorkUnit
from shotlake.report.forecast import Rates, forecast, rates_of_runs, rates_of_sample
from shotlake.table.lake import Lake

WAVE = 2_000  # videos that are opened and cut together

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """How closely to look: videos to open (0: all), units to decode and embed for a rate, nodes to spread it over."""

    probes: int = 200
    sample: int = 0
    nodes: int = 1


@dataclass(slots=True)
class Look:
    """Videos that were opened: how many, of how many bytes, why some could not be, and what is left to do in them."""

    videos: int = 0
    size_bytes: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    units: int = 0
    cells: int = 0
    blocks: int = 0
    video_us: int = 0
    some: list[tuple[WorkUnit, MediaInfo]] = field(default_factory=list)  # the first unit of each

    def add(self, units: list[WorkUnit], info: MediaInfo, spec: ClipSpec) -> None:
        """Count the units that are left of a video."""
        n_cells = sum(unit.n_cells for unit in units)
        self.units += len(units)
        self.cells += n_cells
        self.video_us += min(info.duration_us, n_cells * spec.stride_us)
        self.some += [(unit, info) for unit in units[:1]]

    def left(self, factor: float) -> dict[str, Any]:
        """What is left in so many times as much."""
        counts = {name: round(getattr(self, name) * factor) for name in ("units", "cells", "blocks")}
        return {**counts, "video_hours": self.video_us * factor / 3.6e9}


def forecast_backfill(sources: Sequence[str], config: Config, asked: Asked, progress: Progress) -> dict[str, Any]:
    """What `shotlake plan --json` prints. Errors: PreflightError where `backfill` would raise one."""
    roots = [check_source(source, config.catalog) for source in sources]
    space = open_space(config)
    prices = check_prices(config, roots)
    with _lake(config) as lake:
        check_lake(lake, space, config)
        scope = Scope(lake, space, config, Again(config.flow.max_attempts))
        found = _survey(roots, scope)
        n_todo, n_bytes = len(found.todo), found.bytes_to_do
        look = _look(found.todo, asked.probes or n_todo, scope, progress)
        is_all = look.videos == n_todo
        left = look.left(1.0 if is_all else n_bytes / look.size_bytes if look.size_bytes else n_todo / look.videos)
        check_model(left["video_hours"], config)
        rates = _calibrated(look.some, asked.sample, space, config) if asked.sample else _recorded(lake, space.key)
    hours = _within_limits(left["video_hours"], left["units"], config.limits)
    machine = (asked.nodes, os.cpu_count() or 1)
    return {
        "sources": roots,
        "embed_key": space.key,
        "videos": {**found.counts, "to_do": n_todo},
        "skipped_by": dict(found.reasons),
        "bytes_to_do": n_bytes,
        "opened": {"videos": look.videos, "failed": dict(look.failed), "all": is_all},
        **left,
        "video_hours_this_run": hours,
        "forecast": forecast(hours, rates, machine, prices, config.report.instance).to_json() if rates else None,
    }


@contextmanager
def _lake(config: Config) -> Iterator[Lake]:
    """The lake; an empty one elsewhere if there is none yet. Errors: LakeFormat."""
    try:
        lake = Lake.open(config.lake)
    except SourceMissing:
        with tempfile.TemporaryDirectory(prefix="shotlake-plan-") as folder:
            yield Lake.create_or_open(folder)
        return
    lake.check_columns()
    yield lake


@dataclass(frozen=True, slots=True)
class _Found:
    counts: dict[str, int]  # listed objects by class, and what vanished
    reasons: Counter[str]  # of what is skipped for the first time
    todo: Todo
    bytes_to_do: int


def _survey(roots: list[str], scope: Scope) -> _Found:
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    todo, n_bytes = Todo(), 0
    for root in roots:
        for part in portions(root, scope):
            counts.update(part.counts)
            reasons.update(part.skipped["reason"].to_pylist())
            todo.add(part.waiting)
            n_bytes += pc.sum(part.waiting["size_bytes"]).as_py() or 0
    names = ("listed", "unchanged", "skipped", "failed", "vanished")
    return _Found({name: counts[name] for name in names}, reasons, todo, n_bytes)


def _look(todo: Todo, n_videos: int, scope: Scope, progress: Progress) -> Look:
    """Open so many of the videos in this process."""
    look, spec = Look(), scope.space.clip_spec
    here = scope.config.model_copy(update={"flow": scope.config.flow.model_copy(update={"engine": "local"})})
    videos = todo.spread(n_videos)
    for start in range(0, len(videos), WAVE):
        wave = videos[start : start + WAVE]
        progress("probe", start, len(videos))
        found = probe(wave, scope.space.key, here)
        planned: list[WorkUnit] = []
        for video, _, units in cut(wave, found.media, scope):
            look.size_bytes += video.size_bytes
            if video.video_id in found.media:
                look.add(units, found.media[video.video_id], spec)
                planned += units
        look.videos += len(wave)
        look.failed.update(outcome.code for outcome in found.failed.values())
        look.blocks += sum(1 for _ in pack(planned, spec, here.catalog))
    progress("probe", len(videos), len(videos))
    return look


def _within_limits(hours: float, units: int, limits: LimitsConfig) -> float:
    """The hours of video that a run takes on."""
    by_hours = limits.max_hours or math.inf
    by_units = hours * limits.max_units / units if limits.max_units and units else math.inf
    return min(hours, by_hours, by_units)


def _recorded(lake: Lake, key: str) -> Rates | None:
    """The rates of the lake's own runs in this space."""
    ended = [run for run in newest_runs(lake) if run["embed_key"] == key and run["status"] != "running"]
    return rates_of_runs(json.loads(run["report"]) for run in ended if run["report"])


def _calibrated(
    some: list[tuple[WorkUnit, MediaInfo]], n_units: int, space: VectorSpace, config: Config
) -> Rates | None:
    """The rates of decoding, embedding and writing a few units here, into a folder that is thrown away."""
    step = max(1, len(some) // n_units)
    chosen = some[::step][:n_units]
    media = {unit.video.video_id: info for unit, info in chosen}
    stages, covered_us = {"decode": Usage(), "embed": Usage(), "write": Usage()}, 0
    with tempfile.TemporaryDirectory(prefix="shotlake-plan-") as folder:
        columns = provenance(space.encoder, "cpu")
        job = Job(space.clip_spec, config.decode, config.embed, folder, "plan", columns, space.encoder.fingerprint)
        for report in run_here([unit_batch([unit for unit, _ in chosen], media)], job, MIN_ROWS):
            outcomes = [UnitOutcome.from_json(text) for text in report["outcomes"]]
            covered_us += sum(outcome.covered_us for outcome in outcomes)
            add_usage(stages, "decode", sum((outcome.usage for outcome in outcomes), Usage()))
            add_usage(stages, "embed", Usage(**report["embed"]))
            add_usage(stages, "write", Usage(**report["write"]))
    return rates_of_sample(stages, covered_us / 3.6e9, len(chosen))
