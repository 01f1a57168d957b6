"""The service on a real Ray Serve: ready line, answers, a new generation without a failed request, a clean end."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from shotlake.config import EmbedConfig, ServeConfig
from shotlake.errors import BadModel, ConfigError, NoIndex, SourceMissing
from shotlake.serve.command import run_service

pytestmark = pytest.mark.ray


def with_service(config, **values):
    return config.model_copy(update={"serve": ServeConfig(port=0, **values)})


def wait_until(condition, seconds=300):
    for _ in range(seconds * 20):
        if condition():
            return True
        time.sleep(0.05)
    return False


class Running:
    """`run_service` in a thread; `url` is where its ready line says that it listens."""

    def __init__(self, config, capfd):
        self._stop, self.error = threading.Event(), None
        self._thread = threading.Thread(target=self._run, args=(config,))
        self._capfd, self.line = capfd, ""

    def _run(self, config):
        try:
            run_service(config, self._stop)
        except Exception as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        assert wait_until(self._is_ready), self.error
        self.url = self.line.split("ready at ")[1].split()[0]
        return self

    def _is_ready(self):
        lines = self._capfd.readouterr().err.splitlines()
        self.line += "".join(line for line in lines if line.startswith("ready at "))
        return bool(self.line) or not self._thread.is_alive()

    def stop(self):
        self._stop.set()

    def __exit__(self, *_):
        self.stop()
        self._thread.join(300)
        assert not self._thread.is_alive() and self.error is None


def test_it_answers_and_swaps_generations_without_a_failed_request(ray_cluster, caption_lake, capfd):
    from ray import serve

    first = caption_lake.grow(0, 40)
    try:
        with Running(with_service(caption_lake.config, poll_s=0.2), capfd) as service, httpx.Client(timeout=30) as http:
            assert first in service.line

            def ask(number):
                body = {"query": caption_lake.captions[number], "limit": 1}
                return http.post(f"{service.url}/v1/search", json=body)

            answer = ask(3).json()
            assert (answer["index"]["generation"], answer["hits"][0]["video_uri"]) == (first, "/archive/000.mp4")
            assert http.get(f"{service.url}/readyz").json()["generation"] == first
            problem = http.post(f"{service.url}/v1/search", json={"query": "x", "limt": 1})
            assert problem.status_code == 422 and "limt" in problem.json()["detail"]
            assert problem.headers["x-request-id"] == problem.json()["request_id"]

            publish = threading.Thread(target=caption_lake.grow, args=(40, 40))
            publish.start()
            seen = []
            assert wait_until(lambda: seen.append(ask(45)) or seen[-1].json()["index"]["generation"] != first)
            publish.join()
            assert {answer.status_code for answer in seen} == {200}
            assert seen[-1].json()["hits"][0]["video_uri"] == "/archive/004.mp4"
    finally:
        serve.shutdown()


def shard_holders():
    """The processes of the session's cluster that hold shards."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ShardHolder" in process.name() or "ShardHolder" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_its_holders_are_replaced_and_end_with_it(ray_cluster, make_caption_lake, tmp_path, capfd):
    from ray import serve

    lake = make_caption_lake(tmp_path / "lake", "index.rows_per_shard=10")
    lake.grow(0, 40)
    before = shard_holders()
    config = with_service(lake.config, holders=2, holder_replicas=1, timeout_s=600)
    try:
        with Running(config, capfd) as service, httpx.Client(timeout=600) as http:
            one, other = shard_holders() - before
            os.kill(one, signal.SIGKILL)

            def is_whole():
                answer = http.post(f"{service.url}/v1/search", json={"query": lake.captions[3], "limit": 40})
                assert answer.status_code == 200
                return not answer.json()["partial"] and one not in shard_holders()

            assert wait_until(is_whole)
            assert other in shard_holders() and len(shard_holders() - before) == 2
        assert wait_until(lambda: not shard_holders() - before)
    finally:
        serve.shutdown()


