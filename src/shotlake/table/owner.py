"""Which process holds a lease, precisely enough to see from the same machine that it is dead."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


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
    lease_s: float = 0.0  # after so long a silence it is dead

    @classmethod
    def here(cls, run_id: str, root: str, lease_s: float = 0.0) -> Owner:
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
            lease_s=lease_s,
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
