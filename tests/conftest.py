"""Fixtures that cost something are made once a session: an S3 server, a Ray cluster, a painted archive and its lake.

The last two are made once for all processes of a session.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.radosgw import Radosgw, missing_programs
from xdist.scheduler import LoadScopeScheduling

from shotlake.config import Config
from shotlake.demo import demo_config
from shotlake.embed.mini.encoder import MiniEncoder
from shotlake.flow.backfill import backfill
from shotlake.flow.build_index import build_index
from shotlake.flow.pools import _start
from shotlake.flow.run_report import RunReport
from shotlake.records import SPACES, QueryVectors
from shotlake.world.archive import Truth, paint_archive

# Ray's token of a local cluster lives under HOME; two CPUs are what the smallest machine has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

REPOSITORY = Path(__file__).parents[1]
S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "testkey",
    "AWS_SECRET_ACCESS_KEY": "testsecret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """For two processes: a file stays in one of them, and all files with tests that need Ray stay together."""
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0]
        return "ray" if "pytest.mark.ray" in _text_of(name) else name

    def _assign_work_unit(self, node: Any) -> None:
        """What takes longest comes first, or one process ends minutes before the other."""
        longest = min(self.workqueue, key=_place)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def _place(scope: str) -> int:
    heads = ("ray", "tests/test_demo.py", "tests/faults/", "tests/flow/")
    return next((place for place, head in enumerate(heads) if scope.startswith(head)), len(heads))


@cache
def _text_of(name: str) -> str:
    return (REPOSITORY / name).read_text()


@dataclass(frozen=True)
class DemoLake:
    """A small lake of painted video, and the truth about it."""

    archive: Path
    truth: Truth
    config: Config
    report: RunReport


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the session's own, so that receipts and copies of its lakes stay out of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache-home")))
        yield


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """A folder of real, partly damaged video beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "media"
    if not folder.is_dir():
        pytest.skip("the folder of real media files is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server on loopback: moto, or radosgw where SHOTLAKE_TEST_S3 says so (`make test-s3`)."""
    folder = tmp_path_factory.mktemp("s3")
    if os.environ.get("SHOTLAKE_TEST_S3") == "radosgw":
        if missing := missing_programs():
            pytest.skip(f"not installed: {', '.join(missing)}; `make test-s3` installs them where it may")
        with Radosgw(folder, S3_KEYS["AWS_ACCESS_KEY_ID"], S3_KEYS["AWS_SECRET_ACCESS_KEY"]) as server:
            yield server.url
        return
    program = REPOSITORY / ".venv-s3" / "bin" / "moto_server"
    if not program.exists():
        pytest.skip("no .venv-s3/bin/moto_server: `make test` installs it where a package registry is reachable")
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", "0"], stdout=out, stderr=subprocess.STDOUT)
    try:
        yield _wait_for_address(process, log)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(300):
        for line in log.read_text(errors="replace").splitlines():
            if "http://127.0.0.1:" in line:
                address = "http://127.0.0.1:" + line.rsplit(":", 1)[1].strip().split()[0].rstrip("/")
                urllib.request.urlopen(f"{address}/moto-api/", timeout=10).close()
                return address
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"moto_server did not start: {log.read_text(errors='replace')[-500:]}")


@pytest.fixture(scope="session")
def s3_environ(s3_endpoint: str) -> Iterator[dict[str, str]]:
    """The environment that leads every S3 client of this process and of its children to the test server."""
    patch = pytest.MonkeyPatch()
    environ = {**S3_KEYS, "AWS_ENDPOINT_URL": s3_endpoint}
    for name, value in environ.items():
        patch.setenv(name, value)
    yield environ
    patch.undo()


@pytest.fixture
def s3_root(s3_environ: dict[str, str]) -> str:
    """An empty s3://bucket/prefix."""
    return _make_bucket(s3_environ)


@pytest.fixture(scope="module")
def s3_module_root(s3_environ: dict[str, str]) -> str:
    """One for all tests of a file."""
    return _make_bucket(s3_environ)


def _make_bucket(s3_environ: dict[str, str]) -> str:
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    client = botocore.session.get_session().create_client("s3", endpoint_url=s3_environ["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket=bucket)
    client.close()
    return f"s3://{bucket}/prefix"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray cluster of two CPUs for the session."""
    import ray

    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": "error"}
    # "local": whatever cluster somebody else has left behind
    _start(lambda: ray.init("local", num_cpus=2, include_dashboard=False, **quiet))
    yield
    ray.shutdown()


@contextmanager
def _shared(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that all processes of a session have, for one of them at a time: the first fills it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def demo_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A painted archive of 12 short videos: one truncated, one sound only, one not a video. Tests only read it."""
    with _shared("painted", tmp_path_factory) as folder:
        return folder / "archive", paint_archive(folder / "archive", seed=7, n_videos=12)


@pytest.fixture(scope="session")
def demo_lake(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> DemoLake:
    """The lake of that archive with a published generation, made in plain Python. Tests only read it."""
    with _shared("demo", tmp_path_factory) as folder:
        config = demo_config(folder / "demo-lake", ("flow.engine=local",))
        told = folder / "report"
        if not told.exists():
            told.write_bytes(pickle.dumps(backfill([str(demo_archive[0])], config, silent)))
        return DemoLake(*demo_archive, config, pickle.loads(told.read_bytes()))


@pytest.fixture(scope="session")
def embedded_texts() -> dict[tuple[str, ...], NDArray[np.float32]]:
    """What `embeds_once` keeps."""
    return {}


@pytest.fixture
def embeds_once(embedded_texts: dict[tuple[str, ...], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch) -> None:
    """`mini` embeds the captions that an index is measured with once a session: they are most of a small build."""
    real = MiniEncoder.embed_text

    def embed_text(encoder: MiniEncoder, texts: list[str]) -> QueryVectors:
        if len(texts) < 30:
            return real(encoder, texts)
        key = (encoder.fingerprint.weights_sha256, *texts)
        if key not in embedded_texts:
            embedded_texts[key] = real(encoder, texts)["fused"]
        return dict.fromkeys(SPACES, embedded_texts[key].copy())

    monkeypatch.setattr(MiniEncoder, "embed_text", embed_text)


@pytest.fixture(scope="session")
def heard_config(demo_lake: DemoLake, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A copy of that lake in which the sounds are indexed by themselves as well."""
    lake = tmp_path_factory.mktemp("heard") / "lake"
    shutil.copytree(demo_lake.config.lake, lake)
    index = demo_lake.config.index.model_copy(update={"spaces": ("fused", "visual", "audio")})
    config = demo_lake.config.model_copy(update={"lake": str(lake), "index": index})
    build_index(config)
    return config
