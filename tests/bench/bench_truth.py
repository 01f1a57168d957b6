"""Whether the recall that is stated is had, and what equal rows cost: `python tests/bench/bench_truth.py`, JSON lines.

Two collections of different kinds lie behind one another, as a table holds them, and texts ask for one of them. Twenty
filters that no build measures let through more rows than are scored one by one. Then a build in which three of ten
rows are one still picture, against one without, of the same number of rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from index_world import BLOCK, Synthetic, batches
from lines import report

from shotlake.config import IndexConfig
from shotlake.index import scan
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.depth import TUNED_TEXT, recall_at_10
from shotlake.index.manifest import Manifest
from shotlake.index.searcher import Searcher
from shotlake.index.truth import TIE, K
from shotlake.records import Fingerprint

FILE = "tests/bench/bench_truth.py"
FIRST = 0.41  # of the rows are of the first collection


@dataclass(frozen=True)
class TwoKinds(Synthetic):
    """The first rows lie apart from the others by a shared direction."""

    def rows(self) -> Iterator[np.ndarray]:
        away = np.random.default_rng(3).standard_normal(self.dim).astype(np.float32)
        away /= np.linalg.norm(away)
        for number, block in enumerate(self.blocks()):
            first = (number * BLOCK + np.arange(len(block))) < FIRST * self.n
            block[first] += 1.5 * away
            yield block / np.linalg.norm(block, axis=1, keepdims=True)


def built(rows: list[np.ndarray], texts: np.ndarray, root: str, name: str) -> Manifest:
    """A generation of these blocks."""
    n = sum(map(len, rows))
    config = IndexConfig(exact_below=0, spaces=("fused",), min_queries=500, rows_per_shard=n)
    target = GenerationTarget(root, name, Fingerprint("bench", "1", "", ""), "bench", 1)

    def blocks(first: int) -> Iterator[np.ndarray]:
        for number, block in enumerate(rows):
            if (number + 1) * BLOCK > first:
                yield block[max(0, first - number * BLOCK) :]

    queries = TextQueries("synthetic", {"fused": texts})
    return build_generation(lambda first: batches(blocks(first), n, first), n, target, queries, config)


def filters(n: int) -> list[np.ndarray]:
    """Twenty: drawn, runs, kinds, every other video and what is behind a time of day."""
    rng, rows = np.random.default_rng(11), np.arange(n)
    drawn = [np.flatnonzero(rng.random(n) < share) for share in (0.9, 0.75, 0.6, 0.55, 0.5, 0.45)]
    runs = [rows[round(a * n) : round(b * n)] for a, b in ((0, 0.5), (0.1, 0.6), (0.2, 0.9), (0.4, 0.95), (0.55, 1))]
    kinds = [rows[rows < FIRST * n], rows[rows >= FIRST * n]]
    videos = [np.flatnonzero((rows // 10) % 5 < keep) for keep in (2, 3, 4)]
    times = [np.flatnonzero((rows // 5_000) % 10 < keep) for keep in (4, 6, 8, 9)]
    return [*drawn, *runs, *kinds, *videos, *times]


def bench_filters(n: int, dim: int, root: str) -> None:
    """What is stated under each filter less what is had."""
    world = TwoKinds(n, dim)
    rows, texts = list(world.rows()), world.texts()
    manifest = built(rows, texts[:600], root, "filters")
    searcher = Searcher.load(root, manifest, Path(root) / "cache")
    vectors, asked, found = searcher.spaces["fused"], texts[600:800], []
    wide = [allowed for allowed in filters(n) if len(allowed) > scan.BRUTE_FORCE_ROWS]
    for allowed in wide:
        exact = vectors.exactly(asked, K, allowed)[0]
        scores = searcher.search_vectors(asked, "fused", K, TUNED_TEXT, allowed)[0]
        had = float((scores >= exact[:, -1:] - TIE).mean())
        found.append((recall_at_10(manifest, "fused", TUNED_TEXT, len(allowed))["text"] - had, had))
    tuning = manifest.spaces["fused"].tuning["text"]
    note = f"{len(wide)} filters on {n} rows; {min(had for _, had in found):.3f} the least that is had, "
    note += f"{tuning.chosen.recall:.3f} without a filter, reach {tuning.reach:g}"
    report("index.filter_truth", max(short for short, _ in found), 0.02, "max", unit="recall@10", file=FILE, note=note)


def bench_equal_rows(n: int, dim: int, root: str) -> None:
    """CPU seconds of a build with 30% equal rows, and with 30% and 75% that differ by noise, over one without."""
    world = Synthetic(n, dim)
    rows, texts = list(world.blocks()), world.texts()
    plain = built(rows, texts, root, "plain").cost.cpu_s
    for name, share, noise in (("equal", 0.3, 0.0), ("noisy", 0.3, 1e-3), ("mostly_noisy", 0.75, 1e-3)):
        manifest = built([still(block, rows[0][0], share, noise) for block in rows], texts, root, name)
        bounds = {kind: tuning.chosen.lower_bound for kind, tuning in manifest.spaces["fused"].tuning.items()}
        note = f"{n} rows of {dim}, {manifest.cost.cpu_s:.0f} s and {plain:.0f} s; lower bounds {bounds}"
        report(f"index.{name}_rows_build", manifest.cost.cpu_s / plain, 1.3, "max", unit="ratio", file=FILE, note=note)


def still(block: np.ndarray, picture: np.ndarray, share: float, noise: float) -> np.ndarray:
    """A share of the rows shows one picture, with noise on each value."""
    rng, block = np.random.default_rng(int(1e6 * abs(block[0, 0]))), block.copy()
    mine = rng.random(len(block)) < share
    block[mine] = picture + noise * rng.standard_normal((mine.sum(), len(picture)), dtype=np.float32)
    return block / np.linalg.norm(block, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=518_000)
    parser.add_argument("--equal-rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-truth-") as root:
        bench_equal_rows(options.equal_rows, options.dim, root)
        bench_filters(options.rows, options.dim, root)


if __name__ == "__main__":
    main()
