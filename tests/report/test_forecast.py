"""Hours times rates: a forecast of what was measured is what was measured."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from shotlake.config import ReportConfig
from shotlake.records import Usage
from shotlake.report.forecast import forecast, rates_of_runs, rates_of_sample
from shotlake.report.prices import load_prices

BOOK = load_prices(ReportConfig()).for_source("s3://archive")


def run(hours: float, core_hours: float, **stages: Usage) -> dict:
    used = {name: asdict(usage) for name, usage in stages.items()}
    return {"video_hours": hours, "video_hours_per_core_hour": hours / core_hours if core_hours else 0, "stages": used}


def test_rates_are_those_of_all_runs_together() -> None:
    runs = [
        run(1, 0.5, decode=Usage(cpu_s=1000, bytes_read=10, requests=4)),
        run(3, 0.5, decode=Usage(cpu_s=1000, bytes_read=30), embed=Usage(cpu_s=200)),
        run(0, 0.1, list=Usage(cpu_s=50)),
    ]
    rates = rates_of_runs(runs)
    assert rates is not None
    assert rates.stages == {
        "decode": Usage(cpu_s=500, bytes_read=10, requests=1), "embed": Usage(cpu_s=50),
    }  # fmt: skip
    assert rates.held_core_s == pytest.approx(900)
    assert "2 runs" in rates.basis and "4.00 video-hours" in rates.basis
    assert rates_of_runs(runs[2:]) is None
    assert rates_of_sample({"decode": Usage(cpu_s=1)}, 0.0, 3) is None


def test_nodes_are_held_for_what_takes_longer_their_cores_or_their_gpus() -> None:
    rates = rates_of_runs([run(1, 1, decode=Usage(cpu_s=3000), embed=Usage(gpu_s=1800))])
    assert rates is not None
    cores = forecast(100, rates, (2, 16), BOOK, "c7i.4xlarge")
    assert cores.wall_s == pytest.approx(100 * 3600 / 16 / 2)
    assert cores.cost.usd == pytest.approx(100 / 16 * 0.714)
    gpus = forecast(100, rates, (1, 2), BOOK, "g6.xlarge")
    assert gpus.wall_s == pytest.approx(max(100 * 3600 / 4, 100 * 1800))
    assert gpus.cost.usd == pytest.approx(gpus.wall_s / 3600 * 0.805)
    assert gpus.to_json()["usd_per_video_hour"] == pytest.approx(gpus.cost.usd / 100)


def test_requests_cost_what_the_book_says() -> None:
    rates = rates_of_sample({"decode": Usage(cpu_s=10, requests=1000)}, 0.5, 3)
    assert rates is not None and "3 units" in rates.basis and "30.0 minutes" in rates.basis
    found = forecast(50, rates, (1, 1), BOOK, "local")
    assert found.cost.stages["decode"].usd_requests == pytest.approx(100 * 0.0004)
