"""The store's front: an HTTP server that knows who asks by the port, counts requests by kind, and stops one of them.

A stop holds one request of one client, before the store has done it or before its answer is sent. All else goes on, the
client's other threads included. A client that is killed meanwhile has not sent what was held before.
"""

from __future__ import annotations

import asyncio
import http.client
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import botocore.session
from tests.faults.memory_s3 import MemoryS3, Objects, Request, Response, Stored
from tests.faults.shapes import kind_of


@dataclass(frozen=True, slots=True)
class Stop:
    """The `nth` request of a kind (from 1 on), `before` or `after` it is done."""

    moment: str
    kind: str
    nth: int

    def __str__(self) -> str:
        return f"{self.moment}.{self.kind}.{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Stop:
        moment, _, rest = text.partition(".")
        kind, _, nth = rest.rpartition(".")
        return cls(moment, kind, int(nth))


@dataclass
class Client:
    """One command's view of the store: its requests by kind, and where it is stopped."""

    seen: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    stop: Stop | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def rewind(self, stop: Stop | None = None) -> None:
        """Forget what was seen; the next command is stopped at `stop`."""
        self.go.set()
        self.seen, self.order, self.stop = Counter(), [], stop
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    def is_at(self, moment: str, kind: str) -> bool:
        stop = self.stop
        return stop is not None and (stop.moment, stop.kind, stop.nth) == (moment, kind, self.seen[kind])


class Backend(Protocol):
    """Where the objects are."""

    def answer(self, request: Request) -> Response | Awaitable[Response]: ...


class Upstream:
    """A real S3 server behind the same stops. What `restore` puts has the age of the moment there."""

    clock_s = 0.0

    def __init__(self, url: str, keys: Mapping[str, str] | None = None) -> None:
        self.target, self._buckets = urlsplit(url), set[str]()
        self._client: Any = None
        if keys:
            session = botocore.session.get_session()
            key, secret = keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]
            secrets = {"aws_access_key_id": key, "aws_secret_access_key": secret}
            self._client = session.create_client("s3", endpoint_url=url, region_name=keys["AWS_REGION"], **secrets)

    def contents(self) -> Objects:
        """All objects of the buckets that were restored."""
        found: Objects = {}
        for bucket in self._buckets:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for item in page.get("Contents", []):
                    data = self._client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                    stored = Stored(data, item["ETag"].strip('"'), item["LastModified"].timestamp())
                    found[f"{bucket}/{item['Key']}"] = stored
        return found

    def restore(self, objects: Objects) -> None:
        """Hold these objects and no others in their buckets."""
        for bucket in {name.partition("/")[0] for name in objects} - self._buckets:
            self._client.create_bucket(Bucket=bucket)
            self._buckets.add(bucket)
        there = self.contents()
        for name in there.keys() - objects.keys():
            bucket, _, key = name.partition("/")
            self._client.delete_object(Bucket=bucket, Key=key)
        for name, stored in objects.items():
            if name not in there or there[name].etag != stored.etag:
                bucket, _, key = name.partition("/")
                self._client.put_object(Bucket=bucket, Key=key, Body=stored.data)

    async def answer(self, request: Request) -> Response:
        return await asyncio.get_running_loop().run_in_executor(None, self._relay, request)

    def _relay(self, request: Request) -> Response:
        upstream = http.client.HTTPConnection(self.target.hostname or "", self.target.port, timeout=60)
        path = f"{request.path}?{request.query}" if request.query else request.path
        upstream.request(request.method, path, request.body or None, dict(request.headers))
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        dropped = ("connection", "transfer-encoding", "content-length", "date", "server")
        headers = tuple((name, value) for name, value in response.getheaders() if name.lower() not in dropped)
        return Response(response.status, headers, data, int(response.getheader("Content-Length") or -1))


class Front(asyncio.Protocol):
    """One connection of one client."""

    def __init__(self, backend: Backend, client: Client) -> None:
        self.backend, self.client = backend, client
        self.buffer, self.busy, self.gone = b"", False, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.busy:
            self._next()

    def _next(self) -> None:
        while not self.busy and (request := self._parse()):
            client, kind = self.client, kind_of(request)
            client.seen[kind] += 1
            client.order.append(kind)
            if client.is_at("before", kind) or client.is_at("after", kind) or not isinstance(self.backend, MemoryS3):
                self.busy = True
                task = asyncio.ensure_future(self._slowly(request, kind))
                _running.add(task)
                task.add_done_callback(_running.discard)
            else:
                self._send(request, self.backend.answer(request))

    async def _slowly(self, request: Request, kind: str) -> None:
        client = self.client
        before, after, go = client.is_at("before", kind), client.is_at("after", kind), client.go
        if before:
            client.reached.set()
            await go.wait()
        if self.gone and before:
            return
        response = self.backend.answer(request)
        if not isinstance(response, Response):
            response = await response
        if after:
            client.reached.set()
            await go.wait()
        if not self.gone:
            self._send(request, response)
            self.busy = False
            self._next()

    def _parse(self) -> Request | None:
        """The next whole request of the buffer."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(self.buffer) < end + 4 + size:
            if headers.get("expect", "").lower() == "100-continue" and len(self.buffer) == end + 4:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body, self.buffer = self.buffer[end + 4 : end + 4 + size], self.buffer[end + 4 + size :]
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        return Request(method, path, query, headers, body)

    def _send(self, request: Request, response: Response) -> None:
        length = response.length if request.method == "HEAD" and response.length >= 0 else len(response.body)
        lines = [f"HTTP/1.1 {response.status} X", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self.transport.write(
            head if request.method == "HEAD" or response.status in (204, 304) else head + response.body
        )


_running: set[asyncio.Task[None]] = set()


async def listen(backend: Backend, client: Client) -> tuple[asyncio.Server, str]:
    """A port of its own for a client, and its address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Front(backend, client), "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
