"""CPU seconds by arithmetic: what was measured is met, and each part grows with what it depends on."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import pytest

from shotlake.config import IndexConfig
from shotlake.index.effort import Effort, effort
from shotlake.index.sizing import plan_index

QUERIES = 1_500
DECADES = [10**6, 10**7, 10**8, 10**9, 10**10]


def of(n_rows: int, dim: int = 512, codec: str = "pq") -> Effort:
    section = {"exact_below": n_rows} if codec == "exact" else {"exact_below": 0, "codec": codec}
    return effort(plan_index(n_rows, dim, IndexConfig(**section)), 1, QUERIES)


# `python tests/bench/index_cpu.py --build ROWS DIM CODEC`
MEASURED = {
    (30_000, 512, "pq"): 12.6,
    (100_000, 256, "pq"): 19.6,
    (100_000, 512, "pq"): 27.9,
    (300_000, 256, "pq"): 45.3,
    (300_000, 512, "pq"): 62.6,
    (1_000_000, 512, "pq"): 211.5,
    (100_000, 256, "rabitq"): 10.0,
    (100_000, 256, "pqfs"): 8.7,
    (100_000, 512, "exact"): 12.7,
}


@pytest.mark.parametrize("build", MEASURED, ids=str)
def test_measured_builds_took_what_is_said_within_half_of_it(build: tuple[int, int, str]) -> None:
    assert 1 / 1.5 < MEASURED[build] / of(*build).cpu_s < 1.5


def test_every_part_is_in_the_sum_and_more_rows_cost_more() -> None:
    some = of(10**6)
    assert some.cpu_s == pytest.approx(sum(getattr(some, part.name) for part in fields(some)))
    assert all(getattr(some, part.name) > 0 for part in fields(some))
    seconds = [of(n_rows).cpu_s for n_rows in DECADES]
    assert all(5 < more / less < 20 for less, more in pairwise(seconds))


def test_spaces_add_up_and_an_update_pays_for_its_rows_alone() -> None:
    plan = plan_index(10**6, 512, IndexConfig())
    one, two = (effort(plan, n_spaces, QUERIES) for n_spaces in (1, 2))
    assert two.cpu_s == pytest.approx(2 * one.cpu_s)
    fresh = effort(plan, 1, QUERIES, fresh_rows=10**5)
    assert (fresh.clustering_s, fresh.codebook_s) == (0, 0)
    assert fresh.assigning_s == pytest.approx(one.assigning_s / 10)
    assert fresh.tuning_s == one.tuning_s


def test_a_graph_over_the_centroids_makes_assigning_cheaper() -> None:
    flat, graph = of(10**7), of(10**8)  # 16,384 and 65,536 lists
    assert graph.assigning_s < 10 * flat.assigning_s


def test_an_exact_index_trains_nothing() -> None:
    exact = of(100_000, codec="exact")
    assert exact.clustering_s == 0 and exact.codebook_s < 0.001
