"""Commands as real processes that start at once: a parent has imported everything and does nothing but fork.

The parent never calls a store nor starts a thread (it looks before each fork), so that a child is as good as a new
process, and SIGKILL is a real one. One JSON line a request and an answer, over a socket that it inherits.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Child:
    """A command at work. `ended` becomes true once the process is gone."""

    out: Path
    pid: int = 0
    status: int | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self.status is None and self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def result(self) -> list[dict[str, Any]]:
        """How each command ended; an entry with the error `crash` where the process did not get to say it."""
        text = self.out.read_text() if self.out.exists() else ""
        lines = [line for line in text.splitlines() if line.startswith("{")]
        if self.status == 0 and lines:
            return list(json.loads(lines[-1])["ended"])
        return [{"command": "?", "error": "crash", "value": f"exit {self.status}: {text[-1500:]}"}]


class Nursery:
    """The driver's side of the parent."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.folder = tempfile.TemporaryDirectory(prefix="interleave-")
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"}
        environ |= _one_authority(Path(self.folder.name))
        program = [sys.executable, "-m", "tests.faults.nursery", str(theirs.fileno())]
        self.process = subprocess.Popen(program, pass_fds=[theirs.fileno()], env=environ, cwd=REPOSITORY)
        theirs.close()
        self._socket = ours
        self._task: asyncio.Future[None] | None = None
        self._children: dict[int, Child] = {}
        self._n = 0

    async def open(self) -> None:
        """Wait until everything is imported."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        await reader.readline()
        self._task = asyncio.ensure_future(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            child = self._children[said["n"]]
            if "pid" in said:
                child.pid = said["pid"]
                child.started.set()
            else:
                child.status = said["status"]
                del self._children[said["n"]]
                child.ended.set()

    async def start(self, names: list[str], given: dict[str, Any], environ: dict[str, str]) -> Child:
        """Run commands in a new process."""
        self._n += 1
        out = Path(self.folder.name) / f"{self._n}.out"
        child = self._children[self._n] = Child(out)
        request = {"n": self._n, "names": names, "given": given, "environ": environ, "out": str(out)}
        self._writer.write(json.dumps(request).encode() + b"\n")
        await child.started.wait()
        return child

    def close(self) -> None:
        """End the parent and what is left of its children."""
        for child in list(self._children.values()):
            child.kill()
        # Through asyncio: a socket that is closed behind its back leaves its number in the loop, for the next one.
        if self._task:
            self._task.cancel()
            self._writer.transport.abort()
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()


def _one_authority(folder: Path) -> dict[str, str]:
    """One root of trust instead of 150: delta-rs reads them all whenever it opens a table, for 7 of its 10 ms."""
    mark = "-----END CERTIFICATE-----\n"
    pem = Path(certifi.where()).read_text()
    (folder / "one.pem").write_text(pem[pem.index("-----BEGIN") : pem.index(mark) + len(mark)])
    return {"SSL_CERT_FILE": str(folder / "one.pem"), "SSL_CERT_DIR": str(folder / "none")}


def _import_all() -> None:
    import botocore.session
    import deltalake
    import faiss
    import obstore
    import pyarrow.dataset
    import pyarrow.parquet
    import s3fs
    import yaml
    from tests.faults import commands, relapses, toys

    import shotlake.flow.backfill
    import shotlake.flow.generations
    import shotlake.flow.status
    import shotlake.flow.upkeep
    import shotlake.flow.verify
    import shotlake.storage.s3

    toys.put_in_place()
    yaml.SafeLoader = yaml.CSafeLoader  # the price book, in a tenth of the time
    assert commands and relapses and faiss and obstore and deltalake and pyarrow and s3fs and shotlake
    _warm_botocore(botocore.session)
    gc.freeze()  # a child's collections touch no page that it shares with the parent


def _warm_botocore(sessions: Any) -> None:
    """botocore reads megabytes of JSON for its first client; nothing is sent. Loaders keep what they have read."""
    from botocore import loaders

    loaders.JSONFileLoader.load_file = _remembered(loaders.JSONFileLoader.load_file)
    session = sessions.get_session()
    session.create_client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:9",
                          aws_access_key_id="a", aws_secret_access_key="b")  # fmt: skip


def _remembered(load: Any) -> Any:
    known: dict[str, Any] = {}

    def load_file(self: Any, path: str) -> Any:
        if path not in known:
            known[path] = load(self, path)
        return known[path]

    return load_file


def _be_a_child(request: dict[str, Any]) -> None:
    """Run the commands and end without a way back."""
    status = 1
    try:
        os.setsid()
        fd = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.environ.update(request["environ"])
        from tests.faults import commands, relapses, skew

        given = request["given"]
        skew.apply(float(given.get("clock_s", 0)), str(given.get("host", "")))
        relapses.apply(given.get("relapses", ()))
        ended = commands.run(request["names"], given)
        os.write(2, f"cpu {os.times()[:4]}\n".encode())
        os.write(1, b"\n" + json.dumps({"ended": ended}, default=str).encode() + b"\n")
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)  # how a command's process ends is looked at elsewhere, see `-m slow` of tests/test_cli.py


def _threads() -> list[str]:
    """Threads beside the main one; those of jemalloc know of forks."""
    names = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    return [name for name in names if name != "jemalloc_bg_thd"][1:]


def main() -> None:
    """Fork a child a request, and tell of each that has ended."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    channel.sendall(b"ready\n")
    channel.settimeout(0.004)
    pids: dict[int, int] = {}
    buffer = b""
    while True:
        try:
            data = channel.recv(1 << 16)
            if not data:
                return
            buffer += data
        except TimeoutError:
            pass
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            request = json.loads(line)
            assert not (busy := _threads()), f"the parent has threads: a fork of it would not be a new process: {busy}"
            pid = os.fork()
            if not pid:
                channel.close()
                _be_a_child(request)
            pids[pid] = request["n"]
            channel.sendall(json.dumps({"n": request["n"], "pid": pid}).encode() + b"\n")
        while pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            channel.sendall(
                json.dumps({"n": pids.pop(pid), "status": os.waitstatus_to_exitcode(status)}).encode() + b"\n"
            )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
