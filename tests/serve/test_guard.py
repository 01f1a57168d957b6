"""Who is let in: bodies that come slowly, large or never, senders that have no business here; all of it is counted."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psutil
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from shotlake.config import ServeConfig
from shotlake.serve.guard import UPLOAD_PATH, RequestGuard, Traffic
from shotlake.serve.held import IN_MEMORY_BYTES

ASKED = b'{"query": "x"}'


class Service:
    """A guard before an application that answers at once, or when it is told to."""

    def __init__(self, **config: Any) -> None:
        self.seen: list[tuple[str, int]] = []
        self.bodies: list[bytes] = []
        self.release: asyncio.Event | None = None
        self.traffic = Traffic()
        config = ServeConfig(**config)
        self.guard = RequestGuard(self._app, config, lambda route, status, _: self._count(route, status), self.traffic)

    async def ask(
        self, parts: Iterable[bytes | None] = (ASKED,), path: str = "/v1/search", **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and headers of the answer to a body that comes in parts; after None nothing comes any more."""
        waiting, sent = list(parts), list[Message]()
        named = {"host": "localhost:8080", "content-type": "application/json"} | headers

        async def receive() -> Message:
            part = waiting.pop(0) if waiting else None
            if part is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": part, "more_body": bool(waiting)}

        async def send(message: Message) -> None:
            sent.append(message)

        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
        await self.guard({"type": "http", "path": path, "method": "POST", "headers": raw}, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        told = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        assert [message["type"] for message in sent].count("http.response.start") == 1
        return sent[0]["status"], json.loads(body), told

    def _count(self, route: str, status: int) -> None:
        self.seen.append((route, status))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append(await Request(scope, receive).body())
        if self.release:
            await self.release.wait()
        await JSONResponse({"hits": []})(scope, receive, send)


def play(case: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(case(), 60))


async def assert_answers(service: Service) -> None:
    """After every case an ordinary search is answered."""
    status, body, _ = await service.ask()
    assert (status, body) == (200, {"hits": []})


def test_bodies_that_never_come_keep_nobody_out() -> None:
    async def case() -> None:
        service = Service(concurrency=1, max_queued=0, body_s=30)
        slow = [asyncio.ensure_future(service.ask([b"{", None])) for _ in range(80)]
        await asyncio.sleep(0.05)
        for _ in range(3):
            await assert_answers(service)
        assert not any(one.done() for one in slow)
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert service.guard._held_bytes == 0

    play(case)


def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    async def case() -> None:
        service = Service(body_s=0.1)
        status, body, _ = await service.ask([b"{", None])
        assert (status, body["code"], body["status"]) == (408, "body_too_slow", 408)
        assert service.seen == [("/v1/search", 408)] and not service.bodies
        await assert_answers(service)

    play(case)


def test_half_sent_uploads_take_no_more_room_than_there_is() -> None:
    async def case() -> None:
        service = Service(max_held_bytes=10_000, max_upload_bytes=8_000, body_s=30)
        half = [asyncio.ensure_future(service.ask([b"x" * 4_000, None], UPLOAD_PATH)) for _ in range(30)]
        await asyncio.sleep(0.1)
        refused = [one.result() for one in half if one.done()]
        assert len(refused) == 28 and {(status, body["code"]) for status, body, _ in refused} == {(503, "no_room")}
        assert service.guard._held_bytes <= 10_000
        for one in half:
            one.cancel()
        await asyncio.gather(*half, return_exceptions=True)
        await assert_answers(service)

    play(case)


def test_half_sent_uploads_lie_on_the_disk() -> None:
    """Thirty of 4 MB grow the memory by less than a quarter of them, and leave nothing behind."""

    async def case() -> None:
        service = Service(max_held_bytes=200_000_000, max_upload_bytes=20_000_000, body_s=30)
        parts = [b"x" * 50_000] * 80
        await assert_answers(service)
        before, open_files = psutil.Process().memory_info().rss, psutil.Process().num_fds()
        half = [asyncio.ensure_future(service.ask([*parts, None], UPLOAD_PATH)) for _ in range(30)]
        while service.guard._held_bytes < 30 * 4_000_000:
            await asyncio.sleep(0.05)
        assert psutil.Process().memory_info().rss - before < 30_000_000
        await assert_answers(service)
        for one in half:
            one.cancel()
        await asyncio.gather(*half, return_exceptions=True)
        assert service.guard._held_bytes == 0 and psutil.Process().num_fds() <= open_files
        await assert_answers(service)

    play(case)


@pytest.mark.parametrize("size", [0, 1, IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1, 3_000_000])
def test_a_body_arrives_as_it_was_sent(size: int) -> None:
    async def case() -> None:
        service, sent = Service(), random.Random(size).randbytes(size)
        parts = [sent[start : start + 70_000] for start in range(0, size, 70_000)] or [b""]
        assert (await service.ask(parts, UPLOAD_PATH))[0] == 200
        assert service.bodies == [sent] and service.guard._held_bytes == 0

    play(case)


def test_uploads_wait_for_each_other_and_searches_do_not() -> None:
    async def case() -> None:
        service = Service(concurrency=1, upload_concurrency=1, max_queued=1)
        service.release = asyncio.Event()
        uploads = [asyncio.ensure_future(service.ask([b"x"], UPLOAD_PATH)) for _ in range(24)]
        await asyncio.sleep(0.05)
        refused = [one.result() for one in uploads if one.done()]
        assert len(refused) == 22
        assert {(status, body["code"]) for status, body, _ in refused} == {(429, "too_many_requests")}
        assert {told["retry-after"] for _, _, told in refused} == {"1"}
        search = asyncio.ensure_future(service.ask())
        await asyncio.sleep(0.05)
        service.release.set()
        assert (await search)[0] == 200 and [(await one)[0] for one in uploads].count(200) == 2
        await assert_answers(service)

    play(case)


def test_an_answer_that_takes_too_long_is_a_problem_and_keeps_its_place() -> None:
    """What it says later is dropped, and until then it counts as running."""

    async def case() -> None:
        service = Service(concurrency=1, max_queued=0, timeout_s=0.1)
        service.release = asyncio.Event()
        status, body, _ = await service.ask()
        assert (status, body["code"]) == (503, "timeout")
        status, body, _ = await service.ask()
        assert (status, body["code"]) == (429, "too_many_requests")
        service.release.set()
        await asyncio.sleep(0.05)
        service.release = None
        await assert_answers(service)
        assert [status for _, status in service.seen] == [503, 429, 200]

    play(case)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"host": "attacker.example"}, 421, "misdirected_request"),
        ({"host": ""}, 421, "misdirected_request"),
        ({"host": "[::1"}, 421, "misdirected_request"),
        ({"host": "localhost.attacker.example:8080"}, 421, "misdirected_request"),
        ({"origin": "http://attacker.example"}, 403, "forbidden_origin"),
        ({"origin": "null"}, 403, "forbidden_origin"),
        ({"origin": "http://localhost:9090"}, 403, "forbidden_origin"),
        ({"origin": "http://[x"}, 403, "forbidden_origin"),
        ({"sec-fetch-site": "cross-site"}, 403, "forbidden_origin"),
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"content-type": ""}, 415, "unsupported_media_type"),
        ({"content-length": "5000000"}, 413, "body_too_large"),
    ],
    ids=str,
)
def test_senders_that_have_no_business_here(headers: dict[str, str], status: int, code: str) -> None:
    async def case() -> None:
        service = Service()
        found, body, told = await service.ask(**headers)
        assert (found, body["code"], body["status"], told["content-type"]) == (
            status, code, status, "application/problem+json",
        )  # fmt: skip
        assert body["request_id"] and service.seen == [("/v1/search", status)] and not service.bodies
        await assert_answers(service)

    play(case)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8080"},
        {"host": "[::1]:8080"},
        {"host": "LOCALHOST"},
        {"origin": "http://localhost:8080"},
        {"sec-fetch-site": "same-origin"},
        {"content-type": "application/json; charset=utf-8"},
    ],
    ids=str,
)
def test_those_who_may_ask(headers: dict[str, str]) -> None:
    async def case() -> None:
        status, _, told = await Service().ask(**headers)
        assert status == 200 and told["x-content-type-options"] == "nosniff" and told["cache-control"] == "no-store"
        assert "default-src 'none'" in told["content-security-policy"]

    play(case)


