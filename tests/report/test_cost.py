"""Dollars by hand: the parts add up to the bill, and each is what its price says."""

import pytest

from shotlake.config import ReportConfig
from shotlake.errors import NoPrice
from shotlake.records import Usage
from shotlake.report.cost import run_cost
from shotlake.report.prices import load_prices

BOOK = load_prices(ReportConfig(egress="between_regions")).for_source("s3://archive")
STAGES = {
    "list": Usage(cpu_s=1, wall_s=2, requests=1000),
    "decode": Usage(cpu_s=800, wall_s=800, bytes_read=5 * 10**9, requests=2000),
    "embed": Usage(cpu_s=100, gpu_s=300, wall_s=300),
    "write": Usage(cpu_s=10, wall_s=20, requests=100),
}


def test_a_machine_priced_by_the_core():
    cost = run_cost({"decode": Usage(cpu_s=3600)}, 3600, 2, 10.0, BOOK.for_source("/data"), "local")
    assert cost.usd == pytest.approx(2 * 0.044625)
    assert cost.usd_busy == pytest.approx(0.044625)
    assert cost.usd_per_video_hour == pytest.approx(0.0089250)
    assert "assumed" in cost.price_basis


def test_requests_and_egress_are_added_to_the_machines():
    cost = run_cost(STAGES, 1000, 4, 2.0, BOOK, "g5.xlarge")
    machine, requests, egress = 1000 / 3600 * 1.006, 0.005 + 0.0008 + 0.0005, 0.1
    assert cost.usd == pytest.approx(machine + requests + egress)
    assert cost.stages["decode"].usd_egress == pytest.approx(egress)
    assert cost.stages["list"].usd_requests == pytest.approx(0.005)


def test_the_parts_add_up_to_the_bill_and_busy_leaves_out_what_no_stage_used():
    cost = run_cost(STAGES, 1000, 4, 2.0, BOOK, "g5.xlarge")
    assert sum(stage.usd for stage in cost.stages.values()) == pytest.approx(cost.usd_busy)
    assert cost.usd_busy + cost.usd_unused == pytest.approx(cost.usd)
    # decode needs 800 / 4 node-seconds of cores, embedding 300 of the GPU
    assert cost.stages["embed"].usd_compute / cost.stages["decode"].usd_compute == pytest.approx(300 / 200)


def test_stages_that_overlap_share_what_was_billed():
    cost = run_cost({"decode": Usage(cpu_s=400), "embed": Usage(gpu_s=100)}, 100, 4, 1.0, BOOK, "g5.xlarge")
    assert cost.usd_unused == pytest.approx(0)
    assert cost.usd == pytest.approx(100 / 3600 * 1.006)
    assert cost.stages["decode"].usd == pytest.approx(cost.stages["embed"].usd)


def test_nothing_covered_costs_money_and_no_rate():
    cost = run_cost({}, 60, 2, 0.0, BOOK, "local")
    assert cost.usd > 0
    assert cost.usd_per_video_hour == 0


def test_the_json_is_the_contract():
    cost = run_cost(STAGES, 1000, 4, 2.0, BOOK, "g5.xlarge").to_json()
    keys = "usd usd_busy usd_per_video_hour price_basis cpu_s gpu_s bytes_read requests"
    assert list(cost) == keys.split()
    assert cost["cpu_s"] == 911
    assert (cost["gpu_s"], cost["bytes_read"], cost["requests"]) == (300, 5 * 10**9, 3100)


def test_an_unknown_instance_is_refused():
    with pytest.raises(NoPrice):
        run_cost({}, 1, 1, 1.0, BOOK, "cray-1")
