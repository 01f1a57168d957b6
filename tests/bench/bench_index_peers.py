"""Our index beside other libraries on the same rows: `python tests/bench/bench_index_peers.py [--rows N]`, one table.

Each peer has an environment of its own (`.venv-peers-NAME`, made here if a package registry is at hand) and a process
of its own, with one thread. Recall is that of text-like queries, by exact scores of the rows as they are stored: ours
are float16. Bytes are those of the stored index; the rows themselves, which re-ranking reads from disk, are apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np
from bench_index import run, timed
from index_world import BLOCK, Synthetic

from shotlake.index.build import TextQueries

HERE = Path(__file__).parent
PEERS = {  # what is installed; autofaiss wants NumPy 1, which newer pyarrow does not, and an earlier OPQ of faiss
    "autofaiss": ("autofaiss==2.18.0", "pyarrow<20", "faiss-cpu==1.10.0"),
    "hnswlib": ("hnswlib==0.8.0",),
    "lancedb": ("lancedb==0.40.0",),
    "lancedb-fine": ("lancedb==0.40.0",),  # with codes as long as ours
}
N_QUERIES = 500
HEADERS = ("library", "build CPU s", "bytes a vector", "setting", "recall@10", "p50 ms")


def environment(name: str) -> Path | None:
    """The interpreter that has a peer, or None if it cannot be had."""
    folder = HERE.parents[1] / f".venv-peers-{name.split('-')[0]}"
    python = folder / "bin" / "python"
    if not (folder / ".done").exists():
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[name]]
        for command in ([sys.executable, "-m", "venv", folder], install):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return None
        (folder / ".done").touch()
    return python


def ask(name: str, folder: Path, dim: int, memory_bytes: int) -> dict | None:
    """What `index_peer.py` says of a peer; None if it is absent or fails, and why on stderr."""
    python = environment(name)
    if python is None:
        print(f"{name} cannot be installed here", file=sys.stderr)
        return None
    command = [python, HERE / "index_peer.py", name, folder, str(dim), str(memory_bytes)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "LANCE_CPU_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def ours(world: Synthetic, folder: Path, queries: np.ndarray) -> dict:
    """The same of our own index, at its tuned point, with exact re-ranking from the rows on disk."""
    texts = TextQueries("synthetic", {"fused": world.texts()})
    manifest, searcher = run(folder / "rows.f32", world.n, texts, str(folder))
    floor = tenth_best(world, folder, queries, np.dtype(np.float16))
    scores = searcher.search_vectors(queries, "fused", 10)[0]
    p50 = timed(lambda k: searcher.search_vectors(queries[k % len(queries)][None], "fused", 10))[0]
    point = searcher.point("fused")
    stored = sum(file.size_bytes for file in manifest.files if file.path.endswith("ivf.faiss"))
    measured = {
        "setting": f"nprobe={point.nprobe} R={point.rerank}, as the build chose",
        "recall": round(float((scores >= floor[:, None] - 1e-6).mean()), 4),
        "p50_ms": round(p50, 3),
    }
    return {"peer": "shotlake", "build_cpu_s": round(manifest.cost.cpu_s, 1), "bytes": stored, "default": measured}


def tenth_best(world: Synthetic, folder: Path, queries: np.ndarray, stored: np.dtype) -> np.ndarray:
    """The exact score [Q] of each query's tenth best row, of rows that are rounded to `stored`."""
    rows = np.memmap(folder / "rows.f32", np.float32, "r").reshape(-1, world.dim)
    best = np.full((len(queries), 10), -np.inf, np.float32)
    for start in range(0, world.n, BLOCK):
        block = rows[start : start + BLOCK].astype(stored).astype(np.float32)
        best = np.sort(np.concatenate([best, queries @ block.T], axis=1), axis=1)[:, -10:]
    return best[:, 0].copy()


def print_row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    world = Synthetic(arguments.rows, arguments.dim)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as scratch:
        folder = Path(scratch)
        world.save(folder / "rows.f32")
        queries = np.ascontiguousarray(world.texts()[:N_QUERIES])
        queries.tofile(folder / "queries.f32")
        tenth_best(world, folder, queries, np.dtype(np.float32)).tofile(folder / "floor.f32")
        results = {"shotlake": ours(world, folder, queries)}
        print_row(*HEADERS)
        print_row(*("---" for _ in HEADERS))
        for name in ("shotlake", *PEERS):
            result = results.get(name) or ask(name, folder, world.dim, results["shotlake"]["bytes"])
            if result is None:
                print_row(name, *["absent"] * (len(HEADERS) - 1))
                continue
            per_vector = round(result["bytes"] / world.n, 1)
            for kind in ("default", "tuned"):
                if point := result.get(kind):
                    cells = point["setting"], point["recall"], point["p50_ms"]
                    print_row(result["peer"], result["build_cpu_s"], per_vector, *cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
