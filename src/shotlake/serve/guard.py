"""What stands before the API: a name for each request, who may ask, caps on bodies and waiting requests, and an answer
for everything that goes wrong, counted with its true status.

A request's id is its `X-Request-ID`, the client's own or one of Serve's proxy, which also puts it on the answer. Only
`/v1/` is capped, so that health checks are answered under any load. A body is read before its request counts: whoever
sends slowly keeps nobody from being answered. Uploads wait for each other, not searches for them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shotlake.config import ServeConfig
from shotlake.serve.held import HeldBody
from shotlake.serve.problems import problem

Observe = Callable[[str, int, float], None]  # route, status, seconds

UPLOAD_PATH = "/v1/search:upload"

_log = logging.getLogger(__name__)
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Refused(Exception):
    """A request that is answered with a problem instead of being let in: status, code, detail."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


@dataclass(slots=True)
class Pool:
    """Requests of one kind: how many are running or waiting, and how many may be."""

    most: int
    now: int = 0

    def check(self) -> None:
        """Errors: Refused."""
        if self.now >= self.most:
            raise Refused(429, "too_many_requests", "the queue is full; come back in a second")


@dataclass(slots=True)
class Traffic:
    """Requests of `/v1/` that were let in and not answered yet, and whether more are."""

    in_flight: int = 0
    is_draining: bool = False


