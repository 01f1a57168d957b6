"""The index against bare faiss on the same rows: `python tests/bench/bench_index.py [--rows N] [--dim D]`, JSON lines.

Rows are synthetic (`index_world.py`), and then `--mini N` clips of the rendered world, embedded by the shipped encoder
in a process for each core, with captions as queries (75 clips a second and core), or found where `--folder` has them
of an earlier run. `--large` does 1024 dimensions and ten million rows as well: hours, 30 GB of disk. Times are ratios
of one thread in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from index_memory import generation_bytes, reset_peak, status_bytes
from index_mini import embed_world
from index_world import BLOCK, N_QUERIES, Synthetic, batches, saved_blocks

from shotlake.config import IndexConfig
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.centroids import SEED
from shotlake.index.columns import COLUMNS
from shotlake.index.depth import Depth
from shotlake.index.manifest import Manifest
from shotlake.index.publish import publish
from shotlake.index.rows import MOST_SEGMENT_QUERIES
from shotlake.index.searcher import Searcher
from shotlake.index.sizing import ITERATIONS
from shotlake.index.training import padded, wide_quantiser
from shotlake.index.truth import Truth
from shotlake.query.fresh import FreshRows
from shotlake.query.live import LiveRows
from shotlake.records import Fingerprint

LARGE = ((1_000_000, 1024), (10_000_000, 512))
HIT_COLUMNS = ["segment_id", "video_id", "uri", "start_us", "end_us"]


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


def bare_build(rows: np.ndarray, manifest: Manifest) -> float:
    """CPU seconds of faiss alone: its k-means, codebook and codes, of the same rows."""
    plan = manifest.plan
    started = time.process_time()
    sample = padded(rows[: plan.train_rows], plan.index_dim)
    points = -(-len(sample) // plan.nlist)
    kmeans = faiss.Kmeans(
        plan.index_dim, plan.nlist, niter=ITERATIONS, seed=SEED, spherical=True, max_points_per_centroid=points
    )
    kmeans.train(sample)
    quantiser = faiss.IndexFlatIP(plan.index_dim)
    quantiser.add(kmeans.centroids)
    index = faiss.IndexIVFPQ(quantiser, plan.index_dim, plan.nlist, plan.index_dim // 8, 8, faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    for start in range(0, len(rows), BLOCK):
        index.add(padded(rows[start : start + BLOCK], plan.index_dim))
    return time.process_time() - started


def run(rows: Path, n: int, queries: TextQueries, root: str, shards: int = 1) -> tuple[Manifest, Searcher]:
    """Build, publish and load a generation of saved rows."""
    dim = queries.vectors["fused"].shape[1]
    config = IndexConfig(
        exact_below=0, spaces=("fused",), min_queries=500, rows_per_shard=-(-n // shards), target_recall=0.95
    )
    target = GenerationTarget(root, f"bench-{n}-{shards}", Fingerprint("bench", "1", "", ""), "bench", 1)
    manifest = build_generation(
        lambda first: batches(saved_blocks(rows, dim, first), n, first), n, target, queries, config
    )
    publish(root, manifest)
    return manifest, Searcher.load(root, manifest, Path(root) / "cache")


def bench_build(rows: Path, world: Synthetic, root: str) -> tuple[Manifest, Searcher]:
    """CPU and memory of a build against bare faiss and against its own plan."""
    reading = time.process_time()
    for _ in batches(saved_blocks(rows, world.dim), world.n):
        pass
    reading = time.process_time() - reading  # of the rows and their columns, which the bare build does not make
    before = status_bytes("VmRSS")
    reset_peak()
    manifest, searcher = run(rows, world.n, TextQueries("synthetic", {"fused": world.texts()}), root)
    peak = status_bytes("VmHWM") - before
    planned = manifest.plan.build_bytes(1, N_QUERIES + MOST_SEGMENT_QUERIES)
    note = f"{peak / 1e6:.0f} MB above what the process had, {planned / 1e6:.0f} MB planned"
    report("index.build_rss", peak / planned, 1.1, "max", "ratio", note)
    ours = manifest.cost.cpu_s - 2 * reading
    bare = bare_build(np.memmap(rows, np.float32, "r").reshape(-1, world.dim), manifest)
    note = f"{ours:.0f} s and {bare:.0f} s; with truth and tuning"
    report("index.build_over_bare", ours / bare, 1.2, "max", "ratio of CPU seconds", note)
    return manifest, searcher


def bench_recall(manifest: Manifest, name: str = "") -> None:
    for kind, bound in (("segment", 0.98), ("text", 0.95)):
        tuning = manifest.spaces["fused"].tuning[kind]
        point = tuning.chosen
        note = f"{tuning.n_queries} queries, {manifest.n_rows} rows, nprobe {point.nprobe}, R {point.rerank}"
        report(f"index.recall.{name}{kind}", point.lower_bound, bound, "min", "recall@10, lower 95% bound", note)


def bench_reference(world: Synthetic, searcher: Searcher) -> None:
    """Whether the rows are as hard as those of the reference, of a million rows of 512 values."""
    vectors = searcher.spaces["fused"]
    for kind, nprobe, wanted, bound in (("segment", 8, 0.60, 0.03), ("text", 32, 0.97, 0.01)):
        truth = Truth.load(searcher.files[searcher.manifest.spaces["fused"].truths[kind]])
        deep = 11 if kind == "segment" else world.n // 20
        rows = vectors.candidates(truth.queries, nprobe, min(deep, world.n)).rows
        recall = float(truth.recall(rows, vectors.scores)[:, -1].mean())
        name = "raw recall@10 of the codes" if kind == "segment" else "coarse ceiling"
        note = f"{name} {recall:.3f} at nprobe {nprobe}, the reference {wanted}"
        report(f"index.reference.{kind}", abs(recall - wanted), bound, "max", "difference", note)


def bench_search(world: Synthetic, searcher: Searcher) -> None:
    texts, vectors, point = world.texts(), searcher.spaces["fused"], searcher.point("fused")
    index, rows = faiss.clone_index(vectors.shards[0].index), vectors.shards[0].rows
    flat = wide_quantiser(index.quantizer)  # what an IVF of faiss has
    index.quantizer, index.own_fields = flat, False
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
        lambda k: many.nearest(texts[k], "fused", 10, Depth()),
        lambda k: none.nearest(texts[k], "fused", 10, Depth()),
        rounds=3,
    )
    report("index.fresh50k", ratio, 2, "max", "ratio of p50", "with 50,000 rows that are not indexed, and without")


def bench(rows: int, dim: int) -> None:
    """Every row of the table for so many synthetic vectors."""
    world = Synthetic(rows, dim)
    with tempfile.TemporaryDirectory(prefix="bench-index-") as scratch:
        saved = Path(scratch) / "rows.f32"
        world.save(saved)
        manifest, searcher = bench_build(saved, world, scratch)
        bench_recall(manifest)
        bench_reference(world, searcher)
        in_ram = generation_bytes(scratch, manifest.embed_key, Path(scratch) / "cache") / manifest.n_rows
        note = f"resident once every code was scanned; {manifest.plan.ram_bytes / manifest.n_rows:.1f} by the plan"
        report("index.bytes_per_vector", in_ram, 80, "max", "bytes", note)
        bench_search(world, searcher)
        bench_filters(world, searcher)
        bench_fresh(world, searcher)
        texts = world.texts()
        many = run(saved, world.n, TextQueries("synthetic", {"fused": texts}), scratch, shards=16)[1]
        ratio = alternating(
            lambda n: many.search_vectors(texts[n : n + 1], "fused", 10),
            lambda n: searcher.search_vectors(texts[n : n + 1], "fused", 10),
        )
        report("index.shards16_over_1", ratio, 2, "max", "ratio of p50", "each at its own tuned point")


def bench_mini(n: int, folder: Path | None) -> None:
    """The recall on vectors of the shipped encoder, of clips of the rendered world, with captions as queries."""
    with tempfile.TemporaryDirectory(prefix="bench-index-") as scratch:
        saved, queries = embed_world(n, folder or Path(scratch))
        manifest, _ = run(saved, n, TextQueries("captions of other scenes", {"fused": queries}), scratch)
        bench_recall(manifest, "mini_")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--mini", type=int, default=200_000, help="clips to render and embed: 0 leaves these lines out")
    parser.add_argument("--only-mini", action="store_true", help="leave the synthetic rows out")
    parser.add_argument("--folder", type=Path, help="where the vectors of the clips are kept for the next run")
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    synthetic = [] if arguments.only_mini else [(arguments.rows, arguments.dim), *(LARGE if arguments.large else ())]
    for rows, dim in synthetic:
        print(f"{rows} rows of {dim} values", file=sys.stderr)
        bench(rows, dim)
    if arguments.mini:
        bench_mini(arguments.mini, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
