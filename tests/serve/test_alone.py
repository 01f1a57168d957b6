"""The service without a cluster: one process that answers, is replaced if it dies, drained, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest

from shotlake.query.search import LakeSearch
from shotlake.serve import alone
from shotlake.world.queries import agrees, draw_queries

CODE = "import sys; from shotlake.cli import main; sys.exit(main(sys.argv[1:]))"


def wait_until(condition: Callable[[], object], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


class Service:
    """The command, once it says that it is ready."""

    def __init__(self, lake: str, *sets: str) -> None:
        arguments = [part for one in ("serve.port=0", *sets) for part in ("--set", one)]
        command = [sys.executable, "-c", CODE, "serve", "--lake", lake, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        while not (self.said and self.said[-1].startswith("ready at ")):
            self.said.append(self.process.stderr.readline())
            assert self.said[-1], f"it ended before it was ready: {''.join(self.said)}"
        self.url = self.said[-1].split()[2]
        threading.Thread(target=self._listen, daemon=True).start()

    def answering(self) -> psutil.Process:
        """The process that answers."""
        return next(one for one in self.children() if "shotlake.serve.process" in one.cmdline())

    def children(self) -> list[psutil.Process]:
        """None where the command has ended."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def ask(self, text: str, **more: object) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/search", json={"query": text, "limit": 1} | more, timeout=60)

    def _listen(self) -> None:
        for line in self.process.stderr:
            self.said.append(line)


@contextmanager
def serving(lake: str, *sets: str) -> Iterator[Service]:
    service = Service(lake, *sets)
    try:
        yield service
    finally:
        for one in [*service.children(), service.process]:
            one.kill()
        service.process.wait()


@pytest.fixture(scope="module")
def service(full_lake) -> Iterator[Service]:
    with serving(full_lake.config.lake) as running:
        yield running


def test_a_process_that_dies_is_replaced_and_those_who_ask_meanwhile_wait(service: Service, full_lake) -> None:
    before = service.answering()
    assert service.ask(full_lake.captions[3]).json()["hits"]
    before.kill()
    psutil.wait_procs([before], timeout=10)
    answer = service.ask(full_lake.captions[3])
    assert (answer.status_code, len(answer.json()["hits"])) == (200, 1)
    assert service.answering().pid != before.pid
    assert wait_until(lambda: any("event=replica_died status=-9" in line for line in service.said))


def test_while_it_ends_nobody_is_let_in_and_those_inside_are_answered(full_lake) -> None:
    body = json.dumps({"query": full_lake.captions[3], "limit": 1}).encode()
    rest = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[:5]
        assert rest.wait(60)
        yield body[5:]

    with (
        serving(full_lake.config.lake, "serve.body_s=60") as service,
        httpx.Client(timeout=60) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        url, kind = f"{service.url}/v1/search", {"Content-Type": "application/json"}
        inside = pool.submit(http.post, url, content=slowly(), headers=kind)
        try:
            metrics = f"{service.url}/metrics"
            assert wait_until(lambda: "shotlake_requests_in_flight 1.0" in http.get(metrics).text)
            service.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: http.get(f"{service.url}/readyz").status_code == 503)
            answer = http.post(url, content=body, headers=kind)
            assert (answer.status_code, answer.json()["code"]) == (503, "draining")
            assert answer.headers["content-type"] == "application/problem+json"
        finally:
            rest.set()
        assert inside.result().status_code == 200 and len(inside.result().json()["hits"]) == 1
        assert service.process.wait(60) == 0


def test_a_replacement_that_cannot_be_started_is_tried_again(full_lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def process(*command: str) -> alone.Answering:
        return alone.Answering(subprocess.Popen(command), open(os.devnull, "rb"), since=0.0)

    starts = [OSError("no memory"), BrokenPipeError("it died at once"), process("sleep", "60")]

    def start(*_: object) -> alone.Answering:
        outcome = starts.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    monkeypatch.setattr(alone.Answering, "start", start)
    watched, ended = [process("false")], threading.Event()
    watcher = threading.Thread(target=alone._watch, args=(full_lake.config, None, watched, ended))
    watcher.start()
    try:
        assert wait_until(lambda: not starts and watched[0].process.poll() is None)
    finally:
        ended.set()
        watcher.join()
        watched[0].end(5)


def test_nothing_is_left_of_a_command_that_is_killed(full_lake) -> None:
    with serving(full_lake.config.lake) as service:
        assert service.ask(full_lake.captions[3]).status_code == 200  # its readers of files have not begun
        left = service.children()
        service.process.kill()
        gone, alive = psutil.wait_procs(left, timeout=30)
        assert gone and not alive


def test_every_answer_has_the_id_of_its_request(service: Service) -> None:
    mine = httpx.get(f"{service.url}/v1/index", headers={"X-Request-ID": "mine-1"})
    assert mine.headers.get_list("x-request-id") == ["mine-1"]
    problem = service.ask("x", limt=1)
    assert problem.status_code == 422
    assert problem.headers.get_list("x-request-id") == [problem.json()["request_id"]]
    wild = httpx.get(f"{service.url}/nowhere", headers={"X-Request-ID": "not well formed"})
    assert wild.headers["x-request-id"] == wild.json()["request_id"] != "not well formed"


def test_it_listens_on_loopback_alone(service: Service, full_lake) -> None:
    service.ask(full_lake.captions[3])
    of_all = [psutil.Process(service.process.pid), *service.children()]
    ports = {c.laddr for one in of_all for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {place.ip for place in ports} == {"127.0.0.1"} and len(ports) == 1
    assert not any("raylet" in " ".join(one.cmdline()) for one in of_all)


@pytest.mark.parametrize(
    ("sets", "status", "words"),
    [(("embed.model=no-such-model",), 4, "no-such-model"), (("serve.holders=-1",), 2, "serve.holders")],
)
def test_what_keeps_it_from_loading_is_the_commands_error(
    full_lake, sets: tuple[str, ...], status: int, words: str
) -> None:
    arguments = [part for one in ("serve.port=0", *sets) for part in ("--set", one)]
    command = [sys.executable, "-c", CODE, "serve", "--lake", full_lake.config.lake, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status


def test_the_command_starts_without_what_only_answering_needs() -> None:
    imports = "import sys, shotlake.serve.command, shotlake.serve.alone"
    code = f"{imports}; print({{'ray', 'torch', 'faiss'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_command_answers_from_several_ivf_shards_and_ends_cleanly_on_a_signal(
    sharded_config, demo_archive, encoder
):
    search = LakeSearch.open(sharded_config.lake, encoder, sharded_config)
    assert search.manifest.plan.codec == "pq" and len(search.manifest.shards) > 1
    queries = draw_queries(demo_archive[1], seed=1, n=20)
    with serving(sharded_config.lake) as service:
        assert service.said[0].startswith(f"starting to serve {sharded_config.lake}; ")
        answers = [service.ask(query.text, limit=3).json()["hits"] for query in queries]
        assert answers == [search.search(query.text, 3).to_json()["hits"] for query in queries]
        right = [agree(query, hits[0], demo_archive[1]) for query, hits in zip(queries, answers)]
        assert sum(right) >= 18
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0


def agree(query, hit, truth):
    return agrees(query, hit["video_uri"], int(hit["start_s"] * 1e6), int(hit["end_s"] * 1e6), truth)
