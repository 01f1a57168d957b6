"""The service as it is started by its command, on the demo's lake: what strangers and uploads cost others; JSON lines.

`python tests/bench/bench_serve.py LAKE FILE [--requests 2000] [--only NAME]`: a demo's lake and a short video of it.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from lines import report

FILE = "tests/bench/bench_serve.py"
WORDS = ("a red circle", "a blue square", "a green triangle", "a yellow star")
START = "import sys; from shotlake.cli import main; sys.exit(main(sys.argv[1:]))"


class Service:
    """The command, and all processes that it started."""

    def __init__(self, lake: str) -> None:
        command = [sys.executable, "-c", START, "serve", "--lake", lake, "--set", "serve.port=0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = ""
        while not line.startswith("ready at "):
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError("the service ended before it was ready")
        self.ready_cpu_s = sum(self._cpu_s(one) for one in self.processes())
        self.http = httpx.Client(base_url=line.split()[2], timeout=60)

    @staticmethod
    def _cpu_s(one: psutil.Process) -> float:
        times = one.cpu_times()  # of children that have ended too
        return times.user + times.system + times.children_user + times.children_system

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def replica(self) -> psutil.Process:
        """The process that answers."""
        return next(one for one in self.processes() if "shotlake.serve.process" in one.cmdline())

    def search_ms(self, **more: object) -> float:
        """An ordinary search; its status has to be 200."""
        started = time.perf_counter()
        self.http.post("/v1/search", json={"query": WORDS[0]} | more).raise_for_status()
        return (time.perf_counter() - started) * 1000


@contextmanager
def running(lake: str) -> Iterator[Service]:
    service = Service(lake)
    try:
        yield service
    finally:
        service.process.terminate()
        service.process.wait(120)


def attacks(service: Service, content: bytes) -> dict[str, Callable[[], object]]:
    """Each as many times as it takes to hurt; whatever is answered."""
    post, kind = service.http.post, {"Content-Type": "application/json"}
    ask = {"query": WORDS[0]}

    def trickle() -> None:
        def slowly() -> Iterator[bytes]:
            yield b"{"
            time.sleep(2)

        with ThreadPoolExecutor(80) as pool:
            list(pool.map(lambda _: post("/v1/search", content=slowly(), headers=kind), range(80)))

    return {
        "unknown keys": lambda: [post("/v1/search", json=ask | {f"k{k}": 1 for k in range(20_000)}) for _ in range(5)],
        "brackets": lambda: [post("/v1/search", json=ask | {"filter": "(" * 900}) for _ in range(20)],
        "deep body": lambda: [post("/v1/search", content="[" * 200_000, headers=kind) for _ in range(10)],
        "forged cursors": lambda: [post("/v1/search", json=ask | {"cursor": "x" * 1_900}) for _ in range(50)],
        "repetitions": lambda: [post("/v1/search", json=ask | {"dedupe": 0.5, "limit": 1_000}) for _ in range(8)],
        "groups": lambda: [post("/v1/search", json=ask | {"group_by": "video", "limit": 500}) for _ in range(8)],
        "uploads": lambda: [post("/v1/search:upload?kind=clip", content=content) for _ in range(4)],
        "no media": lambda: [post("/v1/search:upload?kind=clip", content=b"x" * 100_000) for _ in range(4)],
        "slow bodies": trickle,
    }


def bench_attacks(service: Service, content: bytes) -> None:
    """serve.after_attack: the median of searches after the worst case, over that before all of them."""

    def ordinary() -> float:
        return statistics.median(service.search_ms() for _ in range(40))

    ordinary()
    before, after = ordinary(), {}
    for name, attack in attacks(service, content).items():
        attack()
        after[name] = ordinary()
    worst = max(after, key=after.__getitem__)
    note = (
        f"median of 40 searches {before:.1f} ms before, {after[worst]:.1f} ms after the worst of {len(after)}: {worst}"
    )
    report("serve.after_attack", after[worst] / before, 2, file=FILE, unit="after / before", note=note)


def bench_uploads(service: Service, content: bytes, n: int = 24) -> None:
    """serve.search_beside_uploads: the 95th percentile of text searches beside uploads, over that alone."""

    def p95(times: list[float]) -> float:
        return statistics.quantiles(times, n=20)[-1]

    alone = p95([service.search_ms() for _ in range(100)])
    done = threading.Event()

    def upload(_: int) -> int:
        with httpx.Client(base_url=service.http.base_url, timeout=120) as http:
            return http.post("/v1/search:upload?kind=clip", content=content).status_code

    beside: list[float] = []
    with ThreadPoolExecutor(n) as pool:
        statuses = [pool.submit(upload, k) for k in range(n)]
        threading.Thread(target=lambda: ([one.exception() for one in statuses], done.set())).start()
        while not done.is_set():
            beside.append(service.search_ms())
    told = {status: sum(one.result() == status for one in statuses) for status in {one.result() for one in statuses}}
    note = f"p95 {alone:.1f} ms alone, {p95(beside):.1f} ms of {len(beside)} beside {n} uploads, answered {told}"
    report("serve.search_beside_uploads", p95(beside) / alone, 3, file=FILE, unit="beside / alone", note=note)


def bench_memory(service: Service, content: bytes, n: int) -> None:
    """serve.rss_growth: the memory of the replica after `n` mixed requests, over that after a tenth of them."""
    http, generation = service.http, service.http.get("/v1/index").json()["generation"]
    replica, seen = service.replica(), {}
    cursor, previous = None, {}
    for k in range(n + 1):
        if k in (n // 10, n):
            seen[k] = replica.memory_info().rss / 2**20
        body = {"query": WORDS[k % 4], "limit": 5 + k % 20}
        if k % 20 == 0:
            http.post(f"/v1/search:upload?kind={('clip', 'image')[k // 20 % 2]}", content=content)
        elif k % 4 == 1 and cursor:
            http.post("/v1/search", json=previous | {"cursor": cursor}).raise_for_status()
        else:
            more = ({}, {"generation": generation}, {"dedupe": 0.9, "limit": 50})[k % 3]
            previous = body | more
            cursor = http.post("/v1/search", json=previous).raise_for_status().json()["cursor"]
    first, last = seen[n // 10], seen[n]
    note = f"{first:.0f} MiB after {n // 10} requests, {last:.0f} MiB after {n}"
    report("serve.rss_growth", last / first, 1.1, file=FILE, unit="after / before", note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake")
    parser.add_argument("file", type=Path)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service ends with it
    content = given.file.read_bytes()
    with running(given.lake) as service:
        report("serve.ready_cpu_s", service.ready_cpu_s, 8, file=FILE, unit="CPU s", note="of all processes, one start")
        if given.only in ("", "attacks"):
            bench_attacks(service, content)
        if given.only in ("", "uploads"):
            bench_uploads(service, content)
        if given.only in ("", "memory"):
            bench_memory(service, content, given.requests)


if __name__ == "__main__":
    main()
