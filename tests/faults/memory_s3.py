"""An S3 store in memory: what our clients ask of one, answered from a dict that is copied in no time.

It has no signatures, versions or ACLs. `answer` is pure but for the dict: the server before it does the sockets.
"""

from __future__ import annotations

import hashlib
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape


class Stored(NamedTuple):
    """One object. `modified` is seconds since 1970 by the clock of the store."""

    data: bytes
    etag: str
    modified: float


class Request(NamedTuple):
    """One request; `path` is still quoted, names of headers are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """One answer. `length`: of what a HEAD does not send."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: int = -1


Objects = dict[str, Stored]  # by "bucket/key"


class MemoryS3:
    """Objects by "bucket/key". `clock_s` is how far the store's clock is ahead of everybody else's."""

    def __init__(self) -> None:
        self.objects: Objects = {}
        self.clock_s = 0.0
        self._uploads: dict[str, dict[int, bytes]] = {}

    def contents(self) -> Objects:
        """A copy that is not changed any more."""
        return dict(self.objects)

    def restore(self, objects: Objects) -> None:
        """Hold these objects and no others."""
        self.objects, self._uploads = dict(objects), {}

    def put(self, name: str, data: bytes) -> Stored:
        """Put an object as a client would."""
        stored = Stored(data, hashlib.md5(data, usedforsecurity=False).hexdigest(), time.time() + self.clock_s)
        self.objects[name] = stored
        return stored

    def answer(self, request: Request) -> Response:
        """Do what is asked."""
        name = unquote(request.path).lstrip("/")
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        bucket, _, key = name.partition("/")
        match request.method:
            case "GET" if not key:
                return self._list(bucket, query)
            case "GET" | "HEAD":
                return self._get(name, request) if key else Response(200)
            case "PUT" if "uploadId" in query:
                return self._put_part(query, request.body)
            case "PUT":
                return self._put(name, request) if key else Response(200)
            case "DELETE":
                self._uploads.pop(query["uploadId"], None) if "uploadId" in query else self.objects.pop(name, None)
                return Response(204)
            case "POST" if "delete" in query:
                return self._delete_many(bucket, request.body)
            case "POST" if "uploads" in query or "uploadId" in query:
                return self._upload(name, query)
        return _error(501, "NotImplemented")

    def _get(self, name: str, request: Request) -> Response:
        stored = self.objects.get(name)
        is_head = request.method == "HEAD"
        if stored is None:
            return Response(404) if is_head else _error(404, "NoSuchKey")
        wanted = request.headers.get("if-match", "*").strip('"')
        if wanted not in ("*", stored.etag):
            return Response(412) if is_head else _error(412, "PreconditionFailed")
        headers = _describe(stored)
        size = len(stored.data)
        if is_head:
            return Response(200, headers, b"", size)
        asked = request.headers.get("range", "")
        if not asked.startswith("bytes="):
            return Response(200, headers, stored.data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return _error(416, "InvalidRange")
        return Response(206, (*headers, ("Content-Range", f"bytes {start}-{end - 1}/{size}")), stored.data[start:end])

    def _put(self, name: str, request: Request) -> Response:
        there = self.objects.get(name)
        if "x-amz-copy-source" in request.headers or "aws-chunked" in request.headers.get("content-encoding", ""):
            return _error(501, "NotImplemented")
        if there and request.headers.get("if-none-match") == "*":
            return _error(412, "PreconditionFailed")
        wanted = request.headers.get("if-match")
        if wanted and (there is None or there.etag != wanted.strip('"')):
            return _error(412, "PreconditionFailed") if there else _error(404, "NoSuchKey")
        return Response(200, (("ETag", f'"{self.put(name, request.body).etag}"'),))

    def _put_part(self, query: dict[str, str], body: bytes) -> Response:
        self._uploads[query["uploadId"]][int(query["partNumber"])] = body
        return Response(200, (("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'),))

    def _upload(self, name: str, query: dict[str, str]) -> Response:
        bucket, _, key = name.partition("/")
        said = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self._uploads[upload] = {}
            return _xml("InitiateMultipartUploadResult", f"{said}<UploadId>{upload}</UploadId>")
        parts = self._uploads.pop(query["uploadId"])
        stored = self.put(name, b"".join(parts[number] for number in sorted(parts)))
        return _xml("CompleteMultipartUploadResult", f'{said}<ETag>"{stored.etag}"</ETag>')

    def _delete_many(self, bucket: str, body: bytes) -> Response:
        keys = [node.text or "" for node in ET.fromstring(body).iter() if node.tag.rpartition("}")[2] == "Key"]
        for key in keys:
            self.objects.pop(f"{bucket}/{key}", None)
        return _xml("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))

    def _list(self, bucket: str, query: dict[str, str]) -> Response:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        most = int(query.get("max-keys") or 1000)
        start, cut = f"{bucket}/{prefix}", len(bucket) + 1
        said, shown, last, is_cut = [], "", after, False
        spell = quote if query.get("encoding-type") == "url" else escape
        n = 0
        for name in sorted(name for name in self.objects if name.startswith(start) and name[cut:] > after):
            key = name[cut:]
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            folder = key[: end + len(delimiter)] if end >= 0 else ""
            if folder and (folder == shown or after.startswith(folder)):
                last = key
                continue
            if n == most:
                is_cut = True
                break
            n, last = n + 1, key
            if folder:
                shown = folder
                said.append(f"<CommonPrefixes><Prefix>{spell(folder)}</Prefix></CommonPrefixes>")
                continue
            stored = self.objects[name]
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stored.modified))
            said.append(
                f"<Contents><Key>{spell(key)}</Key><LastModified>{at}.{int(stored.modified % 1 * 1000):03d}Z"
                f"</LastModified><ETag>&quot;{stored.etag}&quot;</ETag><Size>{len(stored.data)}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        more = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if is_cut else ""
        kind = "<EncodingType>url</EncodingType>" if spell is quote else ""
        head = f"<Name>{bucket}</Name><Prefix>{spell(prefix)}</Prefix><KeyCount>{n}</KeyCount><MaxKeys>{most}</MaxKeys>"
        return _xml(
            "ListBucketResult", f"{head}{kind}<IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{''.join(said)}"
        )


def _describe(stored: Stored) -> tuple[tuple[str, str], ...]:
    at = formatdate(stored.modified, usegmt=True)
    return ("ETag", f'"{stored.etag}"'), ("Last-Modified", at), ("Accept-Ranges", "bytes")


def _xml(name: str, inner: str, status: int = 200) -> Response:
    space = "" if name == "Error" else ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    body = f'<?xml version="1.0" encoding="UTF-8"?><{name}{space}>{inner}</{name}>'.encode()
    return Response(status, (("Content-Type", "application/xml"),), body)


def _error(status: int, code: str) -> Response:
    return _xml("Error", f"<Code>{code}</Code><Message>{code}</Message>", status)
