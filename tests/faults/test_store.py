"""An object store on a bad day, and a disk that is full: transient trouble costs time, the rest costs a clear end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import PIECES
from tests.faults.proxy import FaultyProxy, at_random
from tests.faults.sabotage import start
from tests.flow.lakes import assert_same_lake, local_config, run

from shotlake import storage
from shotlake.config import Config
from shotlake.table.lake import Lake


@pytest.fixture(scope="module")
def bucket(archive: Path, s3_module_root: str) -> str:
    """The archive in a bucket of the test server. Tests only read it."""
    source = storage.join(s3_module_root, "archive")
    for path in sorted(archive.iterdir()):
        storage.upload(path, storage.join(source, path.name))
    return source


@pytest.fixture(scope="module")
def quiet(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The lake of that bucket on a good day."""
    config = local_config(tmp_path_factory.mktemp("quiet") / "lake", *PIECES)
    assert run(bucket, config).ledger.balanced
    return config


def job(bucket: str, config: Config, url: str) -> subprocess.Popen[str]:
    os.environ["AWS_ENDPOINT_URL"], before = url, os.environ["AWS_ENDPOINT_URL"]
    try:
        return start(bucket, config)
    finally:
        os.environ["AWS_ENDPOINT_URL"] = before


@pytest.mark.s3
@pytest.mark.parametrize("fault", ["unavailable", "slow", "cut", "reset"])
def test_a_store_that_stumbles(
    fault: str, bucket: str, quiet: Config, s3_environ: dict[str, str], tmp_path: Path
) -> None:
    """Half of all requests for video go wrong in one way; the run ends with every video."""
    config = local_config(tmp_path / "lake", *PIECES)
    with FaultyProxy(s3_environ["AWS_ENDPOINT_URL"], at_random(0.5, fault)) as proxy:
        with job(bucket, config, proxy.url) as process:
            out, err = process.communicate(timeout=600)
        assert proxy.counts[fault] >= 3
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["videos"]["indexed"] == 4 and report["balanced"] and not report["failures"]
    assert_same_lake(config, quiet)


@pytest.mark.s3
def test_a_lake_in_a_store_that_stumbles(bucket: str, quiet: Config, s3_root: str, s3_environ: dict[str, str]) -> None:
    larger = ("table.commit_units=8", "table.rows_per_file=100", "flow.wave_videos=4")  # every commit is many requests
    config = local_config(storage.join(s3_root, "lake"), *PIECES, *larger)
    choose = at_random(0.2, "unavailable", "slow", "reset", "lost")
    with FaultyProxy(s3_environ["AWS_ENDPOINT_URL"], choose) as proxy, job(bucket, config, proxy.url) as process:
        _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert sum(proxy.counts.values()) - proxy.counts[""] > 10
    assert_same_lake(config, quiet)


@pytest.mark.s3
def test_a_create_whose_answer_was_lost_is_done(s3_root: str, s3_environ: dict[str, str]) -> None:
    """In a process of its own, because clients keep the endpoint that they began with."""
    program = """
import sys
from shotlake import storage
from shotlake.errors import AlreadyExists
storage.create(sys.argv[1], b"mine")
assert storage.read_bytes(sys.argv[1]) == b"mine"
try:
    storage.create(sys.argv[1], b"yours")
except AlreadyExists:
    print("refused")
"""
    with FaultyProxy(s3_environ["AWS_ENDPOINT_URL"], at_random(1, "lost", keys="answer")) as proxy:
        environ = {**os.environ, "AWS_ENDPOINT_URL": proxy.url}
        command = [sys.executable, "-c", program, storage.join(s3_root, "answer")]
        assert subprocess.run(command, env=environ, capture_output=True, text=True).stdout == "refused\n"
        assert proxy.counts["lost"] >= 4


@pytest.mark.s3
def test_credentials_that_expire_stop_the_run_and_blame_no_file(
    bucket: str, s3_environ: dict[str, str], tmp_path: Path
) -> None:
    config = local_config(tmp_path / "lake", *PIECES)
    victim = sorted(bucket_keys(bucket))[2]

    def choose(method: str, path: str) -> str:
        return "expired" if method == "GET" and victim in path else ""

    with FaultyProxy(s3_environ["AWS_ENDPOINT_URL"], choose) as proxy, job(bucket, config, proxy.url) as process:
        _, err = process.communicate(timeout=600)
    assert process.returncode == 4
    assert "expired" in err.lower() or "credentials" in err.lower()
    assert err.count("\n") == 1
    lake = Lake.open(config.lake)
    assert len(lake.read("failures", ["uri"])) == 0
    assert len(lake.read("segments", ["uri"])) > 0  # the first wave is in
    report = run(bucket, config)
    assert report.ledger.videos["indexed"] + report.ledger.videos["unchanged"] == 4 and report.ledger.balanced


def bucket_keys(bucket: str) -> list[str]:
    return storage.names(bucket)


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(archive: Path, tmp_path: Path, converges: Callable) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here; root may")
    try:
        config: Config = local_config(place / "lake", *PIECES)
        with start(archive, config) as process:
            _, err = process.communicate(timeout=600)
        assert process.returncode in (1, 4)
        assert "No space left" in err and "Traceback" not in err
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        converges(config)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