@pytest.mark.parametrize(
    ("config", "host", "status"),
    [
        ({"host": "0.0.0.0"}, "any.example", 200),
        ({"host": "0.0.0.0", "hosts": ["search.example"]}, "any.example", 421),
        ({"host": "0.0.0.0", "hosts": ["search.example"]}, "search.example:443", 200),
        ({"hosts": ["search.example"]}, "search.example", 200),
    ],
)
def test_the_names_of_the_service_are_configured(config: dict[str, Any], host: str, status: int) -> None:
    async def case() -> None:
        assert (await Service(**config).ask(host=host))[0] == status

    play(case)


def test_while_it_is_drained_nobody_is_let_in_and_those_inside_are_answered() -> None:
    async def case() -> None:
        service = Service()
        service.release = asyncio.Event()
        inside = asyncio.ensure_future(service.ask())
        sending = asyncio.ensure_future(service.ask([b"{", None]))
        await asyncio.sleep(0.05)
        assert service.traffic.in_flight == 2
        service.traffic.is_draining = True
        for path in ("/v1/search", UPLOAD_PATH, "/v1/index", "/readyz"):
            status, body, told = await service.ask(path=path)
            assert (status, body["code"], told["retry-after"]) == (503, "draining", "10"), path
            assert told["content-type"] == "application/problem+json"
        sending.cancel()
        service.release.set()
        assert (await inside)[:2] == (200, {"hits": []})
        assert service.traffic.in_flight == 0
        assert (await service.ask(path="/healthz"))[0] == 200
        service.traffic.is_draining = False
        await assert_answers(service)

    play(case)


def test_an_error_of_the_application_is_answered_and_counted() -> None:
    async def case() -> None:
        service = Service()
        service.guard._app = _fails
        status, body, _ = await service.ask()
        assert (status, body["code"]) == (500, "internal") and "division" not in body["detail"]
        assert service.seen == [("/v1/search", 500)]
        service.guard._app = service._app
        await assert_answers(service)

    play(case)


async def _fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError(threading.current_thread().name)
