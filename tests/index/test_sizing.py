"""The sizes of DESIGN's table, by arithmetic."""

from __future__ import annotations

import pytest

from shotlake.config import IndexConfig
from shotlake.errors import IndexingError
from shotlake.index.sizing import list_count, plan_index


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