def test_a_stopped_holder_is_a_problem_of_the_service_and_not_a_timeout_of_its_proxy(
    ray_cluster, make_caption_lake, tmp_path, capfd
):
    from ray import serve

    lake = make_caption_lake(tmp_path / "lake", "index.rows_per_shard=10")
    lake.grow(0, 40)
    before = shard_holders()
    config = with_service(lake.config, holders=2, holder_replicas=1, timeout_s=15)
    try:
        with Running(config, capfd) as service, httpx.Client(timeout=60) as http:
            stopped = (shard_holders() - before).pop()
            os.kill(stopped, signal.SIGSTOP)
            try:

                def ask():
                    return http.post(f"{service.url}/v1/search", json={"query": lake.captions[3], "limit": 40})

                for answer in (ask(), ask(), http.get(f"{service.url}/readyz")):
                    assert (answer.status_code, answer.json()["code"]) == (503, "too_slow"), answer.text
                    assert answer.headers["retry-after"] and "shards of the index" in answer.json()["detail"]
                assert http.get(f"{service.url}/healthz").status_code == 200
                assert wait_until(lambda: (answer := ask()).status_code == 200 and not answer.json()["partial"])
            finally:
                with contextlib.suppress(ProcessLookupError):  # it was ended, and another one stands in its place
                    os.kill(stopped, signal.SIGCONT)
            assert len(ask().json()["hits"]) and http.get(f"{service.url}/readyz").status_code == 200
    finally:
        serve.shutdown()


def test_while_it_ends_nobody_is_let_in_and_those_inside_are_answered(ray_cluster, caption_lake, capfd):
    from ray import serve

    caption_lake.grow(0, 20)
    body = json.dumps({"query": caption_lake.captions[3], "limit": 1}).encode()
    rest = threading.Event()

    def slowly():
        yield body[:5]
        assert rest.wait(120)
        yield body[5:]

    try:
        config = with_service(caption_lake.config, body_s=120)
        with Running(config, capfd) as service, httpx.Client(timeout=120) as http, ThreadPoolExecutor(1) as pool:
            url, kind = f"{service.url}/v1/search", {"Content-Type": "application/json"}
            inside = pool.submit(http.post, url, content=slowly(), headers=kind)
            try:
                metrics = f"{service.url}/metrics"
                assert wait_until(lambda: "shotlake_requests_in_flight 1.0" in http.get(metrics).text)
                service.stop()
                assert wait_until(lambda: http.get(f"{service.url}/readyz").status_code == 503)
                answer = http.post(url, content=body, headers=kind)
                assert (answer.status_code, answer.json()["code"]) == (503, "draining")
                assert answer.headers["retry-after"]
                assert answer.headers["content-type"] == "application/problem+json"
            finally:
                rest.set()
            assert inside.result().status_code == 200 and len(inside.result().json()["hits"]) == 1
    finally:
        serve.shutdown()


def test_a_lake_without_index_is_refused_before_anything_is_started(caption_lake, tmp_path):
    with pytest.raises(NoIndex, match="index build"):
        run_service(with_service(caption_lake.config))
    with pytest.raises(SourceMissing, match="no lake"):
        run_service(with_service(caption_lake.config.model_copy(update={"lake": str(tmp_path / "nowhere")})))


@pytest.mark.slow
def test_what_keeps_the_replica_from_loading_is_the_commands_error(ray_cluster, caption_lake):
    from ray import serve

    caption_lake.grow(0, 20)
    config = caption_lake.config.model_copy(update={"embed": EmbedConfig(model="no-such-model")})
    try:
        with pytest.raises(BadModel, match="no-such-model"):
            run_service(with_service(config))
    finally:
        serve.shutdown()


def test_a_taken_port_is_named_before_anything_is_started(caption_lake):
    caption_lake.grow(0, 20)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = caption_lake.config.model_copy(update={"serve": ServeConfig(port=port)})
        with pytest.raises(ConfigError, match=rf"serve\.port {port}"):
            run_service(config)
