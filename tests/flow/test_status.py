"""What a lake tells of a run while it works, when it is done, and when it died."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.flow.lakes import local_config

from shotlake.cli import main
from shotlake.flow.backfill import backfill
from shotlake.flow.status import lake_status
from shotlake.table.lake import Lake
from shotlake.table.rows import table_of
from shotlake.table.schemas import RUNS


def test_a_run_can_be_watched_from_the_lake_alone(copies: Path, tmp_path: Path, capsys) -> None:
    (copies / "broken.mp4").write_text("not a video")
    sets = ("table.commit_s=0.01", "table.commit_units=1", "table.rows_per_file=1", "catalog.block_s=1")
    config = local_config(tmp_path / "lake", *sets)
    seen: list[dict] = []

    def watch(stage: str, done: int, total: int) -> None:
        if stage == "videos":
            assert main(["status", "--lake", config.lake]) == 0
            seen.append(lake_status(config.lake)["runs"][0])

    backfill([str(copies)], config, watch, build=False)
    assert {run["status"] for run in seen} == {"running"}
    first, last = seen[0], seen[-1]
    assert [run["deferred"] for run in seen] == sorted((run["deferred"] for run in seen), reverse=True)
    assert first["deferred"] > last["deferred"]
    assert first["failures"] == {"not_media": 1}
    assert first["actors"] == {"decode": 1, "embed": 1}
    assert last["eta_s"] is not None and last["usd"] > 0 and last["hours_per_hour"] > 0
    said = capsys.readouterr().out
    assert "video-hours an hour; 1 not_media; heard of " in said and " left" in said
    (done,) = lake_status(config.lake)["runs"]
    assert (done["status"], done["indexed"], done["failed"]) == ("complete", 4, 1)
    assert done["heard_s"] is None and done["eta_s"] is None


def test_a_run_that_nobody_works_at_is_lost(copies: Path, tmp_path: Path) -> None:
    config = local_config(tmp_path / "lake")
    backfill([str(copies)], config, lambda stage, done, total: None, build=False)
    lake = Lake.open(config.lake)
    row = lake.read("runs").sort_by("at").to_pylist()[-1]
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    lake.append("runs", table_of(RUNS, [{**row, "run_id": "gone", "status": "running", "at": hour_ago}]))
    statuses = {run["run_id"]: run["status"] for run in lake_status(config.lake)["runs"]}
    assert statuses == {row["run_id"]: "complete", "gone": "lost"}


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_what_the_lake_holds(demo_lake, arguments: list[str], capsys) -> None:
    assert main(["status", "--lake", demo_lake.config.lake, *arguments]) == 0
    said = capsys.readouterr().out
    rows = Lake.open(demo_lake.config.lake).dataset("segments").count_rows()
    held = json.loads(said)["lake"] if arguments else dict(line.split(None, 1) for line in said.splitlines()[:5])
    assert {name: str(held[name]) for name in ("segments", "videos", "failures")} == {
        "segments": str(rows), "videos": "11", "failures": "2",
    }  # fmt: skip
