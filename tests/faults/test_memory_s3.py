"""The store of the interleaving driver answers real clients as the S3 server of the other tests does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from tests.faults.lane import KEYS
from tests.faults.memory_s3 import MemoryS3
from tests.faults.stop_server import Client, Stop, Upstream, listen

# The same calls through obstore, s3fs, botocore and delta-rs; prints what each gives. In a process of its own, because
# clients keep the endpoint that they began with.
CALLS = """
import hashlib, json, sys
import botocore.session, obstore, pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from shotlake import storage
from shotlake.errors import ShotlakeError
from shotlake.storage.s3_client import bucket_of

root, said = sys.argv[1], []

def tell(call, *arguments, **named):
    try:
        value = call(*arguments, **named)
    except ShotlakeError as error:
        value = type(error).__name__
    except Exception as error:
        value = getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
    said.append(value)
    return value

tell(storage.read_bytes, f"{root}/none")
tell(storage.create, f"{root}/a/1", b"one")
tell(storage.create, f"{root}/a/1", b"two")
tell(storage.read_bytes, f"{root}/a/1")
tell(storage.write_bytes, f"{root}/a/1", b"three" * 100)
info = storage.stat(f"{root}/a/1")
said.append([info.key, info.size_bytes, info.etag])
for name in ("a/2", "a/b/3", "b/4", "c d/\\u00e4+1", "empty"):
    tell(storage.write_bytes, f"{root}/{name}", b"" if name == "empty" else name.encode())
tell(storage.names, root)
tell(storage.names, f"{root}/a")
tell(storage.names, f"{root}/nothing")
tell(lambda: [(o.key, o.size_bytes, o.etag) for o in storage.list_objects(root)])
tell(lambda: [o.key for o in storage.list_objects(root, "a/2", "b/4")])
tell(storage.folders, root)
tell(lambda: storage.open_object(f"{root}/a/1", info.etag, info.size_bytes, 64).read(64).decode())
tell(lambda: storage.open_object(f"{root}/a/1", "0" * 32, info.size_bytes, 64).read(64).decode())
bucket, prefix = root.removeprefix("s3://").split("/", 1)
store = bucket_of(bucket)
tell(lambda: bytes(obstore.get_range(store, f"{prefix}/a/1", start=490, end=600)).decode())
tell(lambda: bytes(obstore.get(store, f"{prefix}/a/1", options={"range": {"suffix": 7}}).bytes()).decode())
tell(lambda: bytes(obstore.get(store, f"{prefix}/a/1", options={"range": {"offset": 495}}).bytes()).decode())
obstore.put(store, f"{prefix}/large", bytes(7 << 20), chunk_size=5 << 20, use_multipart=True)
tell(lambda: obstore.head(store, f"{prefix}/large")["size"])
client = botocore.session.get_session().create_client("s3")
below = {"Bucket": bucket, "Prefix": f"{prefix}/"}

def names_of(page, part="Contents", name="Key"):
    return [found[name].removeprefix(prefix) for found in page.get(part, [])]

page = client.list_objects_v2(MaxKeys=2, Delimiter="/", **below)
said.append([page["KeyCount"], page["IsTruncated"], names_of(page), names_of(page, "CommonPrefixes", "Prefix")])
pages = client.get_paginator("list_objects_v2").paginate(PaginationConfig={"PageSize": 2}, **below)
said.append([name for page in pages for name in names_of(page)])
tell(lambda: client.get_object(Bucket=bucket, Key=f"{prefix}/a/1", IfMatch='"0"')["Body"].read())
tell(lambda: client.head_object(Bucket=bucket, Key=f"{prefix}/none"))
tell(storage.delete, f"{root}/a/2")
tell(storage.delete, f"{root}/a/2")
obstore.delete(store, [f"{prefix}/a/b/3", f"{prefix}/b/4"])
tell(storage.names, root)
uri, options = f"{root}/table", storage.delta_options(root)
for number in range(3):
    write_deltalake(uri, pa.table({"n": [number]}), mode="append", storage_options=options)
table = DeltaTable(uri, storage_options=options)
table.create_checkpoint()
table.optimize.compact()
tell(lambda: table.vacuum(0, dry_run=False, enforce_retention_duration=False) and None)
tell(lambda: sorted(DeltaTable(uri, storage_options=options).to_pyarrow_table()["n"].to_pylist()))
tell(lambda: sorted(name.split("/")[0][-16:] for name in storage.names(f"{uri}/_delta_log")))
print(json.dumps([value.decode() if isinstance(value, bytes) else value for value in said]))
"""


class Served:
    """A backend behind a port, on an event loop of its own."""

    def __init__(self, backend: Any) -> None:
        self.client = Client()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        opened = asyncio.run_coroutine_threadsafe(listen(backend, self.client), self.loop)
        self.server, self.url = opened.result(10)


@pytest.fixture
def memory() -> Iterator[Served]:
    served = Served(MemoryS3())
    yield served
    served.loop.call_soon_threadsafe(served.loop.stop)


def answers(url: str, root: str) -> list[Any]:
    environ = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": url, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", CALLS, root], env=environ, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return list(json.loads(ended.stdout))


@pytest.mark.s3
def test_it_answers_as_the_other_server_does(memory: Served, s3_root: str, s3_environ: dict[str, str]) -> None:
    direct = answers(s3_environ["AWS_ENDPOINT_URL"], s3_root)
    assert len(direct) > 30
    assert answers(memory.url, "s3://b/prefix") == direct


@pytest.mark.s3
def test_requests_pass_through_the_stops_to_a_real_server(s3_root: str, s3_environ: dict[str, str]) -> None:
    served = Served(Upstream(s3_environ["AWS_ENDPOINT_URL"]))
    assert answers(served.url, s3_root)[:4] == ["NotFound", None, "AlreadyExists", "one"]
    assert sum(served.client.seen.values()) > 50
    served.loop.call_soon_threadsafe(served.loop.stop)


def test_a_request_is_held_before_it_is_done_and_after(memory: Served) -> None:
    session = botocore.session.get_session()
    client = session.create_client("s3", endpoint_url=memory.url, region_name="us-east-1",
                                   aws_access_key_id="k", aws_secret_access_key="s")  # fmt: skip
    for moment, is_done in (("before", False), ("after", True)):
        memory.client.rewind(Stop(moment, "PUT:x", 1))
        put = threading.Thread(target=lambda: client.put_object(Bucket="b", Key="lake/x", Body=b"1"))
        put.start()
        asyncio.run_coroutine_threadsafe(memory.client.reached.wait(), memory.loop).result(10)
        keys = [found["Key"] for found in client.list_objects_v2(Bucket="b").get("Contents", [])]
        assert ("lake/x" in keys) is is_done
        memory.loop.call_soon_threadsafe(memory.client.go.set)
        put.join(10)
        assert not put.is_alive()
        client.delete_object(Bucket="b", Key="lake/x")
