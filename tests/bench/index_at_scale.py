"""What a query costs at a billion rows, calculated from what is measured here: `python tests/bench/index_at_scale.py`.

A billion rows in 262,144 lists are 3,815 rows a list. An index of 200,000 rows in 52 lists has lists of that length, so
that probing 32 of them is the same work, but for memory that is cold. The coarse quantiser is an HNSW graph, of which a
smaller one is built; its cost is taken to grow with the logarithm of its size.
"""

from __future__ import annotations

import argparse
import math
import socket
import threading
import time
from collections.abc import Callable

import faiss
import numpy as np

from shotlake.config import IndexConfig
from shotlake.index.exact import best_of
from shotlake.index.sizing import plan_index

ROWS, DIM, N_SHARDS = 10**9, 512, 40  # at index.rows_per_shard of 25 million
NPROBE, RERANK = 32, 200
HIT_BYTES = 12  # score and row


def p50_ms(call: Callable[[], object], clock: Callable[[], float] = time.thread_time, n: int = 200) -> float:
    """Median of n calls, after ten; of CPU time, so that other work on the machine does not count."""
    spans = []
    for _ in range(n + 10):
        started = clock()
        call()
        spans.append(clock() - started)
    return float(np.median(spans[10:])) * 1e3


def unit(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scan_ms(lists: int, rows: int) -> tuple[float, float]:
    """The table that every shard makes of a query, and the codes of NPROBE lists as long as those of a billion rows."""
    quantiser = faiss.IndexFlatIP(DIM)
    quantiser.add(unit(lists, 1))
    index = faiss.IndexIVFPQ(quantiser, DIM, lists, DIM // 8, 8, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.niter = 4  # how good the codes are does not change how long they take
    vectors = unit(rows, 2)
    index.train(vectors[:10_000])
    index.add(vectors)

    def probing(n: int) -> float:
        parameters, queries = faiss.SearchParametersIVF(nprobe=n), iter(unit(400, 3))
        return p50_ms(lambda: index.search(next(queries)[None], RERANK, params=parameters))

    one, many = probing(1), probing(NPROBE)
    a_list = (many - one) / (NPROBE - 1)
    return max(0.0, one - a_list), NPROBE * a_list


def coarse_ms(measured: int, nlist: int) -> float:
    """The nearest NPROBE of `nlist` centroids, from a graph of `measured`."""
    graph = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    graph.add(unit(measured, 4))
    queries = iter(unit(400, 5))
    return p50_ms(lambda: graph.search(next(queries)[None], NPROBE)) * math.log2(nlist) / math.log2(measured)


def merge_ms() -> float:
    """The best of the candidates of all shards."""
    rng = np.random.default_rng(6)
    scores = rng.random((1, N_SHARDS * RERANK), dtype=np.float32)
    rows = np.arange(scores.size)[None]
    return p50_ms(lambda: best_of(scores, rows, RERANK))


def rerank_ms() -> float:
    """Exact scores of RERANK rows that are in memory; what is read from disk comes on top."""
    rows, query = unit(200_000, 7).astype(np.float16), unit(1, 8)[0]
    picks = iter(np.random.default_rng(9).integers(0, len(rows), (400, RERANK)))
    return p50_ms(lambda: rows[next(picks)].astype(np.float32) @ query)


def round_trip_ms() -> float:
    """A query to a holder and its candidates back, over loopback."""
    server = socket.create_server(("127.0.0.1", 0))
    question, answer = bytes(DIM * 4 + NPROBE * 12), bytes(RERANK * HIT_BYTES)

    def serve() -> None:
        connection = server.accept()[0]
        with connection, connection.makefile("rwb") as stream:
            while stream.read(len(question)):
                stream.write(answer)
                stream.flush()

    threading.Thread(target=serve, daemon=True).start()
    with server, socket.create_connection(server.getsockname()) as client, client.makefile("rwb") as stream:

        def ask() -> None:
            stream.write(question)
            stream.flush()
            stream.read(len(answer))

        return p50_ms(ask, time.perf_counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coarse", type=int, default=32_768, help="centroids of the graph that is measured")
    parser.add_argument("--network-ms", type=float, default=0.5, help="round trip between two machines of one zone")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    plan = plan_index(ROWS, DIM, IndexConfig())
    table, scan = scan_ms(round(200_000 * plan.nlist / ROWS), 200_000)
    coarse, merge, rerank, local = coarse_ms(arguments.coarse, plan.nlist), merge_ms(), rerank_ms(), round_trip_ms()
    print(f"{plan.nlist} lists, {plan.n_shards} shards, RAM {plan.ram_bytes / 1e9:.0f} GB, nprobe {NPROBE}, R {RERANK}")
    print(f"ms: coarse {coarse:.3f}, table a shard {table:.3f}, codes {scan:.3f}, merge {merge:.3f}, "
          f"re-rank {rerank:.3f}, loopback {local:.3f}")  # fmt: skip
    print("| holders | RAM a holder, GB | scan ms | network ms | query ms | queries/s a core of a holder |")
    print("|---|---|---|---|---|---|")
    for holders in (1, 4, 10, 40):
        network = local + (arguments.network_ms if holders > 1 else 0)
        busy = plan.n_shards / holders * table + scan / holders + rerank / holders
        cells = f"{plan.ram_bytes / holders / 1e9:.0f}", f"{busy:.2f}", f"{network:.2f}"
        print("|", holders, "|", " | ".join(cells), "|", f"{coarse + busy + network + merge:.2f} | {1000 / busy:.0f} |")


if __name__ == "__main__":
    main()
