"""Exactly once: whole units, replays, crashes between the steps of a commit, and runs that lost their lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakes import KEY, make_outcome, make_rows, make_unit

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import CommitError, InvalidFile, LeaseLost
from shotlake.records import WorkUnit
from shotlake.table import outcomes as outcomes_module
from shotlake.table.committer import Committer
from shotlake.table.files import FileReport, data_uri, write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.outcomes import recover
from shotlake.table.readers import balance, finished_units
from shotlake.table.snapshots import opened

CONFIG = TableConfig(commit_units=1000, commit_s=3600)
ROOT = "/archive"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.create_or_open(str(tmp_path / "lake"))


@pytest.fixture
def lease(lake: Lake) -> Iterator[Lease]:
    with Lease.acquire(lake.root, KEY, ROOT, "r1") as lease:
        yield lease


@pytest.fixture
def committer(lake: Lake, lease: Lease) -> Committer:
    return Committer(lake, lease, "r1", CONFIG, {"code_version": "test"})


def write(lake: Lake, *parts: pa.Table) -> list[FileReport]:
    return write_segments(lake.root, "r1", pa.concat_tables(parts))


def cells(lake: Lake) -> dict[str, list[int]]:
    rows = lake.read("segments", ["unit_id", "cell"]).sort_by("cell").to_pylist()
    return {unit: [r["cell"] for r in rows if r["unit_id"] == unit] for unit in {r["unit_id"] for r in rows}}


def whole(*units: WorkUnit) -> dict[str, list[int]]:
    return {unit.unit_id: list(range(unit.first_cell, unit.first_cell + unit.n_cells)) for unit in units}


def test_whole_units_are_committed_together_with_their_outcomes(lake: Lake, committer: Committer) -> None:
    one, two = make_unit(1), make_unit(2)
    committer.add(write(lake, make_rows(one), make_rows(two, n=7)), [make_outcome(one), make_outcome(two, lost=3)])
    totals = committer.close()
    assert (totals.commits, totals.units, totals.rows, totals.orphans) == (1, 2, 17, [])
    units = {row["unit_id"]: row for row in lake.read("units").to_pylist()}
    assert (units[one.unit_id]["status"], units[two.unit_id]["status"]) == ("ok", "partial")
    assert units[two.unit_id]["lost_ranges"] == [{"first_cell": 7, "n_cells": 3, "code": "truncated"}]
    assert units[one.unit_id]["segments_version"] == lake.version("segments")
    failures = lake.read("failures").to_pylist()
    assert [(f["unit_id"], f["code"], f["n_cells"]) for f in failures] == [(two.unit_id, "truncated", 3)]
    assert balance(lake, "r1").balanced
    assert storage.names(storage.join(lake.root, "outcomes")) == []
    (commit,) = opened(lake.uri("segments")).history(1)
    assert (commit["run_id"], commit["code_version"], commit["lease_epoch"]) == ("r1", "test", "1")


def test_a_unit_waits_for_all_its_files_and_its_outcome(lake: Lake, committer: Committer) -> None:
    unit = make_unit(1)
    committer.add(write(lake, make_rows(unit, n=4)), [])
    committer.flush()
    committer.add([], [make_outcome(unit)])
    committer.flush()
    assert cells(lake) == {}
    committer.add(write(lake, make_rows(unit, first=4, n=6)), [])
    committer.flush()
    assert cells(lake) == whole(unit)


def test_a_file_waits_for_its_other_unit_and_close_copies_what_is_whole(lake: Lake, committer: Committer) -> None:
    one, two = make_unit(1), make_unit(2)
    committer.add(write(lake, make_rows(one), make_rows(two, n=3)), [make_outcome(one)])
    committer.flush()
    assert cells(lake) == {}
    totals = committer.close()
    assert cells(lake) == whole(one)
    assert lake.read("units")["unit_id"].to_pylist() == [one.unit_id]
    assert len(totals.orphans) >= 1


def test_enough_units_make_a_commit_by_themselves(lake: Lake, lease: Lease) -> None:
    committer = Committer(lake, lease, "r1", TableConfig(commit_units=2, commit_s=3600))
    one, two = make_unit(1), make_unit(2)
    committer.add(write(lake, make_rows(one)), [make_outcome(one)])
    assert committer.totals.commits == 0
    committer.add(write(lake, make_rows(two)), [make_outcome(two)])
    assert committer.totals.commits == 1


def test_a_failed_unit_needs_no_rows(lake: Lake, committer: Committer) -> None:
    lost, probed = make_unit(1), make_unit(2, n_cells=0)
    outcomes = [make_outcome(lost, lost=10), make_outcome(probed, lost=0)]
    committer.add([], outcomes)
    committer.close()
    assert lake.read("segments").num_rows == 0
    assert sorted(lake.read("units")["status"].to_pylist()) == ["failed", "ok"]
    assert balance(lake, "r1").balanced


@pytest.mark.parametrize("committed_between", [True, False])
def test_a_replayed_task_changes_nothing(lake: Lake, committer: Committer, committed_between: bool) -> None:
    unit = make_unit(1)
    for _ in range(2):
        committer.add(write(lake, make_rows(unit)), [make_outcome(unit)])
        if committed_between:
            committer.flush()
    totals = committer.close()
    assert cells(lake) == whole(unit)
    assert lake.read("units").num_rows == 1
    assert (totals.units, totals.refused) == (1, 1)


@pytest.mark.parametrize("committed_between", [True, False])
def test_the_new_unit_of_a_file_with_an_admitted_one_is_not_lost(
    lake: Lake, committer: Committer, committed_between: bool
) -> None:
    old, new = make_unit(1), make_unit(2)
    committer.add(write(lake, make_rows(old)), [make_outcome(old)])
    if committed_between:
        committer.flush()
    committer.add(write(lake, make_rows(old), make_rows(new)), [make_outcome(old), make_outcome(new)])
    committer.close()
    assert cells(lake) == whole(old, new)
    assert balance(lake, "r1").balanced


def test_a_replay_cut_elsewhere_still_gives_every_cell_once(lake: Lake, committer: Committer) -> None:
    unit = make_unit(1)
    for first, n in ((0, 4), (0, 6), (2, 5), (4, 6)):
        committer.add(write(lake, make_rows(unit, first=first, n=n)), [])
    committer.add([], [make_outcome(unit)])
    committer.close()
    assert cells(lake) == whole(unit)


def test_damaged_files_are_refused(lake: Lake, committer: Committer) -> None:
    unit = make_unit(1)
    (report,) = write(lake, make_rows(unit))
    path = Path(data_uri(lake.root, report.path))
    whole_bytes = path.read_bytes()
    path.write_bytes(whole_bytes[:-1])
    with pytest.raises(InvalidFile, match="bytes"):
        committer.add([report], [])
    path.write_bytes(b"x" * len(whole_bytes))
    with pytest.raises(InvalidFile, match="not a Parquet file"):
        committer.add([report], [])
    path.unlink()
    with pytest.raises(InvalidFile, match="not there"):
        committer.add([report], [])
    committer.close()
    assert cells(lake) == {}


CELLS = 6
TRIO = [make_unit(n, n_cells=CELLS) for n in range(3)]
spans = st.tuples(st.integers(0, CELLS - 1), st.integers(1, CELLS)).map(lambda s: (s[0], min(s[1], CELLS - s[0])))
data_files = st.dictionaries(st.integers(0, 2), spans, min_size=1)
events = st.lists(st.one_of(data_files, data_files, st.integers(0, 2), st.just("flush")), max_size=14)


def can_be_whole(parts: list[tuple[int, int]]) -> bool:
    """True if some of the parts cover all cells of a unit without overlap."""
    reached = {0}
    for _ in parts:
        reached |= {first + n for first, n in parts if first in reached}
    return CELLS in reached


@settings(max_examples=25, deadline=None)
@given(events)
def test_whatever_arrives_in_whatever_order_no_cell_is_doubled_and_no_whole_unit_lost(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[int, tuple[int, int]] | int | str]
) -> None:
    lake = Lake.create_or_open(str(tmp_path_factory.mktemp("lake")))
    parts: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    with Lease.acquire(lake.root, KEY, ROOT, "r1") as lease:
        committer = Committer(lake, lease, "r1", CONFIG)
        for event in events:
            if isinstance(event, dict):
                rows = [make_rows(TRIO[n], *span) for n, span in event.items()]
                committer.add(write(lake, *rows), [])
                for n, span in event.items():
                    parts[n].append(span)
            elif isinstance(event, int):
                committer.add([], [make_outcome(TRIO[event])])
            else:
                committer.flush()
        committer.close()
    expected = [TRIO[n] for n in range(3) if n in events and can_be_whole(parts[n])]
    assert cells(lake) == whole(*expected)
    assert sorted(lake.read("units")["unit_id"].to_pylist()) == sorted(unit.unit_id for unit in expected)


class Died(Exception):
    """Stands for the end of the process."""


def die(*_: object, **__: object) -> None:
    raise Died


@pytest.mark.parametrize(
    "step", ["before_sidecar", "before_segments", "before_units", "before_failures", "before_delete"]
)
def test_a_crash_at_any_step_is_made_good_by_the_next_run(
    lake: Lake, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = make_unit(1), make_unit(2)
    files = write(lake, make_rows(good), make_rows(bad, n=8))
    outcomes = [make_outcome(good), make_outcome(bad, lost=2)]
    with Lease.acquire(lake.root, KEY, ROOT, "r1") as lease, monkeypatch.context() as patch:
        committer = Committer(lake, lease, "r1", CONFIG)
        targets: dict[str, tuple[object, str]] = {
            "before_sidecar": (storage, "create"),
            "before_segments": (Lake, "add_files"),
            "before_units": (outcomes_module, "unit_rows"),
            "before_failures": (outcomes_module, "failure_rows"),
            "before_delete": (storage, "delete"),
        }
        patch.setattr(*targets[step], die)
        with pytest.raises(Died):
            committer.add(files, outcomes)
            committer.flush()
        with pytest.raises(CommitError):
            committer.close()
    with Lease.acquire(lake.root, KEY, ROOT, "r2") as lease:
        recover(lake, lease)
        finished = finished_units(lake, KEY, ["unit_id"])["unit_id"].to_pylist()
        happened = step not in ("before_sidecar", "before_segments")
        assert sorted(finished) == (sorted([good.unit_id, bad.unit_id]) if happened else [])
        again = Committer(lake, lease, "r2", CONFIG)
        todo = [o for o in outcomes if o.unit.unit_id not in finished]
        if todo:
            again.add(write(lake, make_rows(good), make_rows(bad, n=8)), todo)
        again.close()
    assert cells(lake) == {good.unit_id: list(range(10)), bad.unit_id: list(range(8))}
    assert lake.read("units").num_rows == 2
    assert lake.read("failures").num_rows == 1


def test_recover_twice_adds_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = make_unit(1)
    with Lease.acquire(lake.root, KEY, ROOT, "r1") as lease, monkeypatch.context() as patch:
        committer = Committer(lake, lease, "r1", CONFIG)
        patch.setattr(outcomes_module, "unit_rows", die)
        with pytest.raises(Died):
            committer.add(write(lake, make_rows(unit)), [make_outcome(unit)])
            committer.flush()
    with Lease.acquire(lake.root, KEY, ROOT, "r2") as lease:
        assert [recover(lake, lease), recover(lake, lease)] == [1, 0]
    assert lake.read("units")["run_id"].to_pylist() == ["r1"]


def test_a_run_that_slept_past_its_lease_commits_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has looked at its lease and sleeps before the commit; meanwhile another run takes over and works."""
    unit = make_unit(1)
    sleeper = Lease.acquire(lake.root, KEY, ROOT, "r1")
    committer = Committer(lake, sleeper, "r1", CONFIG)
    committer.add(write(lake, make_rows(unit)), [make_outcome(unit)])
    sleeper.release()  # as good as dead for others
    look: Callable[[], None] = sleeper.check
    monkeypatch.setattr(sleeper, "check", lambda: (look(), wake_up_later())[1])

    def wake_up_later() -> None:
        with Lease.acquire(lake.root, KEY, ROOT, "r2") as second:
            recover(lake, second)
            other = Committer(lake, second, "r2", CONFIG)
            other.add(write(lake, make_rows(unit)), [make_outcome(unit)])
            other.close()

    with pytest.raises(LeaseLost):
        committer.flush()
    assert cells(lake) == whole(unit)
    assert lake.read("units")["run_id"].to_pylist() == ["r2"]


def test_runs_on_two_roots_commit_beside_each_other(lake: Lake) -> None:
    failures: list[BaseException] = []

    def run(run_id: str, numbers: range) -> None:
        try:
            with Lease.acquire(lake.root, KEY, f"/{run_id}", run_id) as lease:
                recover(lake, lease)
                committer = Committer(lake, lease, run_id, CONFIG)
                for unit in (make_unit(n) for n in numbers):
                    committer.add(write(lake, make_rows(unit, run_id=run_id)), [make_outcome(unit)])
                    committer.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(f"r{n}", range(n * 8, n * 8 + 8))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cells(lake) == whole(*(make_unit(n) for n in range(24)))
    assert lake.read("units").num_rows == 24
    assert all(balance(lake, f"r{n}").balanced for n in range(3))
