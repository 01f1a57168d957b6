"""What a lake says of itself: runs, contents, failures and costs, read from its tables and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.compute as pc

from shotlake.report.accounts import CostReport, cost_report
from shotlake.table.lake import Lake
from shotlake.table.readers import balance, newest


def lake_status(lake_root: str, n_runs: int = 5) -> dict[str, Any]:
    """Contents of the lake, and its newest runs. Errors: SourceMissing."""
    lake = Lake.open(lake_root)
    segments = lake.read("segments", ["video_id", "start_us", "end_us"])
    runs = _newest_runs(lake)[:n_runs]
    return {
        "lake": {
            "root": lake.root,
            "segments": len(segments),
            "videos": len(pc.unique(segments["video_id"])),
            "failures": len(lake.read("failures", ["code"])),
            "version": lake.version("segments"),
        },
        "runs": [
            {
                "run_id": run["run_id"],
                "status": run["status"],
                "started_at": run["started_at"].isoformat(timespec="seconds"),
                "video_hours": round(run["video_hours"] or 0.0, 3),
                **{name: dict(run["videos"] or []).get(name, 0) for name in ("listed", "indexed", "partial", "failed")},
            }
            for run in runs
        ],
    }


def failure_groups(lake_root: str) -> list[dict[str, Any]]:
    """One row a code: how many videos and cells, whether a rerun tries again, and an example."""
    rows = Lake.open(lake_root).read(
        "failures", ["code", "stage", "uri", "video_id", "n_cells", "retryable", "message"]
    )
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


def lake_balance(lake_root: str) -> dict[str, Any]:
    """The conservation of the newest run, recomputed from the tables, against what the run itself printed."""
    lake = Lake.open(lake_root)
    finished = [run for run in _newest_runs(lake) if run["status"] != "running"]
    if not finished:
        return {"balanced": True, "runs": 0}
    totals: dict[str, Any] = {"runs": len(finished)}
    wrong: list[str] = []
    for run in finished:
        found = balance(lake, run["run_id"])
        said = dict(run["cells"] or [])
        for name in ("planned", "written", "lost"):
            totals[name] = totals.get(name, 0) + getattr(found, name)
        # fewer than it said: units are forgotten when a video is erased or its earlier content comes back
        agrees = found.written <= said.get("written", 0) and found.lost <= said.get("lost", 0)
        if not (found.balanced and agrees):
            wrong.append(run["run_id"])
    return {**totals, "wrong_runs": wrong, "balanced": not wrong}


def costs(lake_root: str) -> CostReport:
    """Dollars an hour of video by stage, run, collection and codec, and where each billed second went."""
    lake = Lake.open(lake_root)
    return cost_report(lake.read("costs"), lake.read("units"), lake.read("videos"))


def _newest_runs(lake: Lake) -> list[dict[str, Any]]:
    runs = newest(lake.read("runs"), "run_id", "at").sort_by([("started_at", "descending")])
    return runs.to_pylist()


def run_report(lake_root: str, run_id: str) -> dict[str, Any]:
    """The JSON that a run printed."""
    runs = Lake.open(lake_root).read("runs", ["report", "at"], pc.field("run_id") == run_id).sort_by("at")
    return dict(json.loads(runs["report"][-1].as_py())) if len(runs) else {}
