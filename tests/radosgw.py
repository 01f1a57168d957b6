"""A real S3 server on loopback: Ceph's radosgw over one daemon that keeps its objects in memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")
_START_S = 120

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{old_mon}]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 1
mon max pg per osd = 500
osd objectstore = memstore
memstore device bytes = 4294967296
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
run dir = {folder}
[mon.a]
host = localhost
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
"""


def missing_programs() -> list[str]:
    """What of Debian's radosgw, ceph-mon, ceph-osd and ceph-common is not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Radosgw:
    """The server's daemons, from `with` to its end; `url` is where it listens."""

    def __init__(self, folder: Path, access_key: str, secret_key: str) -> None:
        self._folder, self._keys = folder, (access_key, secret_key)
        self._conf = folder / "ceph.conf"
        self._port, self._mon, self._old_mon = _free_ports(3)
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Radosgw:
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir(parents=True)
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        self._conf.write_text(
            _CONFIG.format(fsid=fsid, mon=self._mon, old_mon=self._old_mon, port=self._port, folder=self._folder)
        )
        monmap = str(self._folder / "monmap")
        address = f"[v2:127.0.0.1:{self._mon},v1:127.0.0.1:{self._old_mon}]"
        try:
            _run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, monmap)
            self._ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
            self._ceph("ceph-mon", "-i", "a")
            self._ceph("ceph", "osd", "new", osd, "0")
            self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
            self._ceph("ceph-osd", "-i", "0")
            self._ceph("radosgw", "-n", "client.rgw.a")
            self._wait()
            user = ("user", "create", "--uid=test", "--display-name=test")
            self._ceph("radosgw-admin", *user, f"--access-key={self._keys[0]}", f"--secret-key={self._keys[1]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._folder.glob("*.pid"):
            pid = int(path.read_text().strip() or 0)
            for how in (signal.SIGTERM, signal.SIGKILL):
                if not _ends(pid, how):
                    continue
                break

    def _ceph(self, program: str, *arguments: str) -> None:
        _run(program, "-c", str(self._conf), *arguments)

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.2)
        raise TimeoutError(f"radosgw does not listen on {self.url} after {_START_S} s")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_START_S)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")


def _free_ports(n: int) -> list[int]:
    probes = [socket.socket() for _ in range(n)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _ends(pid: int, how: signal.Signals) -> bool:
    """Send the signal; True once the process is gone, False after ten seconds."""
    for _ in range(50):
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/cmdline")
        if not status.exists() or not status.read_bytes():  # a zombie has no command line
            return True
        time.sleep(0.2)
    return False
