"""The stored files of a shard as arrays and indexes: rows mapped, codes in place, float16 widened."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray


def map_rows(path: Path, dim: int) -> NDArray[np.float16]:
    """The rows of a shard [n, dim], mapped without read-ahead: they are touched one at a time."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=np.float16).reshape(-1, dim)


def read_rows(file: BinaryIO, n: int, dim: int) -> NDArray[np.float16]:
    """The next rows [n, dim] of a shard, for those who read all of them: a mapping is without read-ahead."""
    return np.fromfile(file, np.float16, n * dim).reshape(n, dim)


def load_index(path: Path) -> faiss.IndexIVF:
    """An index whose lists stay in the file, at the speed of memory."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def load_trained(path: Path) -> faiss.IndexIVF:
    """The trained, empty index of a space, which owns the quantiser."""
    return faiss.read_index(str(path))


def widened(rows: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same finite numbers as float32; numpy's own conversion takes four times as long.

    Sign, exponent and fraction go to their places in three steps over whole numbers, and a product sets the exponent
    right, of the smallest numbers too.
    """
    bits = rows.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _SIGN_EXPONENT_FRACTION
    wide = bits.view(np.float32)
    wide *= _BIAS
    return wide


_SIGN_EXPONENT_FRACTION = np.uint32(0x8FFFE000).astype(np.int32)
_BIAS = np.float32(2.0 ** (127 - 15))
