"""One run from its first row in `runs` to its last: its books, its clock, its committer, and what it costs."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import pyarrow as pa

import shotlake
from shotlake.catalog.changes import Again
from shotlake.config import Config
from shotlake.errors import CommitError, ModelChanged, TooManyFailures
from shotlake.flow.interrupt import Interrupted
from shotlake.flow.ledger import Ledger, UnitTally, add_usage
from shotlake.flow.pooled import pool_in_ray, pool_videos
from shotlake.flow.pools import Job, Machines, Report, cluster, machines, pools_of
from shotlake.flow.portions import Scope
from shotlake.flow.run_id import new_run_id
from shotlake.flow.run_report import RunReport, RunStatus
from shotlake.flow.space import VectorSpace
from shotlake.flow.steps import provenance
from shotlake.flow.watch import ErasureWatch
from shotlake.records import UnitOutcome, Usage, WorkUnit
from shotlake.report.cost import run_cost
from shotlake.report.focus import Charged, cost_rows
from shotlake.report.meter import Meter
from shotlake.report.prices import PriceBook, load_prices
from shotlake.report.tree import ProcessTree
from shotlake.table.committer import Committer
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.outcomes import recover
from shotlake.table.rows import table_of
from shotlake.table.schemas import COSTS, RUNS

log = logging.getLogger(__name__)


class Run:
    """The state of a run that is not in the lake yet. A context: whatever ends it, `runs` gets its last row."""

    def __init__(
        self,
        lake: Lake,
        space: VectorSpace,
        config: Config,
        roots: Sequence[str],
        prices: PriceBook,
        retried: frozenset[str] = frozenset(),
    ) -> None:
        self.lake, self.space, self.config, self.roots = lake, space, config, list(roots)
        self.retried = retried  # if there are any, only what was lost with these codes is worked at
        self.started_at = datetime.now(UTC)
        self.run_id = new_run_id()
        self.ledger = Ledger()
        self.stages: dict[str, Usage] = {}
        self.generation = ""
        self.signal = 0
        self.message = ""
        self.epoch = 0
        self.prices = prices
        self._status: RunStatus = "complete"
        self._tally = UnitTally()
        self.watch = ErasureWatch(lake, self.ledger)
        self._lease: Lease | None = None
        self._committer: Committer | None = None
        self._clock, self._cpu_start = time.monotonic(), time.process_time()
        self._machines, self._actors = Machines(), {"decode": 1, "embed": 1}
        self._engine = ExitStack()
        self._started = False
        self._startup_s = self._idle_s = self._here_cpu_s = 0.0
        self._sequence = 0
        self._planned_us = self._planned_units = 0
        self._told_at = 0.0

    def __enter__(self) -> Run:
        self._append("running", None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        """Interrupted and TooManyFailures end the run, not the program: the report tells of them."""
        self._engine.close()
        self.ledger.close()
        expected = isinstance(error, Interrupted | TooManyFailures)
        if isinstance(error, Interrupted):
            self._status, self.signal = "interrupted", error.signum
        elif error is not None:
            self._status, self.message = "failed", str(error)
        elif self.ledger.videos["deferred"]:
            self._status = "partial"
        report = self.report()
        self._append(self._status, report)
        if self.ledger.covered_us or self.stages:
            self._append_costs(report)
        return expected

    @property
    def job(self) -> Job:
        """What the steps are made of."""
        config, device = self.config, "cuda" if self._machines.gpus and self.config.embed.device != "cpu" else "cpu"
        columns = provenance(self.space.encoder, device)
        spec, subtitles = self.space.clip_spec, config.catalog.subtitles
        fingerprint = self.space.encoder.fingerprint
        return Job(spec, config.decode, config.embed, self.lake.root, self.run_id, columns, fingerprint, subtitles)

    @contextmanager
    def measured(self, stage: str) -> Iterator[Meter]:
        """Add what the block uses in this process to a stage."""
        meter = Meter()
        try:
            with meter:
                yield meter
        finally:
            add_usage(self.stages, stage, meter.usage)
            self._here_cpu_s += meter.usage.cpu_s

    def start_engine(self) -> None:
        """Connect to the machines, once; they are held until the run ends."""
        if not self._started:
            with Meter() as meter:
                self._engine.enter_context(cluster(self.config.flow))
            self._machines = machines(self.config)
            if self.config.flow.engine == "ray":
                pools = pools_of(self._machines, self.config)
                self._actors = {"decode": pools.decode_actors, "embed": pools.embed_actors}
            self._started = True
            self._startup_s += meter.usage.wall_s * self._machines.nodes
            if not self.config.flow.ray_address and "RAY_ADDRESS" not in os.environ:
                self._engine.enter_context(self._idle_measured())

    def pool(self) -> None:
        """Bring scene and video vectors up to date, on the machines if there are any."""
        arguments = self.lake, self.space.key, self.run_id, self.config.table.lease_s
        if self._started and self.config.flow.engine == "ray":
            add_usage(self.stages, "write", pool_in_ray(*arguments))
            return
        with self.measured("write"):
            pool_videos(*arguments)

    @contextmanager
    def _idle_measured(self) -> Iterator[None]:
        """Node-seconds in which no process of ours was busy; only of machines that this run alone uses."""
        with ProcessTree().watched() as tree:
            began_s, used_s = time.monotonic(), tree.cpu_s()
            try:
                yield
            finally:
                wall_s, cpu_s = time.monotonic() - began_s, tree.cpu_s() - used_s
                self._idle_s = max(0.0, wall_s - cpu_s / self._machines.cores)

    @property
    def has_news(self) -> bool:
        """True if the run has written vectors."""
        return self.ledger.cells["written"] > 0

    def append(self, table: str, rows: pa.Table) -> None:
        """Append rows of this run, once; none that name a video that was erased."""
        kept = self.watch.kept(rows)
        if not len(kept):
            return
        self._sequence += 1
        self.lake.append(table, kept, (f"{self.run_id}/{table}", self._sequence))

    @property
    def scope(self) -> Scope:
        """What a listing is compared with."""
        return Scope(self.lake, self.space, self.config, Again(self.config.flow.max_attempts, self.retried))

    @property
    def is_full(self) -> bool:
        """True once `limits.max_hours` of video or `limits.max_units` are planned."""
        limits = self.config.limits
        too_long = self._planned_us >= (limits.max_hours or math.inf) * 3.6e9
        return too_long or self._planned_units >= (limits.max_units or math.inf)

    def within_limit(self, units: list[WorkUnit]) -> list[WorkUnit]:
        """Those of the units that the limits leave room for; the others are deferred."""
        kept = []
        for unit in units:
            if self.is_full:
                break
            self._planned_units += 1
            self._planned_us += unit.n_cells * self.space.clip_spec.stride_us
            kept.append(unit)
        return kept

    @contextmanager
    def committing(self, lease: Lease) -> Iterator[None]:
        """Reports that are taken in the block are committed under the lease; what is whole is committed at its end."""
        self.epoch, self._lease = lease.epoch, lease
        recover(self.lake, lease)
        self.watch.look()
        metadata = {"code_version": shotlake.__version__, "config_digest": self.config.digest()}
        self._committer = Committer(self.lake, lease, self.run_id, self.config.table, metadata, self.watch.tombstones)
        self._acknowledge()
        try:
            yield
        except (TooManyFailures, ModelChanged, Interrupted):  # after other errors nothing may be written
            self._close_committer()
            raise
        else:
            with self.measured("write"):
                self._close_committer()
        finally:
            self._committer = self._lease = None

    def _close_committer(self) -> None:
        if self._committer:
            self._committer.close()
            self._settle()

    def take(self, report: Report) -> list[UnitOutcome]:
        """Book a report of the writers and hand it to the committer; the units that are whole now.

        Errors: TooManyFailures, LeaseLost, InvalidFile.
        """
        for stage in ("embed", "write"):
            add_usage(self.stages, stage, Usage(**report[stage]))
        files, outcomes = self._tally.add(report)
        self.commit(files, outcomes)
        if time.monotonic() - self._told_at > self.config.table.commit_s:
            self.tell()
        return outcomes

    def end_wave(self) -> None:
        """An execution is over: its tasks report nothing again, and what is whole is committed."""
        if self._committer is not None:
            with self.measured("write"):
                self._committer.flush()
            self._committer.forget_replays()
            self._settle()
        self.watch.end_wave()
        self.ledger.end_wave()
        self._acknowledge()

    def _settle(self) -> None:
        """Take back what the committer could not commit."""
        if self._committer is None:
            return
        for outcome in self._committer.take_lost():
            self.ledger.defer_unit(outcome)
        dropped = self._committer.take_dropped()
        for outcome in dropped:
            self.ledger.drop_unit(outcome)
        self.watch.let_go(dropped)

    def _acknowledge(self) -> None:
        if self._committer and self._lease:
            self.watch.acknowledge(self._committer, self._lease)

    def tell(self) -> None:
        """A row in `runs` with the run as it stands, for who looks at the lake meanwhile."""
        self._told_at = time.monotonic()
        self._append("running", self.report())

    def commit(self, files: Sequence[Any], outcomes: Sequence[UnitOutcome]) -> None:
        """Hand files and whole units to the committer, and count them."""
        if self._committer is None:
            raise CommitError("nothing is committed outside of Run.committing()")
        with self.measured("write"):
            self._committer.add(files, outcomes)
        self._book(outcomes)
        self._settle()
        self._acknowledge()

    def _book(self, outcomes: Sequence[UnitOutcome]) -> None:
        for outcome in outcomes:
            add_usage(self.stages, "decode", outcome.usage)
            video = self.ledger.close_unit(outcome)
            unit = outcome.unit
            log.info(
                "run_id=%s unit_id=%s uri=%s status=%s code=%s written=%d",
                self.run_id, unit.unit_id, unit.video.uri, outcome.status, outcome.code, outcome.written,
            )  # fmt: skip
            if video and video[0] == "failed":
                self._check_failures()

    def _check_failures(self) -> None:
        limits, failed, listed = self.config.limits, self.ledger.failed_new, self.ledger.videos["listed"]
        if failed > limits.min_failures and failed > limits.max_failure_ratio * listed:
            raise TooManyFailures(
                f"{failed} of {listed} videos failed, more than limits.max_failure_ratio ({limits.max_failure_ratio}); "
                "`shotlake failures` groups them by code"
            )

    def report(self) -> RunReport:
        """The run as it stands."""
        wall_s = time.monotonic() - self._clock
        nodes, cores = self._machines.nodes, self._machines.cores
        hours = self.ledger.covered_us / 3.6e9
        cost = run_cost(self.stages, wall_s * nodes, cores, hours, self.prices, self.config.report.instance)
        return RunReport(
            run_id=self.run_id,
            status=self._status,
            ledger=self.ledger,
            wall_s=wall_s,
            cores=nodes * cores,
            cost=cost,
            stages=self.stages,
            actors=self._actors,
            generation=self.generation,
            signal=self.signal,
            message=self.message,
        )

    def _append(self, status: str, report: RunReport | None) -> None:
        now = datetime.now(UTC)
        counts = self.ledger.to_json()
        row = {
            "run_id": self.run_id,
            "status": status,
            "roots": [root for root in self.roots if not self.watch.tombstones.signs.is_erased(root)],
            "embed_key": self.space.key,
            "model_id": self.space.encoder.fingerprint.model_id,
            "code_version": shotlake.__version__,
            "config_digest": self.config.digest(),
            "config": self.config.model_dump_json(),
            "lease_epoch": self.epoch,
            "started_at": self.started_at,
            "ended_at": None if status == "running" else now,
            "videos": list(counts["videos"].items()),
            "cells": list(counts["cells"].items()),
            "video_hours": report.video_hours if report else 0.0,
            "report": json.dumps(report.to_json()) if report else "",
            "at": now,
        }
        self.append("runs", table_of(RUNS, [row]))

    def _append_costs(self, report: RunReport) -> None:
        collections = {root.rstrip("/").rsplit("/", 1)[-1] for root in self.roots}
        charged = Charged(
            run_id=self.run_id,
            embed_key=self.space.key,
            collection=", ".join(sorted(collections)),
            started_at=self.started_at,
            ended_at=datetime.now(UTC),
        )
        head_s = max(0.0, time.process_time() - self._cpu_start - self._here_cpu_s) / self._machines.cores
        overheads = {"startup": self._startup_s, "head": head_s, "idle": self._idle_s}
        rows: pa.Table = table_of(COSTS, cost_rows(report.cost, charged, overheads))
        self.lake.append("costs", rows, (f"{self.run_id}/costs", 1))


def check_prices(config: Config, roots: Sequence[str]) -> PriceBook:
    """The price book of the run: one that cannot be priced is not begun. Errors: NoPrice, ConfigError."""
    book = load_prices(config.report).for_source(roots[0])
    book.price_of(config.report.instance)
    return book
