"""The shipped price book is complete and honest; a bad book or instance is named in one sentence."""

import pytest

from shotlake.config import ReportConfig
from shotlake.errors import ConfigError, NoPrice
from shotlake.report.prices import load_prices

ROW = "{usd_per_hour: 2.0, vcpus: 4, gpus: 1, kind: spot, source: mine, date: 2026-11, verified: true}"


def write_book(tmp_path, instances=f"mine: {ROW}", rest="requests: {}\negress: {}\n"):
    path = tmp_path / "book.yaml"
    path.write_text(f"instances:\n  {instances}\n{rest}")
    return ReportConfig(price_book=str(path), instance="mine")


def test_every_shipped_price_has_source_and_date_and_claims_no_bill():
    book = load_prices(ReportConfig())
    rows = [*book.instances.values(), *book.requests.values(), *book.egress.values(), *book.storage.values()]
    assert all(row.source and row.date.startswith("20") for row in rows)
    assert not any(row.verified for row in rows)


def test_local_is_assumed_and_priced_by_the_core():
    local = load_prices(ReportConfig()).price_of("local")
    cloud = load_prices(ReportConfig()).price_of("c7i.4xlarge")
    assert local.node_usd_per_hour(16) == pytest.approx(cloud.node_usd_per_hour(1))
    assert local.node_usd_per_hour(2) == pytest.approx(cloud.usd_per_hour / 8)
    assert "assumed" in local.describe("local")
    assert local.core_usd_per_hour == pytest.approx(cloud.core_usd_per_hour) == 0.714 / 16


def test_unknown_instance_names_the_book_and_close_names():
    with pytest.raises(NoPrice, match=r"'g5\.xlrge' in prices\.yaml, which has g5\.xlarge.*report\.instance") as caught:
        load_prices(ReportConfig()).price_of("g5.xlrge")
    assert caught.value.exit_status == 4


def test_a_price_from_a_bill_says_so(tmp_path):
    row = load_prices(write_book(tmp_path)).price_of("mine")
    assert row.describe("mine") == "mine at $2 an hour, spot, price verified on a bill: mine, 2026-11"


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ("mine: {usd_per_hour: 1, kind: spot, source: a, date: b}", r"instances\.mine .*needs vcpus"),
        ("mine: {kind: spot, source: a, date: b}", r"instances\.mine .*one of usd_per_hour and usd_per_core_hour"),
        ("mine: {usd_per_hour: 1 USD, vcpus: 1, kind: spot, source: a, date: b}", r"instances\.mine\.usd_per_hour"),
        ("mine: {usd_per_hour: -1, vcpus: 1, kind: spot, source: a, date: b}", r"instances\.mine\.usd_per_hour"),
        ("mine: {usd_per_hour: 1, vcpus: 1, kind: spot, date: b}", r"instances\.mine\.source"),
        ("mine: {usd_per_hour: 1, vcpu: 1, kind: spot, source: a, date: b}", r"instances\.mine\.vcpu "),
        ("mine: [", r"not a YAML mapping"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, instances, words):
    with pytest.raises(ConfigError, match=words):
        load_prices(write_book(tmp_path, instances))


def test_a_missing_book_is_named():
    with pytest.raises(ConfigError, match=r"'nowhere\.yaml'.*report\.price_book"):
        load_prices(ReportConfig(price_book="nowhere.yaml"))


def test_requests_and_bytes_of_a_local_folder_are_free_and_of_a_bucket_are_not():
    book = load_prices(ReportConfig(egress="nat"))
    bucket, folder = book.for_source("s3://bucket/prefix"), book.for_source("/data/video")
    assert bucket.request_usd("get", 1_000_000) == pytest.approx(0.4)
    assert bucket.request_usd("list", 1000) == pytest.approx(0.005)
    assert bucket.egress_usd(10**12) == pytest.approx(45)
    assert folder.request_usd("get", 1_000_000) == folder.egress_usd(10**12) == 0


def test_an_unknown_way_or_request_price_is_named(tmp_path):
    with pytest.raises(NoPrice, match=r"'vpn' in prices\.yaml; set report\.egress to one of none, between_regions"):
        load_prices(ReportConfig(egress="vpn")).egress_usd(1)
    with pytest.raises(NoPrice, match=r"get requests in book\.yaml"):
        load_prices(write_book(tmp_path)).request_usd("get", 1)
