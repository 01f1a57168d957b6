"""The job on real files, many damaged on purpose: all are accounted for, and a change of one touches only that one."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.flow.lakes import local_config, run

from shotlake.table.lake import Lake


def test_every_real_file_has_segments_or_a_failure(media_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    shutil.copytree(media_dir, folder)
    files = {str(path) for path in folder.rglob("*") if path.is_file() and path.suffix not in (".tsv", ".md")}
    config = local_config(tmp_path / "lake", "decode.isolate=true")
    report = run(folder, config)
    videos = report.ledger.videos
    assert report.ledger.balanced
    assert len(files) == 62
    assert videos["indexed"] + videos["partial"] == 48
    assert videos["failed"] == report.ledger.failed_new == 14
    assert report.exit_status(config.limits) == 3
    lake = Lake.open(config.lake)
    in_table = {
        table: set(lake.read(table, ["uri"])["uri"].to_pylist()) for table in ("videos", "segments", "failures")
    }
    assert files <= in_table["videos"]
    assert files == (in_table["segments"] | in_table["failures"]) & files

    again = run(folder, config)
    assert (again.ledger.videos["indexed"], again.ledger.failed_new, again.ledger.cells["planned"]) == (0, 0, 0)
    shutil.copyfile(folder / "bear-1280x720.mp4", folder / "vfr.mp4")
    changed = run(folder, config)
    assert changed.ledger.videos["indexed"] == 1
    assert changed.ledger.videos["unchanged"] == 47
    assert changed.ledger.balanced
