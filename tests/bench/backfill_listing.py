"""Listing a million keys against a bare obstore stream of them: `python tests/bench/backfill_listing.py`, JSON lines.

The store is a ListObjectsV2 responder on loopback, a process of its own whose pages are rendered before it is asked:
it answers a page in a fraction of the time that the bare stream takes to read it. Each client is a fresh process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

KEYS = 1_000_000
PAGE = 1_000
RUNS = 3
BUCKET, ROOT = "archive", "masters"

Row = tuple[str, float, float, str, str, str]  # name, value, bound, sense, unit, note


def bench_listing(keys: int = KEYS) -> Iterator[Row]:
    """Rows `list.1m_over_obstore` and `list.1m_rss_mb`; the first also for an archive without folders, unbound."""
    for folders, bound in ((100, 0.7), (1, 0.0)):
        with _responder(keys, folders) as url:
            runs = [(_client(url, "bare"), _client(url, "ours")) for _ in range(RUNS)]
        bare_s, ours_s = (min(run[side]["wall_s"] for run in runs) for side in (0, 1))
        name = "list.1m_over_obstore" if bound else "list.1m_flat_over_obstore"
        rates = f"{keys / ours_s:,.0f} keys/s over {keys / bare_s:,.0f}; {folders} folders, best of {RUNS}"
        yield name, bare_s / ours_s, bound, "min", "ratio", rates
        if bound:
            rss_mb = max(run[1]["rss_mb"] for run in runs)
            note = f"peak of the process; a bare stream has {runs[0][0]['rss_mb']:.0f}"
            yield "list.1m_rss_mb", rss_mb, 300, "max", "MB", note


class Responder(asyncio.Protocol):
    """Answers ListObjectsV2 for one bucket; `pages` are the bodies of whole pages, by the number of their first key."""

    def __init__(self, keys: list[str], pages: dict[int, bytes]) -> None:
        self.keys, self.pages = keys, pages
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            body = self._page({name: values[0] for name, values in parse_qs(urlsplit(target).query).items()})
            length = f"content-length: {len(body)}\r\n\r\n".encode()
            self._transport.writelines([b"HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\n" + length, body])

    def _page(self, query: dict[str, str]) -> bytes:
        prefix = query.get("prefix", "")
        last = bisect_left(self.keys, prefix + "\U0010ffff")
        after = bisect_right(self.keys, query.get("start-after", ""))
        start = int(query.get("continuation-token", max(bisect_left(self.keys, prefix), after)))
        if query.get("delimiter"):
            return self._folded(prefix, start, last)
        end = min(start + PAGE, last)
        if end - start == PAGE and start in self.pages and (end < last or end == len(self.keys)):
            return self.pages[start]
        return _rendered(self.keys[start:end], range(start, end), [], end if end < last else None)

    def _folded(self, prefix: str, start: int, last: int) -> bytes:
        """The first PAGE folders and keys right under a prefix."""
        folders, numbers = [], []
        while start < last and len(folders) + len(numbers) < PAGE:
            name, slash, _ = self.keys[start][len(prefix) :].partition("/")
            if slash:
                folders.append(f"{prefix}{name}/")
                start = bisect_left(self.keys, f"{prefix}{name}0")  # "0" is what comes behind "/"
            else:
                numbers.append(start)
                start += 1
        return _rendered([self.keys[number] for number in numbers], numbers, folders, None)


def _rendered(keys: list[str], numbers: Iterable[int], folders: list[str], more: int | None) -> bytes:
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{1000 + number}</Size><StorageClass>STANDARD</StorageClass>"
        "</Contents>"
        for key, number in zip(keys, numbers)
    )
    entries += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more is not None else ""
    head = f"<Name>{BUCKET}</Name><KeyCount>{len(keys)}</KeyCount><IsTruncated>{str(more is not None).lower()}"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{head}</IsTruncated>{token}{entries}</ListBucketResult>"
    ).encode()


async def serve(n_keys: int, folders: int) -> None:
    """Serve `n_keys` keys spread over `folders`, and print the port once all pages are rendered."""
    each = n_keys // folders
    keys = [f"{ROOT}/{folder:03d}/clip-{number:07d}.mp4" for folder in range(folders) for number in range(each)]
    pages = {}
    for start in range(0, len(keys), PAGE):
        end = min(start + PAGE, len(keys))
        pages[start] = _rendered(keys[start:end], range(start, end), [], end if end < len(keys) else None)
    server = await asyncio.get_running_loop().create_server(lambda: Responder(keys, pages), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _responder(keys: int, folders: int) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(folders), "--keys", str(keys)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait(10)


def _client(url: str, side: str) -> dict[str, float]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    environ = {**os.environ, **keys, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
    found = subprocess.run(
        [sys.executable, __file__, "--client", side], env=environ, check=True, stdout=subprocess.PIPE
    )
    return dict(json.loads(found.stdout))


def _bare() -> Callable[[], int]:
    """What obstore's own documentation shows: a stream of pages, with nothing done to them."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(BUCKET, client_options={"allow_http": True})
    return lambda: sum(len(page) for page in obstore.list(store, ROOT, chunk_size=PAGE))


def _ours() -> Callable[[], int]:
    from shotlake.catalog.listing import list_archive
    from shotlake.config import CatalogConfig

    return lambda: sum(len(page) for page in list_archive(f"s3://{BUCKET}/{ROOT}", CatalogConfig()))


def _measure(side: str) -> dict[str, float]:
    """Seconds of a listing, without those of the imports, and the most memory that the process ever had."""
    listing = _bare() if side == "bare" else _ours()
    began = time.perf_counter()
    n_keys = listing()
    wall_s = time.perf_counter() - began
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {"keys": n_keys, "wall_s": wall_s, "rss_mb": int(status["VmHWM"].split()[0]) / 1024}


def main() -> None:
    """As a program: both rows; as a child of it: the responder, or one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--serve", type=int, metavar="FOLDERS")
    parser.add_argument("--client", choices=["bare", "ours"])
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.keys, options.serve))
    elif options.client:
        print(json.dumps(_measure(options.client)))
    else:
        for name, value, bound, sense, unit, note in bench_listing(options.keys):
            line = {"name": name, "file": "tests/bench/backfill_listing.py", "value": round(value, 3), "bound": bound}
            print(json.dumps({**line, "sense": sense, "unit": unit, "note": note}), flush=True)


if __name__ == "__main__":
    main()
