"""Workers, nodes and memory are lost while the run goes on; the same run ends with the undisturbed lake."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.faults.sabotage import commits, start, wait_until

from shotlake.config import Config

pytestmark = [pytest.mark.ray, pytest.mark.long]

STORE_BYTES = 80 << 20  # about the least that Ray takes

# A cluster in a process of its own, whose head's store is filled up; a line on stdin removes a node.
NODES = """
import sys
import numpy, ray
from ray._common.utils import reset_ray_address
from ray.cluster_utils import Cluster
head = {{"num_cpus": {head_cpus}, "object_store_memory": {store}, "temp_dir": {folder!r}}}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=2, object_store_memory={store}) for _ in range({nodes})]
cluster.wait_for_nodes()
reset_ray_address()  # it is not the cluster of this machine, and will be killed
ray.init(address=cluster.address, log_to_driver=False)
held = [ray.put(numpy.zeros({fill} // 16, numpy.uint8)) for _ in range(16)]
views = ray.get(held)  # what is looked at cannot be moved to disk
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


@contextlib.contextmanager
def cluster(nodes: int, head_cpus: int = 0, fill_bytes: int = 0) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of a cluster of this machine, and the process that keeps it."""
    folder = tempfile.mkdtemp(prefix="ray-")  # of its own, so that nobody takes its remains for a cluster; short
    program = NODES.format(nodes=nodes, head_cpus=head_cpus, store=STORE_BYTES, fill=fill_bytes, folder=folder)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    ) as keeper:  # fmt: skip
        try:
            address = keeper.stdout.readline().strip()
            assert address, "the cluster did not start"
            yield address, keeper
        finally:
            everyone = psutil.Process(keeper.pid).children(recursive=True)
            keeper.kill()
            for process in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            shutil.rmtree(folder, ignore_errors=True)


def workers(driver: subprocess.Popen, step: str) -> list[psutil.Process]:
    """Actors of a step of the run that `driver` drives, while they are at work: Ray names the call that runs."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"MapBatches({step})).submit" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.parametrize("step", ["DecodeUnits", "EmbedClips", "WriteVectors"])
def test_a_killed_actor_is_replaced_and_its_replayed_task_doubles_nothing(
    step: str, archive: Path, lake: Config, converges: Callable
) -> None:
    config = lake.model_copy(update={"flow": lake.flow.model_copy(update={"wave_videos": 4})})
    # in a child process, so that the first task of a decoder lasts long enough to be met
    with start(archive, config, "decode.isolate=true", engine="ray") as driver:
        at_work: list[psutil.Process] = []
        wait_until(lambda: at_work.extend(workers(driver, step)) or at_work, driver)
        for actor in at_work:
            actor.send_signal(signal.SIGKILL)
        _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    converges(config)


def test_a_lost_node_is_made_good_by_the_others(archive: Path, lake: Config, converges: Callable) -> None:
    with cluster(nodes=2) as (address, keeper):
        driver = start(archive, lake, f"flow.ray_address={address}", engine="ray")
        with driver:
            wait_until(lambda: commits(lake) > 2, driver)
            keeper.stdin.write("remove\n")
            keeper.stdin.flush()
            assert "removed\n" in iter(keeper.stdout.readline, "")  # Ray has words of its own for it
            _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    converges(lake)


def test_an_object_store_that_is_full_slows_and_loses_nothing(archive: Path, lake: Config, converges: Callable) -> None:
    """All but 2 MB of the store is held by somebody else: a block of clips has to go through the disk."""
    with cluster(nodes=0, head_cpus=2, fill_bytes=STORE_BYTES - (2 << 20)) as (address, _):
        driver = start(archive, lake, f"flow.ray_address={address}", engine="ray")
        with driver:
            _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    converges(lake)
