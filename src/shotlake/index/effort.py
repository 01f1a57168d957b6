"""CPU seconds of a build, said before it: pure arithmetic from a plan and from what a unit of each part takes.

The constants are seconds of one thread of one machine, which `tests/bench/index_cpu.py` measures anew; the cores of
another are faster or slower in all of them alike. Nothing was clustered into more than 4,096 lists and no graph was
built over more than 65,536: beyond, the seconds are a calculation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from shotlake.index.sizing import (
    HNSW_FROM_LISTS,
    ITERATIONS,
    NEAR_GROUPS,
    NEAR_ITERATIONS,
    PQ_CENTROIDS,
    PRUNED_FROM_LISTS,
    TWO_LEVELS_FROM_LISTS,
    Codec,
    IndexPlan,
)

# A row, list and value: of an iteration of k-means, of assigning rows to lists, of comparing rows with queries.
PLAIN_S, PRUNED_S, ASSIGN_S, TRUTH_S = 2.1e-11, 1.1e-11, 2.0e-11, 2.5e-11
# A row, value and doubling of the lists: of building the graph over the centroids, and of finding a row's list in it.
GRAPH_S, DESCEND_S = 3.0e-8, 1.8e-8
# A row and value.
CODEBOOK_S: dict[Codec, float] = {"exact": 0.0, "pq": 3.3e-7, "pqfs": 1.0e-9, "rabitq": 0.0}
ENCODE_S: dict[Codec, float] = {"exact": 3.2e-9, "pq": 2.5e-8, "pqfs": 1.2e-8, "rabitq": 1.0e-8}
ROW_S = 8.0e-8  # read twice from Parquet, sampled, widened, written, hashed
CODEBOOK_ROWS = PQ_CENTROIDS * 256  # faiss takes no more for a codebook
# Tuning: a query at one nprobe, a byte of a code that it scans, and how many lists it probes at the end.
SETTING_S, TUNED_LISTS = 1.3e-4, 192
SCAN_S: dict[Codec, float] = {"exact": 3.7e-11, "pq": 1.25e-9, "pqfs": 1.0e-10, "rabitq": 1.4e-9}


@dataclass(frozen=True, slots=True)
class Effort:
    """CPU seconds of the parts of a build, of all spaces together."""

    clustering_s: float
    codebook_s: float
    assigning_s: float
    encoding_s: float
    truth_s: float
    rows_s: float
    tuning_s: float

    @property
    def cpu_s(self) -> float:
        """All of it."""
        return float(sum(getattr(self, part.name) for part in fields(self)))


def effort(plan: IndexPlan, n_spaces: int, n_queries: int, fresh_rows: int | None = None) -> Effort:
    """What a build takes whose recall is measured with so many queries a space.

    `fresh_rows`: of an update, which trains nothing, fills these rows and tunes on all.
    """
    n_rows = plan.n_rows if fresh_rows is None else fresh_rows
    values = n_rows * plan.index_dim
    trains = fresh_rows is None
    return Effort(
        clustering_s=n_spaces * _clustering_s(plan) * trains,
        codebook_s=n_spaces * _codebook_s(plan) * trains,
        assigning_s=n_spaces * _assigning_s(n_rows, plan),
        encoding_s=n_spaces * values * ENCODE_S[plan.codec],
        truth_s=n_spaces * values * n_queries * TRUTH_S,
        rows_s=n_spaces * values * ROW_S,
        tuning_s=n_spaces * n_queries * _tuning_s(plan),
    )


def _clustering_s(plan: IndexPlan) -> float:
    """Centroids of one space, and the graph over them where there is one."""
    if plan.codec == "exact":
        return 0.0
    graph_s = plan.nlist * plan.index_dim * math.log2(plan.nlist) * GRAPH_S if plan.nlist >= HNSW_FROM_LISTS else 0.0
    if plan.nlist >= TWO_LEVELS_FROM_LISTS:
        n_groups = math.isqrt(plan.nlist)
        a_group = plan.nlist / n_groups
        compared = n_groups + ITERATIONS * a_group + NEAR_ITERATIONS * (n_groups + NEAR_GROUPS * a_group)
        return plan.train_rows * compared * plan.index_dim * PLAIN_S + graph_s
    product_s = PRUNED_S if plan.nlist >= PRUNED_FROM_LISTS else PLAIN_S
    return ITERATIONS * plan.train_rows * plan.nlist * plan.index_dim * product_s + graph_s


def _codebook_s(plan: IndexPlan) -> float:
    """The codebook of one space, which is of what is left of the sample once its lists are known."""
    n_rows = min(plan.train_rows, CODEBOOK_ROWS) if plan.codec == "pq" else plan.train_rows
    return n_rows * plan.index_dim * CODEBOOK_S[plan.codec] + _assigning_s(n_rows, plan)


def _assigning_s(n_rows: int, plan: IndexPlan) -> float:
    """Rows of one space to their lists."""
    if plan.nlist >= HNSW_FROM_LISTS:
        return n_rows * plan.index_dim * math.log2(plan.nlist) * DESCEND_S
    return n_rows * plan.index_dim * plan.nlist * ASSIGN_S


def _tuning_s(plan: IndexPlan) -> float:
    """One query: nprobe doubles until it reads TUNED_LISTS lists, or all there are."""
    last = min(plan.nlist, TUNED_LISTS)
    scanned = (2 * last - 1) * plan.n_rows / plan.nlist
    return (math.log2(last) + 1) * SETTING_S + scanned * plan.code_bytes * SCAN_S[plan.codec]
