"""Who may write: one lease for each (embed_key, source root), numbered by epochs, renewed by a heartbeat.

    <lake>/leases/<embed_key>/<root hash>/<epoch>.json       create-only: who holds it
    <lake>/leases/<embed_key>/<root hash>/<epoch>.beat       rewritten by the holder; a standstill is a death
    <lake>/leases/<embed_key>/<root hash>/<epoch>.released   create-only: the holder is done

No clock is compared between machines: a challenger watches the beat with its own clock. A holder that wakes up after
its end may still believe in its lease; what stops it is the epoch in the log of `segments` (see lake.py).
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from shotlake import storage
from shotlake.errors import AlreadyExists, LeaseHeld, LeaseLost, NotFound, ShotlakeError
from shotlake.records import stable_id

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 5


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lease, precisely enough to see from the same machine that it is dead."""

    run_id: str
    root: str
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_start: str
    acquired_at: str

    @classmethod
    def here(cls, run_id: str, root: str) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(
            run_id=run_id,
            root=root,
            host=platform.node(),
            boot_id=_read("/proc/sys/kernel/random/boot_id"),
            pid_namespace=_pid_namespace(),
            pid=pid,
            process_start=_process_start(pid),
            acquired_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def is_dead(self) -> bool:
        """True if the process was on this machine and is not there any more."""
        machine = (platform.node(), _read("/proc/sys/kernel/random/boot_id"), _pid_namespace())
        if machine != (self.host, self.boot_id, self.pid_namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _process_start(self.pid) != self.process_start

    def describe(self) -> str:
        """The holder, for a person."""
        return f"run {self.run_id} (process {self.pid} on {self.host}, since {self.acquired_at})"


class Lease:
    """A held lease; a context manager that releases it. `epoch` rises with every holder of the same key."""

    def __init__(self, folder: str, epoch: int, owner: Owner, lease_s: float) -> None:
        self.key = folder.rsplit("/leases/", 1)[1]
        self.epoch, self.owner, self.lease_s = epoch, owner, lease_s
        self._folder = folder
        self._beats = 0
        self._last_beat = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{epoch}", daemon=True)

    @classmethod
    def acquire(cls, lake_root: str, embed_key: str, root: str, run_id: str, lease_s: float = 15) -> Lease:
        """Take the lease on `root`, or a root above or below it, for one space.

        Waits up to `lease_s` seconds for a holder on another machine that may be dead. Errors: LeaseHeld.
        """
        space = storage.join(storage.normalise(lake_root), "leases", embed_key)
        folder = storage.join(space, stable_id(root))
        for other in _folders(space):
            holder = _holder(other)
            if holder and (other == folder or _overlap(holder[1].root, root)):
                _wait_for_end(other, *holder, lease_s)
        epoch = max(_epochs(folder), default=0) + 1
        lease = cls(folder, epoch, Owner.here(run_id, root), lease_s)
        lease._claim(space)
        lease._thread.start()
        log.info("lease=%s epoch=%d run_id=%s", lease.key, epoch, run_id)
        return lease

    @property
    def fence(self) -> tuple[str, int]:
        """(lease, epoch) as it stands in the log of `segments`."""
        return f"lease/{self.key}", self.epoch

    def check(self) -> None:
        """Errors: LeaseLost if the heartbeat stood still for a whole lease, or a later epoch exists."""
        silent_s = time.monotonic() - self._last_beat
        if silent_s > self.lease_s:
            raise LeaseLost(f"the heartbeat of {self.owner.describe()} stood still for {silent_s:.0f} s; run again")
        newest = max(_epochs(self._folder), default=0)
        if newest != self.epoch:
            raise LeaseLost(f"another run took the lease over (epoch {newest}, ours is {self.epoch}); this run stops")

    def release(self) -> None:
        """Stop the heartbeat and let the next run begin at once; no error if the lease is lost."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            storage.create(self._name("released"), b"")
        except ShotlakeError as error:
            log.warning("lease=%s epoch=%d not_released=%s", self.key, self.epoch, error)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _claim(self, space: str) -> None:
        """Create our epoch, then make sure that nobody was faster: of two runs that see each other, both give way."""
        body = json.dumps(asdict(self.owner)).encode()
        try:
            storage.create(self._name("json"), body)
        except AlreadyExists:
            raise LeaseHeld(f"another run took {self.owner.root!r} at this moment; wait for it") from None
        self._beat()
        rivals = [_holder(other) for other in _folders(space) if other != self._folder]
        overlapping = [rival[1] for rival in rivals if rival and _overlap(rival[1].root, self.owner.root)]
        overtaken = max(_epochs(self._folder)) > self.epoch
        alive = [owner for owner in overlapping if not owner.is_dead()]
        if overtaken or alive:
            self.release()
            who = alive[0].describe() if alive else "another run"
            raise LeaseHeld(f"{who} took {self.owner.root!r}, or a root that overlaps it, at this moment; wait for it")
        for name in storage.names(self._folder):
            if _epoch(name) < self.epoch:
                storage.delete(storage.join(self._folder, name))

    def _keep(self) -> None:
        while not self._stop.wait(self.lease_s / BEATS_PER_LEASE):
            try:
                self._beat()
            except ShotlakeError as error:  # `check` stops the run if this goes on for a whole lease
                log.warning("lease=%s epoch=%d no_heartbeat=%s", self.key, self.epoch, error)

    def _beat(self) -> None:
        begun = time.monotonic()
        self._beats += 1
        storage.write_bytes(self._name("beat"), str(self._beats).encode())
        self._last_beat = begun

    def _name(self, suffix: str) -> str:
        return storage.join(self._folder, f"{self.epoch:010d}.{suffix}")


def live_run_ids(lake_root: str) -> set[str]:
    """The runs that hold a lease, as far as can be seen from here."""
    leases = storage.join(storage.normalise(lake_root), "leases")
    folders = {storage.join(leases, *name.split("/")[:2]) for name in storage.names(leases)}
    holders = [holder[1] for folder in folders if (holder := _holder(folder))]
    return {owner.run_id for owner in holders if not owner.is_dead()}


def _wait_for_end(folder: str, epoch: int, owner: Owner, lease_s: float) -> None:
    """Return once the holder is dead: at once if that can be seen here, else after a whole lease without a beat."""
    first = _read_beat(folder, epoch)
    deadline = time.monotonic() + lease_s
    while not owner.is_dead():
        if _holder(folder) != (epoch, owner):
            return  # released while we waited; a new holder is met when we claim
        if _read_beat(folder, epoch) != first:
            raise LeaseHeld(f"{owner.describe()} is working on {owner.root!r} with the same model; wait for it")
        if time.monotonic() > deadline:
            return
        time.sleep(min(0.5, lease_s / 10))


def _holder(folder: str) -> tuple[int, Owner] | None:
    """The newest epoch of a lease and its owner, or None if nobody holds it."""
    found = storage.names(folder)
    epoch = max((_epoch(name) for name in found if name.endswith(".json")), default=0)
    if not epoch or f"{epoch:010d}.released" in found:
        return None
    try:
        return epoch, Owner(**json.loads(storage.read_bytes(storage.join(folder, f"{epoch:010d}.json"))))
    except NotFound:  # replaced by a later epoch in between
        return _holder(folder)


def _folders(space: str) -> list[str]:
    return sorted({storage.join(space, name.split("/")[0]) for name in storage.names(space)})


def _epochs(folder: str) -> list[int]:
    return [_epoch(name) for name in storage.names(folder) if name.endswith(".json")]


def _epoch(name: str) -> int:
    return int(name.split(".")[0])


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)


def _read_beat(folder: str, epoch: int) -> bytes:
    try:
        return storage.read_bytes(storage.join(folder, f"{epoch:010d}.beat"))
    except NotFound:
        return b""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:  # not Linux
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """Clock ticks from boot to the start of the process, which tell it from a later one with its number.

    "dead" if it has ended and only its parent has not asked for it yet; "" where this is not Linux.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return ""
    return "dead" if fields[0] in "ZX" else fields[19]