class RequestGuard:
    """ASGI middleware, the outermost. `observe` is told of every answer."""

    def __init__(self, app: ASGIApp, config: ServeConfig, observe: Observe, traffic: Traffic | None = None) -> None:
        self._app, self._config, self._observe = app, config, observe
        self._traffic = traffic or Traffic()
        self._searches = Pool(config.concurrency + config.max_queued)
        self._uploads = Pool(config.upload_concurrency + config.max_queued)
        self._held_bytes = 0  # of bodies that are being read or answered
        self._hosts = _hosts(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started = _request_id(scope), time.perf_counter()
        scope.setdefault("state", {})["id"] = request_id
        exchange = Exchange(send)
        try:
            await self._answer(scope, receive, exchange)
        except Refused as refused:
            await exchange.end(scope, problem(request_id, refused.status, refused.code, refused.detail))
        except Exception:  # noqa: BLE001 - the last line before the client: logged, and answered without details
            _log.exception("request_id=%s", request_id)
            detail = "not the client's error; the log has this id"
            await exchange.end(scope, problem(request_id, 500, "internal", detail))
        finally:
            self._observe(_route(scope), exchange.status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        self._check_sender(scope)
        is_capped = scope["path"].startswith("/v1/")
        if self._traffic.is_draining and (is_capped or scope["path"] == "/readyz"):
            raise Refused(503, "draining", "the service is being shut down; ask another one, or again in a moment")
        if not is_capped:
            await self._app(scope, receive, exchange.send)
            return
        self._traffic.in_flight += 1
        try:
            await self._answer_capped(scope, receive, exchange)
        finally:
            self._traffic.in_flight -= 1

    async def _answer_capped(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        pool = self._uploads if scope["path"] == UPLOAD_PATH else self._searches
        pool.check()
        body = HeldBody()
        try:
            await self._read_in_time(scope, receive, body)
            _check_type(scope, body)
            pool.check()
        except BaseException:
            self._let_go(body)
            raise
        await self._run(pool, scope, body, receive, exchange)

    def _let_go(self, body: HeldBody) -> None:
        self._held_bytes -= body.size
        body.close()

    async def _run(self, pool: Pool, scope: Scope, body: HeldBody, receive: Receive, exchange: Exchange) -> None:
        """Let the application answer. A place in the pool, and the body, are held until its work has ended, told or
        not.
        """
        pool.now += 1
        work = asyncio.ensure_future(self._app(scope, body.replay(receive), exchange.send))
        work.add_done_callback(lambda _: _leave(pool, work))
        work.add_done_callback(lambda _: self._let_go(body))
        try:
            done, _ = await asyncio.wait({work}, timeout=0.95 * self._config.timeout_s)
        except asyncio.CancelledError:  # the client is gone
            work.cancel()
            raise
        if not done:
            raise Refused(503, "timeout", f"the answer took longer than {self._config.timeout_s:g} s (serve.timeout_s)")
        work.result()

    async def _read_in_time(self, scope: Scope, receive: Receive, body: HeldBody) -> None:
        try:
            async with asyncio.timeout(self._config.body_s):
                await self._read(scope, receive, body)
        except TimeoutError:
            detail = f"the body did not arrive within {self._config.body_s:g} s (serve.body_s)"
            raise Refused(408, "body_too_slow", detail) from None

    async def _read(self, scope: Scope, receive: Receive, body: HeldBody) -> None:
        """The whole body. Errors: Refused once it is longer than its cap, declared or not, or than there is room."""
        is_upload = scope["path"] == UPLOAD_PATH
        cap_bytes = self._config.max_upload_bytes if is_upload else self._config.max_body_bytes
        too_large = Refused(413, "body_too_large", f"the body is larger than {cap_bytes} bytes")
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared) > cap_bytes:
            raise too_large
        while True:
            message = await receive()
            chunk = message.get("body", b"")
            body.add(chunk)
            self._held_bytes += len(chunk)
            if body.size > cap_bytes:
                raise too_large
            if self._held_bytes > self._config.max_held_bytes:
                raise Refused(503, "no_room", "the bodies of other requests take all the room; come back in a moment")
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    def _check_sender(self, scope: Scope) -> None:
        """Neither a name that somebody else's DNS gave to this machine, nor a page of another site. Errors: Refused."""
        host = _header(scope, b"host")
        if self._hosts and _name(host) not in self._hosts:
            allowed = ", ".join(sorted(self._hosts))
            raise Refused(421, "misdirected_request", f"the service answers to {allowed} (serve.hosts)")
        origin, site = _header(scope, b"origin"), _header(scope, b"sec-fetch-site")
        is_foreign = bool(origin) and origin.partition("://")[2].lower() != host.lower()
        if is_foreign or site == "cross-site":
            raise Refused(403, "forbidden_origin", "a page of another site may not ask; use the service's own address")


class Exchange:
    """The answer to one request: begun once, by the application or instead of it; with the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self._send, self._is_over = send, False
        self.status = 0

    async def send(self, message: Message) -> None:
        """A message of the application; what it says after another answer was given is dropped."""
        if not self._is_over:
            await self._pass_on(message)

    async def end(self, scope: Scope, answer: Response) -> None:
        """Give another answer, unless one has begun."""
        self._is_over = True
        if not self.status:
            await answer(scope, _nothing_comes, self._pass_on)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            known = {name for name, _ in message.get("headers", ())}
            more = [header for header in _HEADERS if header[0] not in known]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)


def _leave(pool: Pool, work: asyncio.Future[None]) -> None:
    pool.now -= 1
    if not work.cancelled() and work.exception():  # asked for, or it would be told as never looked at
        _log.debug("error=%r", work.exception())


def _hosts(config: ServeConfig) -> frozenset[str]:
    """The names that the service answers to; none where it listens for others and was not told its names."""
    if not config.hosts and not _is_loopback(config.host):
        return frozenset()
    return frozenset({*config.hosts, config.host}) | _LOOPBACK


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _check_type(scope: Scope, body: HeldBody) -> None:
    kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
    if body.size and scope["path"] == "/v1/search" and kind != "application/json":
        raise Refused(415, "unsupported_media_type", f"the body is {kind[:64]!r}; send application/json")


def _route(scope: Scope) -> str:
    """The template of a route, never a path that a client made up."""
    route = getattr(scope.get("route"), "path", "")
    return route or (scope["path"] if scope["path"] in ("/v1/search", UPLOAD_PATH) else "unknown")


def _header(scope: Scope, name: bytes) -> str:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    return headers.get(name, b"").decode("latin-1")


def _request_id(scope: Scope) -> str:
    sent = dict(scope["headers"]).get(b"x-request-id", b"")
    return sent.decode() if _PLAIN_ID.fullmatch(sent) else uuid.uuid4().hex


async def _nothing_comes() -> Message:
    return {"type": "http.disconnect"}
