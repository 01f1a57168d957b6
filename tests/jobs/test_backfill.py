"""A job that is submitted to a cluster does what the command does: same figures, same exit status."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from shotlake.cli import main
from shotlake.table.lake import Lake
from shotlake.world.archive import paint_archive

pytestmark = pytest.mark.ray
JOBS = Path(__file__).parents[2] / "jobs"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def jobs():
    """A client of a cluster with a dashboard, which runs in a process of its own and ends with it."""
    from ray.job_submission import JobSubmissionClient

    folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray puts sockets under it
    dashboard = free_port()
    command = [
        Path(sys.executable).with_name("ray"),
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        "--disable-usage-stats",
    ]
    command += [f"--temp-dir={folder}", f"--port={free_port()}", f"--dashboard-port={dashboard}"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]  # another cluster's agent may have the default
    # its ports are on loopback, and the token of this process may already be that of another cluster
    environ = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    cluster = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield connect(lambda: JobSubmissionClient(f"http://127.0.0.1:{dashboard}"), cluster)
    finally:
        everyone = psutil.Process(cluster.pid).children(recursive=True)  # a graceful end takes half a minute
        cluster.kill()
        for process in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        cluster.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def connect(open_client, cluster):
    """The client, once the cluster takes jobs: its agents come up after its dashboard."""
    for _ in range(120):
        assert cluster.poll() is None, "the cluster did not start"
        try:
            client = open_client()
            client.submit_job(entrypoint="true")
            return client
        except (ConnectionError, RuntimeError):
            time.sleep(0.5)
    raise TimeoutError("the cluster takes no jobs")


def run(client, entrypoint):
    """Submit and wait; the submission's id."""
    submission = client.submit_job(entrypoint=entrypoint)
    while not client.get_job_status(submission).is_terminal():
        time.sleep(0.2)
    return submission


def submit(client, job, *arguments):
    """Run a job to its end; (its details, its last JSON object)."""
    submission = run(client, " ".join([sys.executable, str(JOBS / job), *arguments]))
    lines = re.findall(r"(?m)^\{.*\}$", client.get_job_logs(submission))
    assert lines, client.get_job_logs(submission)
    return client.get_job_info(submission), json.loads(lines[-1])


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three videos of the painted world, and a text that calls itself one."""
    root = tmp_path_factory.mktemp("archive")
    paint_archive(root, seed=3, n_videos=4, workers=1)
    return root


@pytest.mark.long
def test_the_job_has_the_figures_and_the_exit_status_of_the_command(jobs, archive, tmp_path, capsys):
    arguments = [str(archive), "--json", "--index", "never", "--set", "flow.num_cpus=2"]
    status = main(["backfill", *arguments, "--lake", str(tmp_path / "command"), "--set", "flow.engine=local"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    details, job_said = submit(jobs, "backfill.py", *arguments, "--lake", str(tmp_path / "job"))
    assert details.driver_exit_code == status == 3
    same = ("status", "videos", "cells", "balanced", "video_hours", "failures")
    assert {key: job_said[key] for key in same} == {key: said[key] for key in same}
    ids = [
        sorted(Lake.open(str(tmp_path / lake)).read("segments", ["segment_id"])["segment_id"].to_pylist())
        for lake in ("command", "job")
    ]
    assert ids[0] == ids[1] and ids[0]

    details, report = submit(jobs, "cost_report.py", "--json", "--lake", str(tmp_path / "job"))
    assert details.driver_exit_code == 0
    assert report["usd"] == pytest.approx(job_said["cost"]["usd"], rel=0.2)
    assert report["video_hours"] == pytest.approx(job_said["video_hours"])


@pytest.mark.long
def test_a_job_that_lacks_something_says_so_and_fails_with_the_commands_status(jobs, tmp_path):
    submission = run(jobs, f"{sys.executable} {JOBS / 'backfill.py'} {tmp_path / 'nowhere'} --lake {tmp_path / 'lake'}")
    assert jobs.get_job_info(submission).driver_exit_code == 4
    assert "there is no folder" in jobs.get_job_logs(submission)


def test_a_job_by_itself_lacks_the_same_and_says_it_too(tmp_path):
    arguments = [sys.executable, JOBS / "backfill.py", tmp_path / "nowhere", "--lake", tmp_path / "lake"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 4 and "there is no folder" in done.stderr
