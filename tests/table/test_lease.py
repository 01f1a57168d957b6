"""One holder at a time; the dead give way, the living do not, and who was overtaken learns it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from lakes import KEY, OTHER_KEY

from shotlake import storage
from shotlake.errors import LeaseHeld, LeaseLost
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease, live_holders
from shotlake.table.outcomes import recover
from shotlake.table.owner import Owner

CHILD = textwrap.dedent(
    """
    import sys, time
    from shotlake.table.lease import Lease
    lease = Lease.acquire(sys.argv[1], sys.argv[2], "/archive", "child", 60)
    print(lease.epoch, flush=True)
    time.sleep(60)
    """
)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of this machine that holds the lease."""
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), KEY]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline().strip() == "1"
        yield process
        process.kill()


def take(root: str, source: str = "/archive", key: str = KEY, lease_s: float = 1) -> Lease:
    return Lease.acquire(root, key, source, "me", lease_s)


def test_epochs_rise_and_a_released_lease_is_free(root: str) -> None:
    for epoch in (1, 2, 3):
        with take(root) as lease:
            assert lease.epoch == epoch
            lease.check()
    assert [name for name in storage.names(f"{root}/leases") if name.endswith(".json")] == [
        f"{lease.key}/0000000003.json"
    ]


def test_who_is_alive_keeps_the_lease(tmp_path: Path) -> None:
    with take(str(tmp_path)), pytest.raises(LeaseHeld, match=r"run me \(process \d+ on .* is working on '/archive'"):
        take(str(tmp_path))


@pytest.mark.parametrize("source", ["/archive/news", "/", "/archive/"])
def test_overlapping_roots_are_one_lease(tmp_path: Path, source: str) -> None:
    with take(str(tmp_path)), pytest.raises(LeaseHeld):
        take(str(tmp_path), source)


def test_other_roots_and_spaces_do_not_wait(tmp_path: Path) -> None:
    root = str(tmp_path)
    with take(root), take(root, "/archive2") as other, take(root, key=OTHER_KEY) as model:
        assert (other.epoch, model.epoch) == (1, 1)


def test_a_killed_holder_of_this_machine_is_replaced_at_once(tmp_path: Path, child: subprocess.Popen[str]) -> None:
    child.kill()  # not waited for: the parent has not asked for it, as after kill -9 of a group
    with take(str(tmp_path), lease_s=3600) as lease:
        assert lease.epoch == 2


def test_a_later_process_with_the_same_number_is_not_the_holder() -> None:
    here = Owner.here("r", "/archive")
    assert not here.is_dead()
    assert replace(here, process_start="1").is_dead()
    assert not replace(here, process_start="1", host="elsewhere").is_dead()


def forge(root: str, **changes: object) -> str:
    """A lease whose holder is on another machine and never beats again."""
    with take(root) as lease:
        pass
    folder = f"{root}/leases/{lease.key}"
    owner = {**asdict(lease.owner), "host": "elsewhere", **changes}
    storage.create(f"{folder}/0000000002.json", json.dumps(owner).encode())
    storage.write_bytes(f"{folder}/0000000002.beat", b"7")
    return folder


def test_a_silent_holder_elsewhere_is_replaced_after_a_lease(root: str) -> None:
    forge(root)
    with take(root, lease_s=1) as lease:
        assert lease.epoch == 3


@pytest.mark.parametrize("source", ["/archive/news", "/", "/archive"])
def test_a_silent_holder_elsewhere_blocks_no_overlapping_root(root: str, source: str) -> None:
    """It is shut out in the log as well: it may wake up and believe in its lease."""
    lake = Lake.create_or_open(root)
    folder = forge(lake.root)
    held = folder.rsplit("/leases/", 1)[1]
    with take(lake.root, source) as lease:
        recover(lake, lease)
        assert lake.transaction_version("segments", f"lease/{held}") == 3
        with pytest.raises(LeaseLost):
            lake.fence((f"lease/{held}", 2))
    with take(lake.root) as later:
        recover(lake, later)
        assert later.epoch == 4


def test_a_holder_is_given_the_time_that_it_asked_for(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It beats less often than our own settings say."""
    folder = forge(root, lease_s=3.0)
    began = time.monotonic()
    with take(root, lease_s=1) as lease:
        assert lease.epoch == 3 and folder.endswith(lease.key)
    assert time.monotonic() - began > 2.5


def test_who_erases_sees_what_a_run_has_acknowledged(root: str) -> None:
    with take(root) as lease:
        (holder,) = live_holders(root)
        assert (holder.acknowledged(), holder.is_over()) == (0, False)
        lease.acknowledge(7)
        assert holder.acknowledged() == 7
        lease.acknowledge(3)  # an earlier one is among them
        assert holder.acknowledged() == 7
    assert holder.is_over() and not live_holders(root)


def test_a_beat_from_elsewhere_keeps_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = forge(str(tmp_path))
    sleep = __import__("time").sleep

    def beat(seconds: float) -> None:
        storage.write_bytes(f"{folder}/0000000002.beat", b"8")
        sleep(seconds)

    monkeypatch.setattr("shotlake.table.lease.time.sleep", beat)
    with pytest.raises(LeaseHeld, match="on elsewhere"):
        take(str(tmp_path))


def test_who_was_overtaken_learns_it(root: str) -> None:
    with take(root) as lease:
        storage.create(f"{root}/leases/{lease.key}/0000000002.json", b"{}")
        with pytest.raises(LeaseLost, match="epoch 2, ours is 1"):
            lease.check()


def test_a_standing_heartbeat_ends_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with take(str(tmp_path), lease_s=15) as lease:
        clock = __import__("time").monotonic
        monkeypatch.setattr("shotlake.table.lease.time.monotonic", lambda: clock() + 16)
        with pytest.raises(LeaseLost, match="stood still"):
            lease.check()
