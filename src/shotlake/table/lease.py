"""Who may write: one lease for each (embed_key, source root), numbered by epochs, renewed by a heartbeat.

    <lake>/leases/<embed_key>/<root hash>/<epoch>.json       create-only: who holds it
    <lake>/leases/<embed_key>/<root hash>/<epoch>.beat       rewritten by the holder; a standstill is a death
    <lake>/leases/<embed_key>/<root hash>/<epoch>.released   create-only: the holder is done

No clock is compared between machines: a challenger watches the beat with its own clock. A holder that wakes up after
its end may still believe in its lease; what stops it is the epoch in the log of `segments` (see lake.py). The beat also
says up to which erasure the holder has dropped what it had of the erased videos (see tombstones.py).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import asdict, dataclass
from types import TracebackType

from shotlake import storage
from shotlake.errors import AlreadyExists, LeaseHeld, LeaseLost, NotFound, ShotlakeError
from shotlake.records import stable_id
from shotlake.table.owner import Owner

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 5

Fence = tuple[str, int]  # (lease, epoch) as it stands in the log of `segments`


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease of a folder, as its files say."""

    folder: str
    epoch: int
    owner: Owner

    @property
    def key(self) -> str:
        """<embed_key>/<root hash>."""
        return _key(self.folder)

    def read_beat(self) -> bytes:
        """What the heartbeat says now; it differs with every beat."""
        return _read_beat(self.folder, self.epoch)

    def acknowledged(self) -> int:
        """The last erasure whose videos the holder has dropped; 0 if it has not said so of any."""
        _, _, number = self.read_beat().partition(b" ")
        return int(number) if number.isdigit() else 0

    def is_over(self) -> bool:
        """True if the holder has released the lease, was replaced, or is seen to be dead from here."""
        now = _holder(self.folder)
        return now is None or (now.epoch, now.owner) != (self.epoch, self.owner) or self.owner.is_dead()

    def expire(self, run_id: str) -> Fence:
        """End a lease whose heartbeat stood still, by an epoch that is over at once; what fences the holder out.

        The fence has to reach the log of `segments` before anything is done that the holder could still hurt.
        """
        challenger = Owner.here(run_id, self.owner.root)
        try:
            storage.create(_file(self.folder, self.epoch + 1, "json"), json.dumps(asdict(challenger)).encode())
        except AlreadyExists:  # somebody else has taken it over at this moment
            return f"lease/{self.key}", self.epoch + 1
        _create_if_absent(_file(self.folder, self.epoch + 1, "released"))
        log.warning("lease=%s epoch=%d expired=%s", self.key, self.epoch, self.owner.describe())
        return f"lease/{self.key}", self.epoch + 1


class Lease:
    """A held lease; a context manager that releases it. `epoch` rises with every holder of the same key.

    `expired`: fences of dead holders of overlapping roots, which `recover` writes into the log beside our own.
    """

    def __init__(self, folder: str, epoch: int, owner: Owner, lease_s: float) -> None:
        self.key = _key(folder)
        self.epoch, self.owner, self.lease_s = epoch, owner, lease_s
        self.expired: list[Fence] = []
        self._folder = folder
        self._beats = self._acknowledged = 0
        self._last_beat = time.monotonic()
        self._stop, self._beating = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{epoch}", daemon=True)

    @classmethod
    def acquire(cls, lake_root: str, embed_key: str, root: str, run_id: str, lease_s: float = 15) -> Lease:
        """Take the lease on `root`, or a root above or below it, for one space.

        Waits up to `lease_s` seconds for a holder on another machine that may be dead. Errors: LeaseHeld.
        """
        space = storage.join(storage.normalise(lake_root), "leases", embed_key)
        folder = storage.join(space, stable_id(root))
        expired = []
        for other in _folders(space):
            holder = _holder(other)
            if not holder or not (other == folder or _overlap(holder.owner.root, root)):
                continue
            was_silent = _wait_for_end(holder, lease_s)
            if was_silent and other != folder:  # in our own folder the next epoch ends it
                expired.append(holder.expire(run_id))
        epoch = max(_epochs(folder), default=0) + 1
        lease = cls(folder, epoch, Owner.here(run_id, root, lease_s), lease_s)
        lease.expired = expired
        lease._claim(space)
        lease._thread.start()
        log.info("lease=%s epoch=%d run_id=%s", lease.key, epoch, run_id)
        return lease

    @property
    def fence(self) -> Fence:
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

    def acknowledge(self, erasure: int) -> None:
        """Say in the heartbeat that nothing of the videos of this and earlier erasures is held or will be written."""
        if erasure > self._acknowledged:
            self._acknowledged = erasure
            self._try_to_beat()

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
        overlapping = [rival.owner for rival in rivals if rival and _overlap(rival.owner.root, self.owner.root)]
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
            self._try_to_beat()

    def _try_to_beat(self) -> None:
        try:
            self._beat()
        except ShotlakeError as error:  # `check` stops the run if this goes on for a whole lease
            log.warning("lease=%s epoch=%d no_heartbeat=%s", self.key, self.epoch, error)

    def _beat(self) -> None:
        with self._beating:
            begun = time.monotonic()
            self._beats += 1
            storage.write_bytes(self._name("beat"), f"{self._beats} {self._acknowledged}".encode())
            self._last_beat = begun

    def _name(self, suffix: str) -> str:
        return _file(self._folder, self.epoch, suffix)


def live_holders(lake_root: str) -> list[Holder]:
    """Who holds a lease of the lake, as far as can be seen from here; one elsewhere that died is among them."""
    leases = storage.join(storage.normalise(lake_root), "leases")
    folders = sorted({storage.join(leases, *name.split("/")[:2]) for name in storage.names(leases)})
    holders = [holder for folder in folders if (holder := _holder(folder))]
    return [holder for holder in holders if not holder.owner.is_dead()]


def live_run_ids(lake_root: str) -> set[str]:
    """The runs that hold a lease, as far as can be seen from here."""
    return {holder.owner.run_id for holder in live_holders(lake_root)}


def _wait_for_end(holder: Holder, lease_s: float) -> bool:
    """Return once the holder is gone; True if that is only known from its heartbeat, which stood still for a lease.

    Errors: LeaseHeld as soon as it beats.
    """
    first = holder.read_beat()
    deadline = time.monotonic() + max(lease_s, holder.owner.lease_s)
    while not holder.is_over():
        if holder.read_beat() != first:
            owner = holder.owner
            raise LeaseHeld(f"{owner.describe()} is working on {owner.root!r} with the same model; wait for it")
        if time.monotonic() > deadline:
            return True
        time.sleep(min(0.5, lease_s / 10))
    return False


def _holder(folder: str) -> Holder | None:
    """Who holds the newest epoch of a lease, or None if nobody does."""
    found = storage.names(folder)
    epoch = max((_epoch(name) for name in found if name.endswith(".json")), default=0)
    if not epoch or f"{epoch:010d}.released" in found:
        return None
    try:
        return Holder(folder, epoch, Owner(**json.loads(storage.read_bytes(_file(folder, epoch, "json")))))
    except NotFound:  # replaced by a later epoch in between
        return _holder(folder)


def _key(folder: str) -> str:
    return folder.rsplit("/leases/", 1)[1]


def _file(folder: str, epoch: int, suffix: str) -> str:
    return storage.join(folder, f"{epoch:010d}.{suffix}")


def _create_if_absent(uri: str) -> None:
    try:
        storage.create(uri, b"")
    except AlreadyExists:
        log.debug("%s was there already", uri)


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
        return storage.read_bytes(_file(folder, epoch, "beat"))
    except NotFound:
        return b""
