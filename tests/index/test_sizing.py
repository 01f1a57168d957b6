"""The sizes of DESIGN's table, by arithmetic."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
import pytest
from toy_vectors import clustered

from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.sizing import HNSW_FROM_LISTS, check_budget, list_count, plan_index
from shotlake.index.training import _coarse_quantiser, _empty_index, train_space


@pytest.mark.parametrize(
    ("n_rows", "nlist"),
    [(10**6, 4096), (10**7, 16384), (10**8, 65536), (10**9, 262144), (10**10, 1048576), (1000, 16), (300, 4), (20, 1)],
)
def test_list_count(n_rows, nlist):
    assert list_count(n_rows) == nlist


@pytest.mark.parametrize(("n_rows", "sample", "shards"), [(10**6, 262_144, 1), (10**8, 4_194_304, 4)])
def test_sample_and_shards(n_rows, sample, shards):
    plan = plan_index(n_rows, 512, IndexConfig())
    assert (plan.train_rows, plan.n_shards) == (sample, shards)


@pytest.mark.parametrize(
    ("n_rows", "factory", "sample", "shards", "ram_gb", "disk_gb"),
    [
        (10**6, "IVF4096,PQ64", 262_144, 1, 0.08, 1.4),
        (10**7, "IVF16384,PQ64", 1_048_576, 1, 0.74, 14),
        (10**8, "IVF65536_HNSW32,PQ64", 4_194_304, 4, 7.3, 140),
        (10**9, "IVF262144_HNSW32,PQ64", 16_777_216, 40, 73, 1_420),
        (10**10, "IVF1048576_HNSW32,PQ64", 67_108_864, 400, 722, 14_800),
    ],
)
def test_sizes_by_decade(n_rows, factory, sample, shards, ram_gb, disk_gb):
    plan = plan_index(n_rows, 512, IndexConfig())
    assert (plan.factory, plan.train_rows, plan.n_shards) == (factory, sample, shards)
    assert plan.ram_bytes / 1e9 == pytest.approx(ram_gb, rel=0.05)
    assert plan.scratch_bytes(1) / 1e9 == pytest.approx(disk_gb, rel=0.05)


@pytest.mark.parametrize("dim", [60, 64])
@pytest.mark.parametrize("codec", ["exact", "pq", "pqfs", "rabitq"])
def test_faiss_makes_the_same_index_of_the_factory_string(codec, dim):
    config = IndexConfig() if codec == "exact" else IndexConfig(exact_below=0, codec=codec)
    plan = plan_index(1_000, dim, config)
    ours = train_space(clustered(1_000, dim, seed=1), plan)
    named = faiss.index_factory(plan.index_dim, plan.factory, faiss.METRIC_INNER_PRODUCT)
    assert (type(ours), ours.code_size, ours.nlist) == (type(named), named.code_size, named.nlist)
    assert ours.code_size == plan.code_bytes


def test_the_graph_over_many_centroids_is_in_the_factory_string():
    plan = replace(plan_index(10**8, 8, IndexConfig()), nlist=HNSW_FROM_LISTS)
    centroids = np.random.default_rng(1).standard_normal((plan.nlist, 8), dtype=np.float32)
    ours = _empty_index(_coarse_quantiser(centroids, plan), plan)
    named = faiss.index_factory(plan.index_dim, plan.factory, faiss.METRIC_INNER_PRODUCT)
    assert plan.factory == "IVF32768_HNSW32,PQ1"
    graphs = [faiss.downcast_index(index.quantizer) for index in (ours, named)]
    assert [type(graph) for graph in graphs] == [faiss.IndexHNSWFlat] * 2
    assert graphs[0].hnsw.nb_neighbors(1) == graphs[1].hnsw.nb_neighbors(1)
    assert (type(ours), ours.code_size, ours.nlist) == (type(named), named.code_size, named.nlist)


@pytest.mark.parametrize(
    ("section", "n_spaces", "words"),
    [
        (
            {"max_ram_bytes": 100_000_000_000},
            2,
            "1,000,000,000 rows as IVF262144_HNSW32,PQ64 in 2 space(s) need about 145.1 GB of RAM, index.max_ram_bytes "
            "allows 100.0 GB; take a space out of index.spaces, or raise index.max_ram_bytes",
        ),
        ({"max_disk_bytes": 10**12}, 1, "of disk, index.max_disk_bytes allows 1.0 TB; raise index.max"),
        (
            {"max_ram_bytes": 75 * 10**9, "codec": "rabitq"},
            1,
            "allows 75.0 GB; set index.codec to pq, or raise index.max_",
        ),
        ({"max_ram_bytes": 10**12, "exact_below": 10**9}, 1, "as IVF1,SQfp16 in 1 space(s) need about 1.0 TB of RAM"),
    ],
)
def test_a_generation_over_its_budget_is_refused_in_one_sentence(section, n_spaces, words):
    config = IndexConfig(**section)
    plan = plan_index(10**9, 512, config)
    with pytest.raises(IndexingError) as caught:
        check_budget(plan, n_spaces, config)
    assert words in caught.value.message


def test_a_budget_is_of_all_spaces_together_and_zero_is_none():
    plan = plan_index(10**6, 512, IndexConfig())
    fitting = IndexConfig(max_ram_bytes=plan.ram_bytes * 2, max_disk_bytes=plan.scratch_bytes(2))
    check_budget(plan, 2, fitting)
    check_budget(plan, 100, IndexConfig())
    with pytest.raises(IndexingError, match="RAM"):
        check_budget(plan, 3, fitting)


def test_bytes_a_vector():
    pq = plan_index(10**6, 512, IndexConfig())
    assert pq.code_bytes + 8 == 72
    assert pq.ram_bytes / pq.n_rows < 77  # centroids are float16
    assert plan_index(10**6, 512, IndexConfig(codec="rabitq")).code_bytes + 8 == 80
    assert plan_index(10**6, 1020, IndexConfig()).index_dim == 1024


def test_memory_of_a_build_is_that_of_its_sample_or_of_its_shards():
    small, large = (plan_index(n, 512, IndexConfig()) for n in (10**6, 10**9))
    assert 1.2e9 < small.build_bytes(1, 1_500) < 1.6e9
    assert small.build_bytes(2, 1_500) - small.build_bytes(1, 1_500) == small.train_rows * 512 * 2
    codes_of_a_shard = large.rows_per_shard * (large.code_bytes + 8)
    exact = plan_index(200_000, 512, IndexConfig())
    assert exact.build_bytes(1, 1_500) > 1.5 * exact.n_rows * exact.code_bytes
    assert large.build_bytes(2, 1_500) > 3 * codes_of_a_shard


def test_exact_at_the_border():
    config = IndexConfig(exact_below=500)
    assert plan_index(500, 64, config).codec == "exact"
    assert plan_index(501, 64, config).codec == "pq"


def test_too_few_rows():
    with pytest.raises(IndexingError, match="needs 256 rows to train, the table has 255"):
        plan_index(255, 64, IndexConfig(exact_below=0))
