"""What a person reads says the numbers, the price and how far to trust it."""

import pytest

from shotlake.config import ReportConfig
from shotlake.records import Usage
from shotlake.report.cost import run_cost
from shotlake.report.prices import load_prices
from shotlake.report.render import cost_line, dollars, size, stage_table

BOOK = load_prices(ReportConfig()).for_source("/data")
STAGES = {"decode": Usage(cpu_s=20.0, bytes_read=12_345_678), "embed": Usage(cpu_s=11.0)}


def test_the_line_says_what_was_used_and_that_the_price_is_assumed():
    line = cost_line(run_cost(STAGES, 28.0, 2, 0.52, BOOK, "local"))
    assert line == (
        "0.52 video-hours, 31 CPU-s, 12.3 MB read = $0.00069 (local at $0.044625 a core-hour, assumed price: "
        "c7i.4xlarge list price over 16 vCPUs, 2026-11; prices.yaml), $0.0013 an hour of video"
    )


def test_no_new_video_has_no_hourly_rate():
    assert cost_line(run_cost({}, 5.0, 2, 0.0, BOOK, "local")).endswith("no new video")


def test_the_shares_of_the_table_are_of_the_bill():
    table = stage_table(run_cost(STAGES, 31.0, 2, 0.52, BOOK, "local")).splitlines()
    shares = {line.split()[0]: line.split()[-1] for line in table[1:]}
    assert shares == {"decode": "32%", "embed": "18%", "unused": "50%", "billed": "100%"}
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize(
    ("usd", "text"), [(1234.5, "$1,234.50"), (0.5, "$0.5"), (0.001312, "$0.0013"), (0.00001, "$0.000010"), (0, "$0")]
)
def test_dollars(usd, text):
    assert dollars(usd) == text


@pytest.mark.parametrize(("n", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (10**15, "1.0 PB")])
def test_size(n, text):
    assert size(n) == text
