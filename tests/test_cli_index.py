"""index plan, and what index build and update say before they begin."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import DemoLake

from shotlake.cli import main
from shotlake.table.lake import Lake

KEYS = {
    "action", "rows", "fresh_rows", "dim", "spaces", "factory", "codec", "nlist", "train_rows", "shards", "ram_bytes",
    "disk_bytes", "build_bytes", "cpu_s", "cpu_s_by_part", "usd", "price_basis", "refused",
}  # fmt: skip


def files(folder: str) -> set[tuple[str, int]]:
    """All that there is, but who held leases."""
    found = (path for path in Path(folder).rglob("*") if path.is_file() and "leases" not in path.parts)
    return {(str(path), path.stat().st_mtime_ns) for path in found}


def test_a_plan_is_of_the_live_rows_and_writes_nothing(demo_lake: DemoLake, capsys: pytest.CaptureFixture[str]) -> None:
    lake, before = demo_lake.config.lake, files(demo_lake.config.lake)
    assert main(["index", "plan", "--lake", lake, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == KEYS
    assert found["rows"] == len(Lake.open(lake).read("segments", ["segment_id"])) > 0
    assert (found["factory"], found["shards"], found["refused"]) == ("IVF1,SQfp16", 1, "")
    assert found["cpu_s"] == pytest.approx(sum(found["cpu_s_by_part"].values())) and found["cpu_s"] > 0
    assert found["usd"] == pytest.approx(found["cpu_s"] / 3600 * 0.714 / 16)
    assert files(lake) == before


def test_a_plan_of_a_size_that_no_lake_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["index", "plan", "--lake", str(tmp_path / "lake"), "--rows", "1000000000", "--dim", "512"]
    assert main(asked) == 0
    text = capsys.readouterr().out
    for words in (
        "1,000,000,000 of 512 values in 2 space(s)",
        "IVF262144_HNSW32,PQ64",
        "145 GB of RAM",
        "2.5 TB on disk",
    ):
        assert words in text
    assert "CPU-s = $" in text and "assumed price" in text
    assert main([*asked, "--set", "report.instance=g6e.xlarge"]) == 0
    assert "price not verified on a bill" in capsys.readouterr().out
    assert not (tmp_path / "lake").exists()


def test_a_plan_over_the_budget_is_shown_and_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["index", "plan", "--lake", str(tmp_path / "lake"), "--rows", "1000000", "--json"]
    assert main([*asked, "--set", "index.max_ram_bytes=100000000"]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == f"shotlake: {found['refused']}\n"
    assert "of RAM, index.max_ram_bytes allows 100.0 MB; take a space out of index.spaces, or raise" in err


def test_build_says_its_plan_on_stderr_and_a_budget_stops_it(
    demo_lake: DemoLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(demo_lake.config.lake, lake)
    shutil.rmtree(lake / "index")
    words = ["index", "build", "--lake", str(lake), "--json"]
    before = files(str(lake))
    assert main([*words, "--set", "index.max_disk_bytes=1000"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "index.max_disk_bytes allows 1.0 kB" in err.splitlines()[-1]
    assert files(str(lake)) == before
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["plan"]["codec"] == "exact"
    first, second = err.splitlines()
    assert first.startswith("build: ") and "as IVF1,SQfp16" in first
    assert "CPU-s = $" in second and "assumed price" in second
    assert main(["index", "update", "--lake", str(lake)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("current is ") and err == ""  # nothing is to be done
