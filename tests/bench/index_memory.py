"""Memory of a process and of a generation, as the kernel counts it."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # in a spawned process as well


def status_bytes(name: str) -> int:
    """A line of /proc/self/status, such as VmRSS or VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def reset_peak() -> None:
    """Let VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def generation_bytes(root: str, key: str, cache: Path) -> int:
    """Resident bytes that a loaded generation adds to a process that has scanned every code of it once."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_second_load, (root, key, cache))


def _second_load(root: str, key: str, cache: Path) -> int:
    """The first load pays for libraries, buffers and the Python heap; what the second adds is the generation's own."""
    kept, resident = [], []
    for _ in range(2):
        from shotlake.index.publish import current
        from shotlake.index.searcher import Searcher

        searcher = Searcher.load(root, current(root, key), cache)
        for vectors in searcher.spaces.values():
            query = np.ones((1, vectors.dim), np.float32) / np.sqrt(vectors.dim, dtype=np.float32)
            vectors.candidates(query, vectors.nlist, 10)
        kept.append(searcher)
        resident.append(status_bytes("VmRSS"))
    return resident[1] - resident[0]
