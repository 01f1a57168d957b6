"""The rows of a run add up to its bill and to its usage."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from shotlake.config import ReportConfig
from shotlake.records import Usage
from shotlake.report.cost import run_cost
from shotlake.report.focus import Charged, cost_rows
from shotlake.report.prices import load_prices
from shotlake.table.schemas import COSTS

START = datetime(2026, 3, 1, tzinfo=UTC)
RUN = Charged("run-1", "key", "films", START, START + timedelta(hours=1))
STAGES = {
    "list": Usage(cpu_s=1, requests=1000),
    "decode": Usage(cpu_s=800, bytes_read=5 * 10**9, requests=2000),
    "embed": Usage(gpu_s=300),
}


@pytest.fixture
def cost():
    book = load_prices(ReportConfig(egress="nat")).for_source("s3://archive")
    return run_cost(STAGES, 1000, 4, 2.0, book, "g5.xlarge")


def test_the_rows_add_up_to_the_bill_and_to_the_usage(cost):
    rows = cost_rows(cost, RUN)

    def total(column):
        return sum(row[column] for row in rows)

    assert total("BilledCost") == pytest.approx(cost.usd)
    assert (total("x_cpu_s"), total("x_gpu_s"), total("x_video_hours")) == (801, 300, 2.0)
    assert (total("x_requests"), total("x_bytes_read")) == (3000, 5 * 10**9)
    node_s = [row["ConsumedQuantity"] for row in rows if row["ConsumedUnit"] == "Node-Seconds"]
    assert sum(node_s) == pytest.approx(1000)


def test_measured_overheads_explain_what_no_stage_used(cost):
    rows = {row["x_stage"]: row for row in cost_rows(cost, RUN, {"startup": 20.0, "idle": 400.0, "head": 30.0})}
    assert rows["idle"]["BilledCost"] == pytest.approx(400 / 3600 * 1.006)
    assert rows["unexplained"]["ConsumedQuantity"] == pytest.approx(cost.unused_node_s - 450)
    bare = {row["x_stage"]: row for row in cost_rows(cost, RUN)}
    parts = sum(rows[name]["BilledCost"] for name in ("startup", "idle", "head", "unexplained"))
    assert parts == pytest.approx(bare["unexplained"]["BilledCost"])


def test_each_kind_of_charge_has_its_own_row(cost):
    rows = {(row["x_stage"], row["ServiceName"]): row for row in cost_rows(cost, RUN)}
    assert rows["decode", "egress"]["BilledCost"] == pytest.approx(5 * 0.045)
    assert rows["decode", "egress"]["ConsumedQuantity"] == pytest.approx(5.0)
    assert rows["list", "requests"]["BilledCost"] == pytest.approx(0.005)
    assert rows["embed", "compute"]["ConsumedQuantity"] == pytest.approx(300)
    assert ("embed", "egress") not in rows


def test_the_rows_fit_the_table(cost):
    rows = cost_rows(cost, RUN)
    assert set(rows[0]) <= set(COSTS.names)
    assert pa.Table.from_pylist(rows, schema=COSTS).num_rows == len(rows)
