"""A plan says what the backfill behind it then does, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import DemoLake, silent
from tests.flow.lakes import local_config, run

from shotlake.errors import ModelNotNamed, NoPrice, SourceMissing
from shotlake.flow.forecast import Asked, forecast_backfill
from shotlake.flow.status import run_report


def files(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_plan_of_everything_says_what_the_run_did(demo_lake: DemoLake, tmp_path: Path) -> None:
    config = local_config(tmp_path / "lake")
    found = forecast_backfill([str(demo_lake.archive)], config, Asked(probes=0), silent)
    books = demo_lake.report.ledger
    assert not (tmp_path / "lake").exists()
    assert found["videos"]["listed"] == books.videos["listed"]
    assert found["videos"]["skipped"] == sum(found["skipped_by"].values()) == books.videos["skipped"]
    assert found["videos"]["to_do"] == found["opened"]["videos"] == books.videos["listed"] - books.videos["skipped"]
    assert found["opened"]["all"] and set(found["opened"]["failed"]) <= set(books.codes)
    assert found["cells"] == books.cells["planned"]
    assert found["video_hours"] >= demo_lake.report.video_hours > 0  # a truncated one promises more than it holds
    assert found["forecast"] is None


def test_a_lake_without_anything_to_do_is_left_as_it_is_and_gives_its_rates(demo_lake: DemoLake) -> None:
    before = files(Path(demo_lake.config.lake))
    found = forecast_backfill([str(demo_lake.archive)], demo_lake.config, Asked(nodes=3), silent)
    assert files(Path(demo_lake.config.lake)) == before
    assert (found["videos"]["to_do"], found["units"], found["video_hours"]) == (0, 0, 0.0)
    assert found["forecast"]["usd"] == 0.0
    assert found["forecast"]["basis"].startswith("measured by 1 runs of this lake")


def test_what_is_new_is_priced_by_what_the_old_took(copies: Path, tmp_path: Path) -> None:
    config = local_config(tmp_path / "lake")
    first = min(copies.iterdir())
    aside = tmp_path / "aside.mp4"
    first.rename(aside)
    report = run(copies, config)
    aside.rename(first)
    found = forecast_backfill([str(copies)], config, Asked(), silent)
    assert found["videos"] == {"listed": 4, "unchanged": 3, "skipped": 0, "failed": 0, "vanished": 0, "to_do": 1}
    rate = 1 / run_report(config.lake, report.run_id)["video_hours_per_core_hour"]
    assert found["forecast"]["core_hours"] == pytest.approx(rate * found["video_hours"])
    assert found["bytes_to_do"] == first.stat().st_size
    assert run(copies, config).ledger.cells["planned"] == found["cells"]


def test_a_sample_stands_for_the_rest_by_bytes_and_limits_shorten_the_run(copies: Path, tmp_path: Path) -> None:
    config = local_config(tmp_path / "lake")
    whole = forecast_backfill([str(copies)], config, Asked(probes=0), silent)
    limited = local_config(tmp_path / "lake", f"limits.max_hours={whole['video_hours'] / 2}")
    found = forecast_backfill([str(copies)], limited, Asked(probes=3), silent)
    assert found["opened"] == {"videos": 3, "failed": {}, "all": False}
    assert found["cells"] == pytest.approx(whole["cells"], rel=0.7) and found["bytes_to_do"] == whole["bytes_to_do"]
    assert found["video_hours_this_run"] == pytest.approx(min(whole["video_hours"] / 2, found["video_hours"]))


def test_a_calibration_decodes_and_embeds_a_few_units_here(copies: Path, tmp_path: Path) -> None:
    found = forecast_backfill([str(copies)], local_config(tmp_path / "lake"), Asked(sample=2), silent)
    expected = found["forecast"]
    assert "with 2 units" in expected["basis"] and "assumed price" in expected["price_basis"]
    assert expected["core_hours"] > 0 and expected["usd"] > 0 and expected["bytes_read"] > 0
    assert not (tmp_path / "lake").exists()


def test_where_a_backfill_would_refuse_a_plan_does(copies: Path, tmp_path: Path) -> None:
    def refused(source: Path, *sets: str) -> None:
        forecast_backfill([str(source)], local_config(tmp_path / "lake", *sets), Asked(), silent)

    with pytest.raises(SourceMissing):
        refused(tmp_path / "nowhere")
    with pytest.raises(NoPrice):
        refused(copies, "report.instance=p9.huge")
    toy = local_config(tmp_path / "lake").model_copy(update={"embed": type(local_config("x").embed)()})
    with pytest.raises(ModelNotNamed):
        limits = toy.limits.model_copy(update={"mini_max_hours": 1e-9})
        forecast_backfill([str(copies)], toy.model_copy(update={"limits": limits}), Asked(), silent)
