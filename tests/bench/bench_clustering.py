"""Ways to find the centroids of many lists: `python tests/bench/bench_clustering.py [--lists N] [--dim D]`.

JSON lines, one a way, on synthetic rows (`index_world.py`): CPU seconds of one thread, the mean product of 20,000 other
rows with their nearest centroid, imbalance of the lists, and the part of the exact ten best of 500 other rows that
stands in the 32 nearest lists. The last line is of a flat search in blocks, which is what assigns rows, and of the same
product by numpy: run it again with OPENBLAS_CORETYPE set to compare kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import faiss
import numpy as np
from index_world import Synthetic

from shotlake.index import centroids

ROWS, OTHERS, QUERIES, NPROBE = 200_000, 20_000, 500, 32
NEVER = 1 << 62


def cpu_s(call: Callable[[], object], n: int = 1) -> float:
    """The least CPU time of n calls."""
    spans = []
    for _ in range(n):
        started = time.process_time()
        call()
        spans.append(time.process_time() - started)
    return round(min(spans), 3)


def pruned_from(lists: int, find: Callable[[], np.ndarray]) -> np.ndarray:
    """Centroids where SuperKMeans begins at so many lists."""
    kept, centroids.PRUNED_FROM_LISTS = centroids.PRUNED_FROM_LISTS, lists
    try:
        return find()
    finally:
        centroids.PRUNED_FROM_LISTS = kept


def quality(found: np.ndarray, rows: np.ndarray, others: np.ndarray, best: np.ndarray) -> dict[str, float]:
    flat = faiss.IndexFlatIP(found.shape[1])
    flat.add(found)
    lists = flat.search(rows, 1)[1][:, 0]
    probed = flat.search(others[: len(best)], NPROBE)[1]
    reached = (lists[best][:, :, None] == probed[:, None, :]).any(2).mean()
    sizes = np.bincount(lists, minlength=len(found)).astype(float)
    return {
        "mean_product": round(float(flat.search(others, 1)[0].mean()), 5),
        "imbalance": round(float(len(found) * (sizes**2).sum() / sizes.sum() ** 2), 3),
        "reached": round(float(reached), 4),
    }


def bench(nlist: int, dim: int, points: int, only: list[str]) -> None:
    world = Synthetic(max(nlist * points, ROWS), dim)
    sample, others = world.draw(nlist * points, 1), world.draw(OTHERS, 2)
    rows = sample[:ROWS]
    exact = faiss.IndexFlatIP(dim)
    exact.add(rows)
    best = exact.search(others[:QUERIES], 10)[1]
    one, two = centroids.in_one_level, centroids.in_two_levels
    ways = {
        "one-level": lambda: pruned_from(NEVER, lambda: one(sample, nlist)),
        "one-level-super": lambda: pruned_from(1, lambda: one(sample, nlist)),
        "two-levels": lambda: pruned_from(NEVER, lambda: two(sample, nlist)),
        "two-levels-super": lambda: pruned_from(1, lambda: two(sample, nlist)),
    }
    for name in only or ways:
        kept: list[np.ndarray] = []
        seconds = cpu_s(lambda name=name, kept=kept: kept.append(ways[name]()))
        line = {"way": name, "lists": nlist, "dim": dim, "sample": len(sample), "cpu_s": seconds}
        print(json.dumps({**line, **quality(kept[0], rows, others, best)}), flush=True)


def bench_kernels(dim: int) -> None:
    rows = Synthetic(ROWS, dim).draw(16_384, 1)
    flat = faiss.IndexFlatIP(dim)
    flat.add(rows[:4_096])
    line = {"core": os.environ.get("OPENBLAS_CORETYPE", ""), "flat_cpu_s": cpu_s(lambda: flat.search(rows, 1), 9)}
    print(json.dumps({**line, "numpy_cpu_s": cpu_s(lambda: rows @ rows[:4_096].T, 9)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=int, default=16_384)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--points", type=int, default=39, help="rows of the sample a list")
    parser.add_argument("--only", nargs="*", default=[], help="these ways only; `kernels`: the last line only")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if arguments.only != ["kernels"]:
        bench(arguments.lists, arguments.dim, arguments.points, arguments.only)
    bench_kernels(512)


if __name__ == "__main__":
    main()
