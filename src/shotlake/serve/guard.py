"""What stands before the API: a name for each request, caps on bodies and waiting requests, an answer for every error.

A request's id is its `X-Request-ID`, the client's own or one of Serve's proxy, which also puts it on the answer. Only
`/v1/` is capped, so that health checks are answered under any load.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shotlake.serve.problems import problem

_log = logging.getLogger(__name__)
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestGuard:
    """ASGI middleware, the outermost. `max_requests` is how many may be running or waiting at the same time; `caps` are
    the bytes of a body on paths that have a cap of their own.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, caps: Mapping[str, int], max_requests: int) -> None:
        self._app, self._max_body_bytes, self._caps, self._max_requests = app, max_body_bytes, caps, max_requests
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["id"] = request_id
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            if not scope["path"].startswith("/v1/"):
                await self._app(scope, receive, answer)
            elif self._requests >= self._max_requests:
                refusal = problem(request_id, 429, "too_many_requests", "the queue is full; come back in a second")
                await refusal(scope, receive, answer)
            else:
                await self._admit(scope, receive, answer)
        except Exception:  # noqa: BLE001 - the last line before the client: logged, and answered without details
            _log.exception("request_id=%s", request_id)
            if not answered:
                failure = problem(request_id, 500, "internal", "not the client's error; the log has this id")
                await failure(scope, receive, answer)

    async def _admit(self, scope: Scope, receive: Receive, answer: Send) -> None:
        self._requests += 1
        try:
            cap_bytes = self._caps.get(scope["path"], self._max_body_bytes)
            body = await _read_body(scope, receive, cap_bytes)
            if body is None:
                detail = f"the body is larger than {cap_bytes} bytes"
                await problem(scope["state"]["id"], 413, "body_too_large", detail)(scope, receive, answer)
            else:
                await self._app(scope, _replay(body, receive), answer)
        finally:
            self._requests -= 1


def _request_id(scope: Scope) -> str:
    sent = dict(scope["headers"]).get(b"x-request-id", b"")
    return sent.decode() if _PLAIN_ID.fullmatch(sent) else uuid.uuid4().hex


async def _read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes | None:
    """The whole body, or None as soon as it is longer than the limit, declared or not."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit_bytes:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what comes after it (the disconnect)."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
