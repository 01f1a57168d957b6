"""GPUs, where faiss sees any: the wheel of the extra `gpu` does, on a machine that has them. None is needed."""

from __future__ import annotations

import faiss


def n_gpus() -> int:
    """GPUs that this process clusters and assigns with."""
    return int(faiss.get_num_gpus())


def on_gpus(flat: faiss.IndexFlatIP) -> faiss.Index:
    """The same vectors on all GPUs, to be searched in blocks."""
    return faiss.index_cpu_to_all_gpus(flat)
