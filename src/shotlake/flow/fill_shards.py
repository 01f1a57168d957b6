"""Where the shards of an index are filled: in this process, or side by side on Ray.

Both go through `index.fill.fill_shard`, which stores a shard and its receipt in the lake, so that the bytes are the
same, and a worker that dies costs the shard that it was filling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from shotlake.config import FlowConfig
from shotlake.flow.pools import answer, cluster
from shotlake.index.fill import Fill, FillTask, ShardRun, fill_here, fill_shard
from shotlake.index.receipts import FilledShard
from shotlake.index.rows import RowSource

_MEMORY_SHARE = 0.7  # of a node; the rest is the page cache's and Ray's
RETRIES = 3


def filler(config: FlowConfig) -> Fill:
    """What fills the shards of a build: Ray if that is the engine and there is more than one to fill."""

    def fill(task: FillTask, runs: Sequence[ShardRun], rows: RowSource) -> Iterator[FilledShard | None]:
        if config.engine == "local" or len(runs) == 1:
            yield from fill_here(task, runs, rows)
            return
        with cluster(config):
            yield from fill_in_ray(task, runs, rows)

    return fill


def fill_in_ray(task: FillTask, runs: Sequence[ShardRun], rows: RowSource) -> Iterator[FilledShard | None]:
    """A Ray task a shard, in the order of the shards. Errors: as `fill_shard`."""
    import ray

    fill = ray.remote(fill_shard).options(num_cpus=reserved_cpus(task.memory_bytes), max_retries=RETRIES)
    shared = ray.put(task), ray.put(rows)
    waiting = [fill.remote(shared[0], run, shared[1]) for run in runs]
    yield from map(answer, waiting)


def reserved_cpus(needed_bytes: int) -> int:
    """Cores that a task of so much memory reserves, on whichever node of the cluster it runs."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return min(cpus_a_task(int(node["CPU"]), node.get("memory", math.inf), needed_bytes) for node in nodes)


def cpus_a_task(cpus: int, memory_bytes: float, needed_bytes: int) -> int:
    """Cores that a task reserves so that no more run on a node than fit into its memory."""
    fitting = max(1, int(_MEMORY_SHARE * memory_bytes / max(needed_bytes, 1))) if math.isfinite(memory_bytes) else cpus
    return max(1, math.ceil(cpus / fitting))
