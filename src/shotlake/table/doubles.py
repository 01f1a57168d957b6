"""The rows of `segments` file by file: how many each claim has, and which segments stand there more than once.

Memory does not grow with the table beyond 8 bytes for each of ROWS_A_PASS rows (twice that while they are sorted) and
a row for each unit; the ids are read once for every ROWS_A_PASS rows, and once more if there are doubles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.table.damage import TableFiles

ROWS_A_PASS = 100_000_000
_COLUMNS = ("segment_id", "unit_id", "run_id")


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """`counts`: (claim, unit_id, run_id, n) of all rows.

    `doubled`: (segment_id, unit_id, claim, path, row) of every row whose segment stands there more than once.
    """

    counts: pa.Table
    doubled: pa.Table


def claim_of(rows: pa.Table) -> pa.ChunkedArray:
    """unit_id/run_id of each row."""
    return pc.binary_join_element_wise(
        rows["unit_id"], rows["run_id"], "/", null_handling="replace", null_replacement=""
    )


def segment_rows(files: TableFiles) -> SegmentRows:
    """Count the rows of every claim, and find the segments that stand there more than once."""
    counts: list[pa.Table] = []
    doubled: list[NDArray[np.uint64]] = []
    n_passes = 1 + files.n_rows // ROWS_A_PASS
    for k in range(n_passes):
        hashes = [np.empty(0, np.uint64)]
        for _, rows in files.read(_COLUMNS):
            if k == 0:
                rows = rows.append_column("claim", claim_of(rows))
                counts.append(_counted(rows.select(["claim", "unit_id", "run_id"])))
            found = _hashes(rows["segment_id"])
            hashes.append(found[found % n_passes == k])
        every = np.sort(np.concatenate(hashes))
        doubled.append(np.unique(every[1:][every[1:] == every[:-1]]))
    return SegmentRows(_total(counts), _occurrences(files, np.concatenate(doubled)))


def _occurrences(files: TableFiles, doubled: NDArray[np.uint64]) -> pa.Table:
    columns = {name: pa.array([], pa.string()) for name in ("segment_id", "unit_id", "claim", "path")}
    parts = [pa.table({**columns, "row": pa.array([], pa.int64())})]
    for file, rows in files.read(_COLUMNS) if len(doubled) else ():
        at = np.flatnonzero(np.isin(_hashes(rows["segment_id"]), doubled))
        mine = rows.take(pa.array(at))
        places = {"path": pa.array([file.path] * len(at), pa.string()), "row": pa.array(at)}
        ids = {name: mine[name] for name in ("segment_id", "unit_id")}
        parts.append(pa.table({**ids, "claim": claim_of(mine), **places}))
    found = pa.concat_tables(parts)
    often = found.group_by("segment_id").aggregate([([], "count_all")])
    often = often.filter(pc.greater(often["count_all"], 1))  # two ids may have one hash
    return found.filter(pc.is_in(found["segment_id"], often["segment_id"].combine_chunks()))


def _counted(rows: pa.Table) -> pa.Table:
    names = ["claim", "unit_id", "run_id"]
    return rows.group_by(names).aggregate([([], "count_all")]).rename_columns([*names, "n"])


def _total(counts: list[pa.Table]) -> pa.Table:
    names = ["claim", "unit_id", "run_id"]
    empty = pa.table({**{name: pa.array([], pa.string()) for name in names}, "n": pa.array([], pa.int64())})
    summed = pa.concat_tables([empty, *counts]).group_by(names).aggregate([("n", "sum")])
    return summed.rename_columns([*names, "n"])


def _hashes(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """[N] 8 bytes of each id."""
    padded = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(ids, ""), 32, "0"), 0, 32)
    words = np.array(padded.to_numpy(zero_copy_only=False), dtype="S32").view(np.uint64).reshape(-1, 4)
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
    mixed: NDArray[np.uint64] = ((words ^ (words >> np.uint64(29))) * odd).sum(axis=1, dtype=np.uint64)
    return mixed ^ (mixed >> np.uint64(32))
