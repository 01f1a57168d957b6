"""Where the epochs of an index are trained: in this process, or in a task of the cluster under another interpreter.

faiss-cpu and faiss-gpu cannot stand in one environment, so the nodes have a second one, with the extra `gpu`, for this
task alone. What it trains goes to the lake with a receipt, as from any process.
"""

from __future__ import annotations

import subprocess

from shotlake.config import FlowConfig
from shotlake.errors import ConfigError
from shotlake.flow.fill_shards import RETRIES, reserved_cpus
from shotlake.flow.pools import answer, cluster
from shotlake.index.fill import Train, train_here
from shotlake.index.receipts import Receipts, Trained
from shotlake.index.rows import RowSource
from shotlake.index.sizing import IndexPlan
from shotlake.records import Space

_IMPORTS = """
import sys, ray, shotlake.index.fill
sys.exit(ray.__version__ != sys.argv[1] and f"it has Ray {ray.__version__}, the cluster {sys.argv[1]}")
"""


def trainer(config: FlowConfig, python: str) -> Train:
    """What trains the epochs of a build: Ray if that is the engine and an interpreter is named, else this process."""
    if config.engine == "local" or not python:
        return train_here

    def train(
        rows: RowSource, plan: IndexPlan, spaces: tuple[Space, ...], receipts: Receipts, generation: str
    ) -> Trained:
        with cluster(config):
            return _train_in_ray(python, rows, plan, spaces, receipts, generation)

    return train


def _train_in_ray(
    python: str, rows: RowSource, plan: IndexPlan, spaces: tuple[Space, ...], receipts: Receipts, generation: str
) -> Trained:
    """One task, with a GPU if the cluster has any. Errors: ConfigError for the interpreter; as `train_here`."""
    import ray

    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    check = ray.remote(refusal).options(num_cpus=1, num_gpus=gpus)
    if reason := answer(check.remote(python, ray.__version__)):
        raise ConfigError(f"index.train_python is {python!r}, which starts no worker: {reason}")
    train = ray.remote(train_here).options(
        num_cpus=reserved_cpus(plan.build_bytes(len(spaces), 0)),
        num_gpus=gpus,
        max_retries=RETRIES,
        runtime_env={"py_executable": python},
    )
    return answer(train.remote(rows, plan, spaces, receipts, generation))


def refusal(python: str, ray_version: str) -> str:
    """Why a worker of this interpreter would not come up, for which Ray would wait for ever; empty if it would."""
    try:
        done = subprocess.run([python, "-c", _IMPORTS, ray_version], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
