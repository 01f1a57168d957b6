"""The report on a lake: each second and each dollar is somewhere, once."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from shotlake.config import ReportConfig
from shotlake.records import Usage
from shotlake.report.accounts import cost_report
from shotlake.report.cost import run_cost
from shotlake.report.focus import Charged, cost_rows
from shotlake.report.prices import load_prices
from shotlake.report.render import report_lines
from shotlake.table.schemas import COSTS, UNITS, VIDEOS

START = datetime(2026, 3, 1, tzinfo=UTC)
BOOK = load_prices(ReportConfig()).for_source("/data")
OVERHEADS = {"startup": 5.0, "idle": 30.0, "head": 4.0}


def charges(run_id, stages, overheads=OVERHEADS):
    run = Charged(run_id, "key", "films", START, START + timedelta(minutes=2))
    return cost_rows(run_cost(stages, 100.0, 2, 1.5, BOOK, "local"), run, overheads)


def unit(run_id, video_id, collection, cpu_s, status="ok", attempts=1):
    row = {"run_id": run_id, "video_id": video_id, "collection": collection, "cpu_s": cpu_s}
    return row | {"unit_id": f"{video_id}-{cpu_s}", "status": status, "attempts": attempts}


@pytest.fixture
def report():
    stages = {"decode": Usage(cpu_s=80.0), "embed": Usage(cpu_s=40.0)}
    costs = charges("run-1", stages) + charges("run-2", {"list": Usage(cpu_s=1.0)})
    units = [
        unit("run-1", "a", "films", 40.0),
        unit("run-1", "b", "films", 20.0, attempts=2),
        unit("run-1", "c", "news", 20.0, status="failed", attempts=2),
        unit("run-0", "a", "films", 99.0),
    ]
    videos = [
        {"video_id": "a", "video_codec": "h264"},
        {"video_id": "a", "video_codec": "h264"},
        {"video_id": "b", "video_codec": None, "audio_codec": "aac"},
    ]
    tables = ((costs, COSTS), (units, UNITS), (videos, VIDEOS))
    return cost_report(*(pa.Table.from_pylist(rows, schema=schema) for rows, schema in tables))


def test_the_bridge_spans_every_billed_second(report):
    bridge = report.to_json()["bridge"]
    billed = bridge.pop("billed_node_s")
    assert billed == pytest.approx(200)
    assert sum(bridge.values()) == pytest.approx(billed)


def test_each_term_of_the_bridge_is_what_was_measured(report):
    bridge = report.bridge
    assert (bridge.failed_s, bridge.retry_s) == (pytest.approx(10), pytest.approx(10))
    assert bridge.useful_s == pytest.approx(20 + 20 + 0.5)
    assert (bridge.startup_s, bridge.idle_s, bridge.head_s) == (10, 60, 8)
    assert bridge.unexplained_s == pytest.approx((100 - 60 - 39) + (100 - 0.5 - 39))


def test_the_dollars_are_the_same_in_every_cut(report):
    assert report.usd == pytest.approx(200 / 3600 * 2 * 0.044625)
    for cut in report.by.values():
        assert sum(cut.values()) == pytest.approx(report.usd)


def test_collections_and_codecs_pay_by_the_cpu_seconds_of_their_units(report):
    run = report.by["run"]["run-1"]
    collections = report.by["collection"]
    assert collections == {
        "films": pytest.approx(run * 0.75),
        "news": pytest.approx(run * 0.25),
        "": pytest.approx(run),
    }
    codecs = report.by["codec"]
    assert codecs["h264"] == pytest.approx(run * 0.5)
    assert codecs["aac"] == codecs["unknown"] == pytest.approx(run * 0.25)


def test_a_lake_without_runs_has_no_cost():
    empty = cost_report(COSTS.empty_table(), UNITS.empty_table(), VIDEOS.empty_table()).to_json()
    assert empty["usd"] == empty["usd_per_video_hour"] == empty["bridge"]["billed_node_s"] == 0


def test_the_printed_report_has_every_term_and_every_cut(report):
    lines = report_lines(report)
    words = {line.split()[0]: line.split()[-1] for line in lines if line.startswith("  ")}
    assert words["idle"] == "30%" and words["billed"] == "100%"
    assert {"decode", "run-1", "films", "h264", "(none)"} <= set(words)
    assert lines[0].startswith("$0.005 for 3.00 video-hours: $0.0017 an hour of video")
    assert "assumed price" in lines[1]
