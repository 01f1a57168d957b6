"""Two commands at once on one lake, stopped and killed at their requests: a seeded sample, and the driver's own tests.

`make test-interleavings` plays all schedules. A finding is played again by
`python tests/faults/interleave.py --replay NAME`.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from tests.faults import checker
from tests.faults.found import FOUND
from tests.faults.interleave import Totals, drive, kind_of, opened, parsed, planned
from tests.faults.lane import Outcome
from tests.faults.relapses import RELAPSES
from tests.faults.scenes import lake_of
from tests.faults.schedules import Schedule, Stop, stops_of

pytestmark = pytest.mark.interleavings
MOST = 60  # schedules until a fault that was put back has to be found


def played(*words: str) -> Totals:
    """Play what the words of the command line ask for; every finding is an error."""
    findings: list[str] = []

    def tell(outcome: Outcome) -> None:
        findings.extend(f"{outcome.name}: {finding}" for finding in outcome.findings)

    totals = asyncio.run(drive(parsed(list(words)), tell, Totals()))
    assert not findings, "\n".join(findings)
    return totals


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("scene", "minutes"), [("half", 0.5), ("full", 0.5)])
def test_a_seeded_sample_of_schedules(scene: str, minutes: float) -> None:
    totals = played("--scenes", scene, "--minutes", str(minutes), "--seed", "14", "--lanes", "2")
    assert totals.schedules >= 2 and totals.missed <= totals.schedules / 2


@pytest.mark.slow
@pytest.mark.s3
@pytest.mark.timeout(1800)
def test_schedules_on_a_real_server(s3_endpoint: str) -> None:
    """The same stops before moto or radosgw: what the store in memory may have wrong is seen here."""
    totals = played("--scenes", "half", "--minutes", "5", "--seed", "14", "--upstream", s3_endpoint, "--no-twists")
    assert totals.schedules >= 10


@pytest.mark.timeout(900)
def test_schedules_that_found_a_fault_once() -> None:
    totals = played("--replay", *(name for name, _ in FOUND.values()), "--lanes", "2")
    assert (totals.schedules, totals.missed) == (len(FOUND), 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", RELAPSES)
def test_a_fault_that_is_put_back_is_found(name: str) -> None:
    assert asyncio.run(_hunt(name)), f"{name} was not found in {MOST} schedules"


async def _hunt(fault: str) -> list[str]:
    """The findings of the first schedule that shows the fault: the known one, or another of its commands and mode."""
    name, kinds = FOUND[fault]
    known = Schedule.parse(name)
    options = parsed(["--seed", "14", "--modes", known.mode])
    async with opened(2, [known.scene]) as lanes:
        others = await planned(lanes, [(known.scene, known.first, known.second or known.first)], options)
        for schedule in [known, *(one for one in others if one.twist == known.twist)][:MOST]:
            outcome = await lanes[0].play(schedule, (fault,))
            if found := [finding for finding in outcome.findings if kind_of(finding) in kinds]:
                return found
    return []


def test_a_schedule_is_its_name() -> None:
    stop, other = Stop("before", "PUT:leases/run/#.json", 1), Stop("after", "DELETE:source", 12)
    for schedule in (
        Schedule("half", "backfill", "erase", "between", stop),
        Schedule("half", "erase", "", "kill", other, twist="store+90"),
        Schedule("full", "build", "publish", "pair", stop, other, "hosts"),
    ):
        assert Schedule.parse(str(schedule)) == schedule


def test_stops_are_first_and_last_of_each_kind() -> None:
    order = ["GET:a", "PUT:b", "GET:a", "GET:a"]
    names = [str(stop) for stop in stops_of(order, 2)]
    assert names == ["before.GET:a.1", "before.GET:a.3", "before.PUT:b.1", "after.PUT:b.1"]
    assert len(stops_of(order, 3)) == 5


@pytest.fixture(scope="module")
def sound_lake() -> dict[str, bytes]:
    """A lake with an index, as the commands made it."""

    async def make() -> dict[str, bytes]:
        async with opened(1, ["full"]) as (lane,):
            return lake_of(lane.scenes["full"].objects)

    return asyncio.run(make())


def findings(lake: dict[str, bytes]) -> set[str]:
    verdicts = checker.check_whole(lake), checker.check_balance(lake)
    return {kind_of(finding) for verdict in verdicts for finding in verdict.findings}


def without_a_data_file(lake: dict[str, bytes]) -> None:
    del lake[f"tables/segments/{next(iter(checker.active_files(lake, 'segments')))}"]


def with_rows_twice(lake: dict[str, bytes]) -> None:
    name = f"tables/segments/{next(iter(checker.active_files(lake, 'segments')))}"
    rows, out = pq.read_table(io.BytesIO(lake[name])), io.BytesIO()
    pq.write_table(type(rows).from_batches([*rows.to_batches(), *rows.to_batches()]), out)
    lake[name] = out.getvalue()


def without_units(lake: dict[str, bytes]) -> None:
    name = f"tables/units/{next(iter(checker.active_files(lake, 'units')))}"
    out = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(lake[name])).slice(0, 0), out)
    lake[name] = out.getvalue()


def without_a_shard(lake: dict[str, bytes]) -> None:
    pointer = max(key for key in lake if "/CURRENT/" in key)
    folder = pointer.partition("/CURRENT/")[0]
    files = json.loads(lake[f"{folder}/{json.loads(lake[pointer])['generation']}/manifest.json"])["files"]
    del lake[f"{folder}/{files[0]['path']}"]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (without_a_data_file, "missing"),
        (with_rows_twice, "doubled"),
        (without_units, "balance"),
        (without_a_shard, "generation"),
    ],
)
def test_the_checker_sees_damage(
    sound_lake: dict[str, bytes], damage: Callable[[dict[str, bytes]], None], kind: str
) -> None:
    lake = dict(sound_lake)
    assert not findings(lake)
    damage(lake)
    assert kind in findings(lake)


def test_the_checker_sees_traces_in_packed_files(sound_lake: dict[str, bytes]) -> None:
    uri = next(iter(checker.live_ids(sound_lake)))
    erased = checker.erased_of(sound_lake, uri)
    traces = checker.check_traces(sound_lake, erased).findings
    places = ("tables/segments/embed_key", "tables/videos/_delta_log", "columns.arrow", "rows.f16", "tables/pooled")
    for place in places:
        assert any(place in finding for finding in traces), (place, traces)
    other = checker.Erased("s3://tapes/archive/none", frozenset(["no such id"]))
    assert not checker.check_traces(sound_lake, other).findings
