"""plan and doctor: what people and programs read of them, and their exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import DemoLake

from shotlake.cli import main


def test_plan_speaks_to_people_and_to_programs(
    demo_lake: DemoLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ["plan", str(demo_lake.archive), "--lake", str(tmp_path / "lake"), "--set", "embed.model=mini", "-q"]
    assert main(new) == 0
    text = capsys.readouterr().out
    assert "13 listed" in text and "forecast  none" in text and "video-hours" in text
    assert main([*new, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["forecast"] is None and found["videos"]["listed"] == 13
    known = ["plan", str(demo_lake.archive), "--lake", demo_lake.config.lake, "--set", "embed.model=mini", "-q"]
    assert main(known) == 0
    assert "measured by 1 runs of this lake" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "nowhere"), "--lake", str(tmp_path / "lake")]) == 4


def test_doctor_says_who_is_ill(demo_lake: DemoLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(demo_lake.archive), "--lake", demo_lake.config.lake]) == 0
    assert "create-only put" in capsys.readouterr().out
    assert main(["doctor", str(tmp_path / "nowhere"), "--lake", str(tmp_path / "lake"), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    failed = [check["check"] for check in found["checks"] if check["status"] == "fail"]
    assert (found["well"], failed) == (False, ["source"])
