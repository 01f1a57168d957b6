"""Shards that are filled side by side have the bytes of those that one process fills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shotlake.config import FlowConfig
from shotlake.errors import IndexingError
from shotlake.flow.fill_shards import cpus_a_task, filler
from shotlake.flow.index_source import IndexSource, text_queries
from shotlake.flow.space import open_space
from shotlake.index.build import build_generation
from shotlake.index.fill import Fill, Train, Workers, fill_here, train_here
from shotlake.index.manifest import Manifest
from shotlake.index.searcher import Searcher


def build(demo_lake, root: Path, fill: Fill, train: Train = train_here) -> Manifest:
    """A generation of the demo lake in shards of twenty rows, below `root`."""
    index = demo_lake.config.index.model_copy(
        update={"exact_below": 0, "codec": "rabitq", "rows_per_shard": 20, "spaces": ("fused", "visual")}
    )
    config = demo_lake.config.model_copy(update={"index": index})
    space = open_space(config)
    source = IndexSource(config, space)
    target = replace(source.target(None), index_root=str(root))
    queries = text_queries(config, space)
    return build_generation(source.all, source.n_rows, target, queries, source.section, Workers(fill, train))


@pytest.mark.ray
def test_ray_fills_the_shards_that_one_process_fills(ray_cluster, demo_lake, tmp_path) -> None:
    here = build(demo_lake, tmp_path / "here", fill_here)
    apart = build(demo_lake, tmp_path / "apart", filler(FlowConfig(engine="ray")))
    assert len(here.shards) >= 3 and here.shards == apart.shards

    def hashes(manifest: Manifest) -> dict[str, str]:
        return {
            file.path.partition("/")[2]: file.sha256
            for file in manifest.files
            if not file.path.startswith("epochs/") and not file.path.endswith(".json")
        }

    assert hashes(here) == hashes(apart)
    assert apart.cost.cpu_s > 0
    assert Searcher.load(str(tmp_path / "apart"), apart).spaces["fused"].n_rows == apart.n_rows


def test_no_more_tasks_than_fit_into_the_memory_of_a_node() -> None:
    assert cpus_a_task(16, 64e9, int(1e9)) == 1
    assert cpus_a_task(16, 64e9, int(10e9)) == 4
    assert cpus_a_task(16, 64e9, int(1e12)) == 16
    assert cpus_a_task(2, float("inf"), int(1e12)) == 1


@pytest.mark.ray
def test_an_error_of_a_worker_is_ours(ray_cluster, demo_lake, tmp_path) -> None:
    def fill(task, runs, rows):
        return filler(FlowConfig(engine="ray"))(replace(task, dim=task.dim + 1), runs, rows)

    with pytest.raises(IndexingError, match="values, the encoder of the queries gives"):
        build(demo_lake, tmp_path / "index", fill)
