"""What a lake says of itself: runs, contents, failures and costs, read from its tables and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.report.accounts import CostReport, cost_report
from shotlake.table.lake import Lake
from shotlake.table.lease import live_run_ids
from shotlake.table.readers import newest, standing_failures

STARTING_S = 120  # a run has its first row before it has its lease


def lake_status(lake_root: str, n_runs: int = 5) -> dict[str, Any]:
    """Contents of the lake, and its newest runs, those that are still going on included. Errors: SourceMissing."""
    lake = Lake.open(lake_root)
    units = lake.read("units", ["video_id"], pc.field("written") > 0)
    live, now = live_run_ids(lake.root), datetime.now(UTC)
    return {
        "lake": {
            "root": lake.root,
            "segments": lake.dataset("segments").count_rows(),
            "videos": len(pc.unique(units["video_id"])),
            "failures": lake.dataset("failures").count_rows(),
            "version": lake.version("segments"),
        },
        "runs": [_standing(run, run["run_id"] in live, now) for run in newest_runs(lake)[:n_runs]],
    }


def _standing(run: dict[str, Any], is_live: bool, now: datetime) -> dict[str, Any]:
    """A run as its newest row tells it; `lost` is one that nobody is working at and that did not say how it ended."""
    videos, report = dict(run["videos"] or []), json.loads(run["report"] or "{}")
    heard_s = (now - run["at"]).total_seconds()
    is_going_on = run["status"] == "running" and (is_live or heard_s < STARTING_S)
    wall_s = report.get("wall_s", 0.0)
    done = sum(videos.get(name, 0) for name in ("indexed", "partial", "failed"))
    return {
        "run_id": run["run_id"],
        "status": "lost" if run["status"] == "running" and not is_going_on else run["status"],
        "started_at": run["started_at"].isoformat(timespec="seconds"),
        "heard_s": round(heard_s) if is_going_on else None,
        "video_hours": round(run["video_hours"] or 0.0, 3),
        **{name: videos.get(name, 0) for name in ("listed", "indexed", "partial", "failed", "deferred")},
        "hours_per_hour": round((run["video_hours"] or 0.0) / (wall_s / 3600), 1) if wall_s else None,
        "eta_s": round(wall_s * videos.get("deferred", 0) / done) if is_going_on and done else None,
        "usd": round(report["cost"]["usd"], 4) if report else None,
        "actors": report.get("actors"),
        "failures": report.get("failures", {}),
    }


def failure_groups(lake_root: str) -> list[dict[str, Any]]:
    """One row a code: how many videos and cells, whether a rerun tries again, and an example."""
    names = ["code", "stage", "uri", "video_id", "n_cells", "retryable", "message"]
    rows = standing_failures(Lake.open(lake_root), names)
    groups = []
    for code in sorted(pc.unique(rows["code"]).to_pylist()):
        mine = rows.filter(pc.equal(rows["code"], code))
        first = mine.slice(0, 1).to_pylist()[0]
        groups.append(
            {
                "code": code,
                "stage": first["stage"],
                "videos": len(pc.unique(mine["video_id"])),
                "cells": pc.sum(mine["n_cells"]).as_py(),
                "retryable": first["retryable"],
                "example": first["uri"],
                "message": first["message"],
            }
        )
    return groups


def roots_with(lake_root: str, codes: frozenset[str]) -> list[str]:
    """The listed roots under which something is lost with one of the codes. Errors: SourceMissing."""
    lake = Lake.open(lake_root)
    lost = standing_failures(lake, ["code", "video_id"])
    ids = pc.unique(lost.filter(pc.is_in(lost["code"], pa.array(sorted(codes))))["video_id"])
    return sorted(pc.unique(lake.read("videos", ["root"], pc.field("video_id").isin(ids))["root"]).to_pylist())


def costs(lake_root: str) -> CostReport:
    """Dollars an hour of video by stage, run, collection and codec, and where each billed second went."""
    lake = Lake.open(lake_root)
    return cost_report(lake.read("costs"), lake.read("units"), lake.read("videos"))


def newest_runs(lake: Lake) -> list[dict[str, Any]]:
    """The newest row of each run, the youngest run first."""
    runs = newest(lake.read("runs"), "run_id", "at").sort_by([("started_at", "descending")])
    return runs.to_pylist()


def run_report(lake_root: str, run_id: str) -> dict[str, Any]:
    """The JSON that a run printed."""
    runs = Lake.open(lake_root).read("runs", ["report", "at"], pc.field("run_id") == run_id).sort_by("at")
    return dict(json.loads(runs["report"][-1].as_py())) if len(runs) else {}
