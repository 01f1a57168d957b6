"""A copy of outcomes goes once its commit is paid, or once the log says that it is not coming; never in between."""

from __future__ import annotations

import pytest
from lakes import KEY, make_outcome, make_rows, make_unit
from test_committer import Died, die

from shotlake import storage
from shotlake.config import TableConfig
from shotlake.errors import LeaseLost
from shotlake.table import outcomes as outcomes_module
from shotlake.table.committer import Committer
from shotlake.table.files import write_segments
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import maintain
from shotlake.table.outcomes import complete_commits, remove_outcomes
from shotlake.table.tombstones import Tombstones

CONFIG = TableConfig()
UNIT = make_unit(1)


def committer_of(lake: Lake, lease: Lease) -> Committer:
    committer = Committer(lake, lease, "r1", CONFIG)
    committer.add(write_segments(lake.root, "r1", make_rows(UNIT)), [make_outcome(UNIT)])
    return committer


def test_a_run_that_is_killed_behind_its_commit_while_maintenance_is_at_work(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintenance has found nothing to complete; then the run commits and dies before it tells `units`."""
    lake = Lake.create_or_open(root)
    lease = Lease.acquire(lake.root, KEY, "/archive", "r1")
    committer = committer_of(lake, lease)
    real = Lake.add_files

    def add(self: Lake, *arguments: object) -> int:
        versions = []

        def live(lake_root: str) -> set[str]:
            """The names are listed; now the commit comes, and the run is gone."""
            monkeypatch.setattr(Lake, "add_files", real)
            lease.release()
            versions.append(real(self, *arguments))
            return set()

        with monkeypatch.context() as patch:
            patch.setattr(outcomes_module, "live_run_ids", live)
            assert remove_outcomes(lake) == (1, 0)
        raise Died

    monkeypatch.setattr(Lake, "add_files", add)
    with pytest.raises(Died):
        committer.flush()
    assert (len(lake.read("segments")), lake.read("units")["unit_id"].to_pylist()) == (10, [UNIT.unit_id])
    maintain(lake, "m2", CONFIG)
    assert (len(lake.read("segments")), len(lake.read("units"))) == (10, 1)


def test_what_a_live_run_is_about_to_commit_stays(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.create_or_open(root)
    with Lease.acquire(lake.root, KEY, "/archive", "r1") as lease:
        committer = committer_of(lake, lease)
        real = Lake.add_files

        def add(self: Lake, *arguments: object) -> int:
            assert remove_outcomes(lake) == (0, 0)
            return real(self, *arguments)

        monkeypatch.setattr(Lake, "add_files", add)
        committer.flush()
    assert (len(lake.read("segments")), len(lake.read("units"))) == (10, 1)
    assert storage.names(f"{lake.root}/outcomes") == []


def test_who_wakes_up_after_its_outcomes_were_removed_cannot_commit(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease was taken over and released again, so that it is not alive; the log shuts it out all the same."""
    lake = Lake.create_or_open(root)
    lease = Lease.acquire(lake.root, KEY, "/archive", "r1")
    committer = committer_of(lake, lease)
    real = Lake.add_files

    def add(self: Lake, *arguments: object) -> int:
        lease.release()
        assert remove_outcomes(lake) == (0, 1)
        return real(self, *arguments)

    monkeypatch.setattr(Lake, "add_files", add)
    with pytest.raises(LeaseLost):
        committer.flush()
    assert len(lake.read("segments")) == 0
    with Lease.acquire(lake.root, KEY, "/archive", "r2") as second:  # and the next one can
        monkeypatch.undo()
        other = Committer(lake, second, "r2", CONFIG)
        other.add(write_segments(lake.root, "r2", make_rows(UNIT)), [make_outcome(UNIT)])
        other.close()
    assert len(lake.read("segments")) == 10


def test_outcomes_of_an_erased_video_are_brought_in_without_its_name(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.create_or_open(root)
    with Lease.acquire(lake.root, KEY, "/archive", "r1") as lease, monkeypatch.context() as patch:
        committer = committer_of(lake, lease)
        patch.setattr(outcomes_module, "unit_rows", die)
        with pytest.raises(Died):
            committer.flush()
    from shotlake.table.erase import record_erasure

    record_erasure(lake, {UNIT.video.video_id: UNIT.video.uri}, "e1")
    assert complete_commits(lake) == 1
    (unit,) = lake.read("units").to_pylist()
    assert (unit["unit_id"], unit["uri"], unit["content_sha256"]) == (UNIT.unit_id, None, None)
    assert Tombstones.of(lake.root).pending
