"""`shotlake repair`: a line a fault, nothing written without --apply, and an exit status that tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import DemoLake

from shotlake.cli import main
from shotlake.table.lake import Lake
from shotlake.table.rewrite import data_files


@pytest.fixture
def lake(demo_lake: DemoLake, tmp_path: Path) -> str:
    """A copy of the demo's lake."""
    shutil.copytree(demo_lake.config.lake, tmp_path / "lake")
    return str(tmp_path / "lake")


def files(folder: str) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in Path(folder).rglob("*") if path.is_file()}


def lose_a_file(lake: str) -> str:
    file = data_files(Lake.open(lake), "segments")[0].path
    Path(lake, "tables", "segments", file).unlink()
    return file


def test_a_sound_lake(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(lake)
    assert main(["repair", "--lake", lake]) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    assert files(lake) == before
    assert main(["repair", "--apply", "--lake", lake, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["findings"], found["applied"], found["left"]) == ([], True, 0)


def test_a_fault_is_said_then_mended(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = lose_a_file(lake)
    before = files(lake)
    assert main(["repair", "--lake", lake]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "nothing was changed; run with --apply to do it"
    assert lines[0].startswith("segments: 1 of ") and file in lines[0] and "the next backfill" in lines[0]
    assert lines[1].startswith("units: ")
    assert files(lake) == before
    assert main(["repair", "--lake", lake, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert set(found["findings"][0]) == {"kind", "table", "what", "action"} and found["applied"] is False
    assert main(["repair", "--apply", "--lake", lake]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all was done"
    assert main(["repair", "--lake", lake]) == 0
    assert main(["verify", "--balance", "--lake", lake]) == 0
    assert main(["status", "--lake", lake]) == 0


def test_what_cannot_be_mended_is_said_and_exits_with_1(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(Path(lake, "tables", "costs"))
    assert main(["repair", "--apply", "--lake", lake]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 of this cannot be mended here"


def test_no_lake_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "--lake", str(tmp_path / "none")]) == 4
    assert "there is no lake" in capsys.readouterr().err
