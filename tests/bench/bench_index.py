"""The index against bare faiss on the same rows: `python tests/bench/bench_index.py [--rows N] [--dim D]`, JSON lines.

Rows are seeded: clusters of uneven size, each with its own few directions of variation. Segment queries are drawn like
the rows; text queries lie beside them by a shared gap, as texts do. Times are ratios of one thread in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa

from shotlake.config import IndexConfig
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.columns import COLUMNS
from shotlake.index.manifest import Manifest
from shotlake.index.publish import publish
from shotlake.index.searcher import Searcher
from shotlake.index.sizing import plan_index
from shotlake.index.training import ITERATIONS, SEED, padded
from shotlake.index.truth import Truth
from shotlake.query.fresh import FreshRows
from shotlake.query.live import LiveRows
from shotlake.records import Fingerprint, stable_id

BLOCK = 20_000
N_QUERIES = 1_000
HIT_COLUMNS = ["segment_id", "video_id", "uri", "start_us", "end_us"]


@dataclass(frozen=True)
class Synthetic:
    """[n, dim] unit vectors that are never in memory together; block b depends on the seed and b only."""

    n: int
    dim: int
    rank: int = 24
    within: float = 1.0
    noise: float = 0.55
    gap: float = 0.35

    @property
    def n_clusters(self) -> int:
        return max(16, self.n // 500)

    def draw(self, count: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([7, seed])
        centres = np.random.default_rng([7, 0, 0]).standard_normal((self.n_clusters, self.dim), dtype=np.float32)
        basis = np.random.default_rng([7, 0, 1]).standard_normal((64, self.rank, self.dim), dtype=np.float32)
        shares = np.random.default_rng([7, 0, 2]).pareto(1.5, self.n_clusters) + 0.2
        cluster = rng.choice(self.n_clusters, count, p=shares / shares.sum())
        along = rng.standard_normal((count, self.rank), dtype=np.float32) / np.sqrt(self.rank)
        rows = centres[cluster]
        for kind in range(64):
            mine = cluster % 64 == kind
            rows[mine] += self.within * (along[mine] @ basis[kind])
        rows += self.noise * rng.standard_normal((count, self.dim), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def blocks(self) -> Iterator[np.ndarray]:
        for number, start in enumerate(range(0, self.n, BLOCK)):
            yield self.draw(min(BLOCK, self.n - start), 1 + number)

    def texts(self) -> np.ndarray:
        rows = self.draw(N_QUERIES, 999_983)
        gap = np.random.default_rng([7, 0, 3]).standard_normal(self.dim).astype(np.float32)
        rows = rows + self.gap * gap / np.linalg.norm(gap)
        rows += (
            self.gap
            * np.random.default_rng([7, 0, 4]).standard_normal(rows.shape, dtype=np.float32)
            / np.sqrt(self.dim)
        )
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def batches(world: Synthetic) -> Iterator[pa.RecordBatch]:
    """The rows as the table gives them, ten segments a video."""
    first = 0
    for rows in world.blocks():
        number = np.arange(first, first + len(rows))
        offsets = np.arange(0, rows.size + 1, world.dim, dtype=np.int32)
        yield pa.record_batch(
            {
                "segment_id": [stable_id(int(k)) for k in number],
                "video_id": [f"video-{k // 10:08d}" for k in number],
                "uri": [f"s3://archive/collection/2026/{k // 10:08d}.mp4" for k in number],
                "start_us": number % 10 * 2_000_000,
                "end_us": number % 10 * 2_000_000 + 2_000_000,
                "recorded_at": pa.nulls(len(rows), pa.timestamp("us", "UTC")),
                "collection": [f"c{k * 100 // world.n}" for k in number],
                "codec": ["h264"] * len(rows),
                "has_audio": [True] * len(rows),
                "duration_us": [20_000_000] * len(rows),
                "fused": pa.ListArray.from_arrays(offsets, pa.array(rows.ravel())),
            }
        )
        first += len(rows)


def report(name: str, value: float, bound: float, sense: str, unit: str, note: str) -> None:
    line = {"name": name, "file": "tests/bench/bench_index.py", "value": round(value, 4), "bound": bound}
    print(json.dumps({**line, "sense": sense, "unit": unit, "note": note}), flush=True)


def timed(call: Callable[[int], object], n: int = 300) -> tuple[float, float]:
    """p50 and p99 in ms."""
    for number in range(20):
        call(number)
    spans = []
    for number in range(n):
        started = time.perf_counter()
        call(number % N_QUERIES)
        spans.append(time.perf_counter() - started)
    return float(np.median(spans) * 1e3), float(np.quantile(spans, 0.99) * 1e3)


def alternating(ours: Callable[[int], object], bare: Callable[[int], object], rounds: int = 9) -> float:
    """Median of the ratios of p50, measured in turns, so that another load of the machine hits both."""
    return float(np.median([timed(ours, 60)[0] / timed(bare, 60)[0] for _ in range(rounds)]))


def bare_build(world: Synthetic, manifest: Manifest) -> float:
    """CPU seconds of faiss alone: the same k-means, codebook and codes from the same rows in memory."""
    plan = manifest.plan
    rows = padded(np.concatenate(list(world.blocks())), plan.index_dim)
    started = time.process_time()
    sample = rows[: plan.train_rows]
    points = -(-len(sample) // plan.nlist)
    kmeans = faiss.Kmeans(
        plan.index_dim, plan.nlist, niter=ITERATIONS, seed=SEED, spherical=True, max_points_per_centroid=points
    )
    kmeans.train(sample)
    quantiser = faiss.IndexFlatIP(plan.index_dim)
    quantiser.add(kmeans.centroids)
    index = faiss.IndexIVFPQ(quantiser, plan.index_dim, plan.nlist, plan.index_dim // 8, 8, faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    index.add(rows)
    return time.process_time() - started


def run(world: Synthetic, shards: int, root: str) -> tuple[Manifest, Searcher, float]:
    """Build, publish and load; gives the CPU seconds of the build without those that draw the rows."""
    config = IndexConfig(
        exact_below=0, spaces=("fused",), min_queries=500, rows_per_shard=-(-world.n // shards), target_recall=0.95
    )
    target = GenerationTarget(root, f"bench-{shards}", Fingerprint("bench", "1", "", ""), "bench", 1)
    drawing = 0.0

    def rows() -> Iterator[pa.RecordBatch]:
        nonlocal drawing
        stream = batches(world)
        while True:
            started = time.process_time()
            batch = next(stream, None)
            drawing += time.process_time() - started
            if batch is None:
                return
            yield batch

    texts = TextQueries("synthetic", {"fused": world.texts()})
    manifest = build_generation(rows, world.n, target, texts, config)
    publish(root, manifest)
    return manifest, Searcher.load(root, manifest, Path(root) / "cache"), manifest.cost.cpu_s - drawing


def bench_recall(manifest: Manifest) -> None:
    for kind, bound in (("segment", 0.98), ("text", 0.95)):
        tuning = manifest.spaces["fused"].tuning[kind]
        point = tuning.chosen
        note = f"{tuning.n_queries} queries, nprobe {point.nprobe}, R {point.rerank}"
        report(f"index.recall.{kind}", point.lower_bound, bound, "min", "recall@10, lower 95% bound", note)
    per_vector = manifest.plan.ram_bytes / manifest.n_rows
    report("index.bytes_per_vector", per_vector, 80, "max", "bytes", "codes, ids and centroids in RAM")


def bench_reference(world: Synthetic, searcher: Searcher) -> None:
    """How hard the rows are, to be compared with FAISS.md at a million rows: not a bound of ours."""
    vectors = searcher.spaces["fused"]
    for kind, nprobe, wanted in (("segment", 8, 0.60), ("text", 32, 0.97)):
        truth = Truth.load(searcher.files[searcher.manifest.spaces["fused"].truths[kind]])
        deep = 11 if kind == "segment" else world.n // 20
        rows = vectors.candidates(truth.queries, nprobe, min(deep, world.n))[1]
        recall = float(truth.recall(rows)[:, -1].mean())
        name = "raw PQ recall" if kind == "segment" else "coarse ceiling"
        report(f"index.reference.{kind}", recall, wanted, "min", name, f"nprobe {nprobe}; {wanted} at 1M x 512")


def bench_search(world: Synthetic, searcher: Searcher) -> None:
    texts, vectors, point = world.texts(), searcher.spaces["fused"], searcher.point("fused", "text")
    index, rows = vectors.shards[0].index, vectors.shards[0].rows
    parameters = faiss.SearchParametersIVF(nprobe=point.nprobe)

    def ours(number: int) -> object:
        return searcher.search_vectors(texts[number : number + 1], "fused", 10)

    def bare(number: int) -> object:
        query = texts[number : number + 1]
        found = index.search(query, point.rerank, params=parameters)[1][0]
        scores = rows[found].astype(np.float32) @ query[0]
        best = np.argsort(-scores)[:10]
        return scores[best], found[best]

    note = f"nprobe {point.nprobe}, R {point.rerank}"
    report("index.search_over_bare", alternating(ours, bare), 1.3, "max", "ratio of p50", note)
    p50, p99 = timed(ours, 1_000)
    report("index.p99_over_p50", p99 / p50, 3, "max", "ratio", f"p50 {p50:.3f} ms")
    found = [searcher.search_vectors(texts[k : k + 1], "fused", 50)[1][0] for k in range(N_QUERIES)]
    hydrate = timed(lambda number: searcher.columns(found[number], HIT_COLUMNS))[0]
    report("index.hydrate_ms", hydrate, 3, "max", "ms", "50 hits, five columns")


def bench_filters(world: Synthetic, searcher: Searcher) -> None:
    texts = world.texts()[:200]
    rng = np.random.default_rng(3)
    one_percent = world.n // 100
    sets = {
        "random": np.sort(rng.choice(world.n, one_percent, replace=False)),
        "contiguous": np.arange(world.n // 2, world.n // 2 + one_percent),
    }
    recalls, times = [], []
    for allowed in sets.values():
        exact = np.sort(texts @ searcher.vectors("fused", allowed).T, axis=1)[:, -10:][:, :1]
        scores = searcher.search_vectors(texts, "fused", 10, allowed=allowed)[0]
        recalls.append(float((scores >= exact - 1e-6).mean()))
        times.append(
            timed(lambda n, a=allowed: searcher.search_vectors(texts[n % 200][None], "fused", 10, allowed=a))[0]
        )
    report("index.filter1.recall", min(recalls), 0.99, "min", "recall@10", "1% of the rows, random and contiguous")
    report("index.filter1.ms", max(times), 5, "max", "ms", f"{one_percent} allowed rows, the slower of both")


def bench_fresh(world: Synthetic, searcher: Searcher) -> None:
    """50,000 rows that are newer than the index, against none."""
    texts, n = world.texts(), 50_000
    vectors = np.concatenate([world.draw(BLOCK, 500_000 + k) for k in range(-(-n // BLOCK))])[:n]
    columns = pa.table({name: pa.nulls(n, field.type) for name, field in zip(COLUMNS.names, COLUMNS)}, schema=COLUMNS)
    none = LiveRows(searcher, FreshRows(0, columns[:0], {"fused": vectors[:0]}), np.empty(0, np.int64))
    many = LiveRows(searcher, FreshRows(n, columns, {"fused": vectors}), np.empty(0, np.int64))
    ratio = alternating(
        lambda k: many.nearest(texts[k], "fused", 10, "text", None, None),
        lambda k: none.nearest(texts[k], "fused", 10, "text", None, None),
        rounds=3,
    )
    report("index.fresh50k", ratio, 2, "max", "ratio of p50", "with 50,000 rows that are not indexed, and without")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    world = Synthetic(arguments.rows, arguments.dim)
    with tempfile.TemporaryDirectory(prefix="bench-index-") as scratch:
        manifest, searcher, build_s = run(world, 1, scratch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        planned = plan_index(world.n, world.dim, IndexConfig(exact_below=0)).ram_bytes
        print(f"built {world.n} x {world.dim}: peak {peak / 1e9:.2f} GB, index {planned / 1e9:.2f} GB", file=sys.stderr)
        bench_recall(manifest)
        bench_reference(world, searcher)
        bench_search(world, searcher)
        bench_filters(world, searcher)
        bench_fresh(world, searcher)
        texts = world.texts()
        _, many, _ = run(world, 16, scratch)
        ratio = alternating(
            lambda n: many.search_vectors(texts[n : n + 1], "fused", 10),
            lambda n: searcher.search_vectors(texts[n : n + 1], "fused", 10),
        )
        report("index.shards16_over_1", ratio, 2, "max", "ratio of p50", "each at its own tuned point")
        ratio = build_s / bare_build(world, manifest)
        report(
            "index.build_over_bare",
            ratio,
            1.2,
            "max",
            "ratio of CPU seconds",
            f"{build_s:.0f} s, truth and tuning included",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
