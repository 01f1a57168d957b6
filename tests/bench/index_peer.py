"""One peer on saved rows: `python index_peer.py NAME FOLDER DIM MEMORY_BYTES`, run by an interpreter that has it.

FOLDER holds rows.f32, queries.f32 and floor.f32, the exact score of each query's tenth best row. Prints one JSON line:
build seconds, bytes, and recall and p50 at the defaults and at the first setting that reaches TARGET, or at the best.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

K = 10
TARGET = 0.95
Search = Callable[[np.ndarray], np.ndarray]  # a vector [D] to row numbers
Settings = Iterable[tuple[str, Callable[[], Search]]]  # the first is the default


def autofaiss(rows: np.ndarray, memory_bytes: int, folder: str) -> tuple[int, Settings]:
    import faiss
    from autofaiss import build_index

    faiss.omp_set_num_threads(1)
    budget = f"{memory_bytes // 1024}KB"
    options = {"metric_type": "ip", "max_index_memory_usage": budget, "current_memory_available": "8GB", "nb_cores": 1}
    index, _ = build_index(np.ascontiguousarray(rows), save_on_disk=False, verbose=40, **options)
    path = f"{folder}/autofaiss.index"
    faiss.write_index(index, path)
    search: Search = lambda query: index.search(query[None], K)[1][0]  # noqa: E731

    def probing(n: int) -> Callable[[], Search]:
        def apply() -> Search:
            faiss.ParameterSpace().set_index_parameter(index, "nprobe", n)
            return search

        return apply

    is_ivf = faiss.try_extract_index_ivf(index) is not None
    return Path(path).stat().st_size, [("default", lambda: search)] + [
        (f"nprobe={n}", probing(n)) for n in (1, 4, 16, 64, 256) if is_ivf
    ]


def hnswlib(rows: np.ndarray, memory_bytes: int, folder: str) -> tuple[int, Settings]:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=rows.shape[1])
    index.init_index(max_elements=len(rows), ef_construction=200, M=16)
    index.set_num_threads(1)
    index.add_items(np.ascontiguousarray(rows), num_threads=1)
    index.save_index(f"{folder}/hnsw.bin")

    def with_ef(ef: int) -> Callable[[], Search]:
        def apply() -> Search:
            index.set_ef(ef)
            return lambda query: index.knn_query(query[None], K, num_threads=1)[0][0].astype(np.int64)

        return apply

    size = Path(f"{folder}/hnsw.bin").stat().st_size
    return size, [("default (ef=10)", with_ef(10)), *((f"ef={ef}", with_ef(ef)) for ef in (50, 100, 200, 400, 800))]


def lancedb(rows: np.ndarray, memory_bytes: int, folder: str, codes: int | None = None) -> tuple[int, Settings]:
    import lancedb
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    table = lancedb.connect(folder).create_table("rows", pa.table({"id": np.arange(len(rows)), "vector": vectors}))
    table.create_index(metric="dot", index_type="IVF_PQ", num_sub_vectors=codes)
    size = sum(path.stat().st_size for path in Path(folder).rglob("_indices/**/*") if path.is_file())

    def reading(nprobes: int = 0, refine: int = 0) -> Callable[[], Search]:
        def search(query: np.ndarray) -> np.ndarray:
            asked = table.search(query).limit(K).select(["id"])
            asked = asked.nprobes(nprobes) if nprobes else asked
            asked = asked.refine_factor(refine) if refine else asked
            return asked.to_arrow()["id"].to_numpy()

        return lambda: search

    tuned = [(n, r) for n in (20, 50, 100, 200) for r in (5, 20, 40)]
    return size, [("default", reading()), *((f"nprobes={n} refine_factor={r}", reading(n, r)) for n, r in tuned)]


def measure(search: Search, rows: np.ndarray, queries: np.ndarray, floor: np.ndarray) -> tuple[float, float]:
    """Recall@10 by exact scores, and p50 in ms."""
    spans, recalls = [], []
    for query, least in zip(queries, floor):
        started = time.perf_counter()
        found = search(query)
        spans.append(time.perf_counter() - started)
        found = found[found >= 0]
        recalls.append((rows[found] @ query >= least - 1e-6).sum() / K)
    return round(float(np.mean(recalls)), 4), round(float(np.median(spans)) * 1e3, 3)


def main() -> int:
    name, folder, dim, memory_bytes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rows = np.fromfile(folder / "rows.f32", np.float32).reshape(-1, dim)
    queries = np.fromfile(folder / "queries.f32", np.float32).reshape(-1, dim)
    floor = np.fromfile(folder / "floor.f32", np.float32)
    fine = partial(lancedb, codes=dim // 8)
    peer = {"autofaiss": autofaiss, "hnswlib": hnswlib, "lancedb": lancedb, "lancedb-fine": fine}[name]
    package, *more = name.split("-")
    result: dict[str, Any] = {"peer": " ".join([package, metadata.version(package), *more])}
    with tempfile.TemporaryDirectory() as scratch:
        started = time.process_time()
        size_bytes, settings = peer(rows, memory_bytes, scratch)
        result |= {"build_cpu_s": round(time.process_time() - started, 1), "bytes": size_bytes}
        for number, (label, apply) in enumerate(settings):
            recall, ms = measure(apply(), rows, queries, floor)
            if number == 0:
                result["default"] = {"setting": label, "recall": recall, "p50_ms": ms}
            best = result.get("tuned", {"recall": -1})
            if recall > best["recall"]:
                result["tuned"] = {"setting": label, "recall": recall, "p50_ms": ms}
            if recall >= TARGET:
                break
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
