"""What each part of a build costs a unit of its work: `OMP_NUM_THREADS=1 python tests/bench/index_cpu.py [PART...]`.

JSON lines of CPU seconds, for the constants of `shotlake.index.effort`; `--build ROWS DIM CODEC` is a whole build
beside what `effort` says of it. Process time of one thread, so that another load of the machine counts for little.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from index_world import N_QUERIES, Synthetic, batches

from shotlake.config import IndexConfig
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.effort import effort
from shotlake.index.rows import MOST_SEGMENT_QUERIES, blocks, skip_rows, vectors_of
from shotlake.index.shard import ShardPlace, build_shard
from shotlake.index.sizing import BLOCK_ROWS, plan_index
from shotlake.index.training import _centroids, _coarse_quantiser, _empty_index, padded
from shotlake.index.truth import Truth
from shotlake.records import Fingerprint, stable_id


def rows_of(n: int, dim: int) -> np.ndarray:
    """[n, dim] unit vectors of the synthetic world."""
    return np.concatenate(list(Synthetic(n, dim).blocks()))


def cpu_s(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def report(part: str, seconds: float, units: float, note: str) -> None:
    line = {"part": part, "cpu_s": round(seconds, 2), "s_a_unit": float(f"{seconds / units:.3g}"), "note": note}
    print(json.dumps(line), flush=True)


def clustering() -> None:
    """A unit: one iteration, one row, one list, one value."""
    for n_rows, dim in (
        (30_000, 512),
        (100_000, 256),
        (300_000, 256),
        (100_000, 512),
        (300_000, 512),
        (1_000_000, 512),
    ):
        plan = plan_index(n_rows, dim, IndexConfig(exact_below=0))
        sample = padded(rows_of(plan.train_rows, dim), plan.index_dim)
        seconds = cpu_s(lambda s=sample, p=plan: _centroids(s, p))
        units = 12 * plan.train_rows * plan.nlist * plan.index_dim
        report("clustering", seconds, units, f"{plan.nlist} lists, {plan.train_rows} x {dim}")


def codebook() -> None:
    """A unit: one row of the sample, one value."""
    for codec, dim in (("pq", 512), ("pq", 256), ("pqfs", 512), ("rabitq", 512)):
        plan = plan_index(30_000, dim, IndexConfig(exact_below=0, codec=codec))
        sample = padded(rows_of(100_000, dim), plan.index_dim)
        quantiser = faiss.IndexFlatIP(dim)
        quantiser.add(sample[: plan.nlist])
        index = _empty_index(quantiser, plan)
        seconds = cpu_s(lambda i=index, s=sample: i.train(s))
        report("codebook", seconds, 65_536 * dim, f"{codec}, {dim} values, {plan.nlist} lists")


def encoding() -> None:
    """A unit: one row, one value; the lists are known."""
    for codec, dim in (("pq", 512), ("pq", 256), ("pqfs", 512), ("rabitq", 512), ("exact", 512)):
        config = IndexConfig(exact_below=10**6) if codec == "exact" else IndexConfig(exact_below=0, codec=codec)
        plan = plan_index(65_536, dim, config)
        rows = padded(rows_of(65_536, dim), plan.index_dim)
        quantiser = faiss.IndexFlatIP(dim)
        quantiser.add(rows[: plan.nlist])
        index = _empty_index(quantiser, plan)
        index.train(rows[:20_000])
        lists = np.zeros(len(rows), dtype=np.int64)
        if codec == "pqfs":
            seconds = cpu_s(lambda i=index, r=rows: i.add(r)) - cpu_s(lambda q=quantiser, r=rows: q.assign(r, 1))
        else:
            pointer, count = faiss.swig_ptr(lists), len(rows)
            seconds = cpu_s(lambda i=index, r=rows, p=pointer, c=count: i.add_core(c, faiss.swig_ptr(r), None, p))
        report("encoding", seconds, len(rows) * dim, f"{codec}, {dim} values")


def assigning() -> None:
    """A unit: one row, one list, one value; of HNSW one row, one value, and one doubling of the lists."""
    for nlist, dim in ((1_024, 256), (4_096, 512), (16_384, 512)):
        rows = rows_of(nlist + BLOCK_ROWS, dim)
        wide = faiss.IndexFlatIP(dim)
        wide.add(rows[:nlist])
        seconds = cpu_s(lambda w=wide, r=rows, k=nlist: w.assign(r[k:], 1))
        report("assigning", seconds, BLOCK_ROWS * nlist * dim, f"flat, {nlist} lists, {dim} values")
    for nlist, dim in ((32_768, 256), (65_536, 256), (65_536, 512)):
        rows = rows_of(nlist + BLOCK_ROWS, dim)
        graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        seconds = cpu_s(lambda g=graph, r=rows, k=nlist: g.add(r[:k]))
        report("graph", seconds, nlist * dim * np.log2(nlist), f"building, {nlist} lists, {dim} values")
        seconds = cpu_s(lambda g=graph, r=rows, k=nlist: g.assign(r[k:], 1))
        report("assigning", seconds, BLOCK_ROWS * dim * np.log2(nlist), f"HNSW, {nlist} lists, {dim} values")


def truth() -> None:
    """A unit: one row, one query, one value; of rows behind the first blocks, of which most are no news."""
    for dim in (256, 512):
        world = Synthetic(300_000, dim)
        found = Truth(world.texts())
        seconds, n_rows = 0.0, 0
        for rows in world.blocks():
            ids = pa.array([stable_id(k) for k in range(len(rows))])
            seconds += cpu_s(lambda t=found, r=rows, i=ids, n=n_rows: t.add(n, i, r))
            n_rows += len(rows)
        report("truth", seconds, n_rows * N_QUERIES * dim, f"{N_QUERIES} queries, {n_rows} rows of {dim} values")


def writing() -> None:
    """A unit: one row, one value: sample, conversion, files and their hashes, everything but the codes."""
    for dim in (64, 512):
        world = Synthetic(100_000, dim)
        given = list(batches(world.blocks(), world.n))
        table = pa.Table.from_batches(given)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            pq.write_table(table, path)
            seconds = cpu_s(lambda p=path: pq.read_table(p, use_threads=False))
            report("reading", seconds, world.n, f"a row of {dim} values from Parquet")
            plan = plan_index(world.n, dim, IndexConfig())
            index = _empty_index(_coarse_quantiser(np.zeros((1, dim), np.float32), plan), plan)
            index.train(rows_of(16, dim))
            faiss.write_index(index, str(path))
            place = ShardPlace(Path(folder) / "generation", 0, 0)
            parts = (place, dim, blocks(iter(given)), {"fused": path}, {})
            report("filling", cpu_s(lambda p=parts: build_shard(*p)), world.n, f"an exact row of {dim} values")
        seconds = cpu_s(lambda g=given, d=dim: [vectors_of(block, "fused", d) for block in blocks(iter(g))])
        report("vectors_of", seconds, world.n, f"a row of {dim} values")


def stored(path: Path, first: int) -> Iterator[pa.RecordBatch]:
    """Rows of a Parquet file from a row on, as the table gives them."""
    return skip_rows(pq.ParquetFile(path).iter_batches(use_threads=False), first)


def build(n_rows: int, dim: int, codec: str) -> None:
    """A whole build from a Parquet file, in this process, beside what `effort` says of it."""
    world = Synthetic(n_rows, dim)
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "rows.parquet"
        with pq.ParquetWriter(path, next(batches(world.blocks(), n_rows)).schema) as writer:
            for batch in batches(world.blocks(), n_rows):
                writer.write_batch(batch)
        config = IndexConfig(exact_below=n_rows) if codec == "exact" else IndexConfig(exact_below=0, codec=codec)
        config = config.model_copy(update={"spaces": ("fused",)})
        target = GenerationTarget(root, "bench", Fingerprint("bench", "1", "", ""), "bench", 1)
        queries = TextQueries("synthetic", {"fused": world.texts()})
        manifest = build_generation(lambda first: stored(path, first), n_rows, target, queries, config)
        stats = next(Path(root).rglob("stats.json"))
        trained = next(Path(root).rglob("report.json"))
        took = {
            "cpu_s": manifest.cost.cpu_s,
            "train_s": json.loads(trained.read_text())["cpu_s"],
            "fill_s": json.loads(stats.read_text())["cpu_s"],
        }
        lists = {kind: tuning.curve[-1].nprobe for kind, tuning in manifest.spaces["fused"].tuning.items()}
        planned = effort(manifest.plan, 1, N_QUERIES + MOST_SEGMENT_QUERIES)
        print(
            json.dumps(
                {
                    "build": f"{n_rows} x {dim} {codec}",
                    **{name: round(value, 1) for name, value in took.items()},
                    "planned_s": round(planned.cpu_s, 1),
                    "over_plan": round(took["cpu_s"] / planned.cpu_s, 2),
                    "parts": {name: round(value, 1) for name, value in asdict(planned).items()},
                    "tuned_to": lists,
                }
            ),
            flush=True,
        )


PARTS = {part.__name__: part for part in (clustering, codebook, encoding, assigning, truth, writing)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--build", nargs=3, metavar=("ROWS", "DIM", "CODEC"))
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if arguments.build:
        rows, dim, codec = arguments.build
        build(int(rows), int(dim), codec)
        return 0
    for name in arguments.parts or PARTS:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
