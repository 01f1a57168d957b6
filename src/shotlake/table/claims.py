"""What `units` claims against what stands in `segments` and `failures`, and which of it cannot be true together.

A claim is (unit_id, run_id): a row of `units` with `written > 0` claims that so many rows of `segments` have both ids,
each segment once. Of the claims of a unit one is kept at the most: of those that hold the newest. Everything else goes:
rows that no kept claim claims, units whose claim does not hold (those of retired videos apart, whose rows maintenance
may have deleted), and failures without their unit. Units that a live run has to do with are left alone.

Memory: about 1.4 kB a row of `units`, and what `doubles.py` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.table.damage import TableFiles
from shotlake.table.doubles import SegmentRows, claim_of
from shotlake.table.schemas import TABLES

UNIT_COLUMNS = (
    "unit_id",
    "run_id",
    "video_id",
    "attempts",
    "status",
    "written",
    "lost",
    "at",
    "embed_key",
)
FAILURE_COLUMNS = ("unit_id", "run_id", "attempts", "first_cell", "n_cells", "code")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to go, and how much of each fault there is."""

    row_claims: pa.Array  # rows of `segments` with these claims go
    double_rows: pa.Table  # (path, row) of `segments`, which go as well
    n_doubles: int
    n_hidden: int  # rows of retired units that are not whole
    lone: pa.Table  # (claim, unit_id, run_id, n) of rows whose unit `units` does not know
    units_out: pa.Table  # (path, row) of `units`
    units_kept: pa.Table
    n_doubled_units: int
    short: pa.Table  # (unit_id, written, there)
    overlapping: pa.Array  # ids of units


@dataclass(frozen=True, slots=True)
class FailureVerdict:
    """`out`: (path, row) of `failures`, `n_lone` of them of units that nobody knew before, either.

    `again`: (path, row) of `units` whose failures are made again from them."""

    out: pa.Table
    n_lone: int
    n_doubled: int
    again: pa.Table


def located(files: TableFiles, columns: Sequence[str]) -> pa.Table:
    """Rows of all readable files of `units` or `failures`, with `claim`, and `path` and `row` where each stands."""
    parts = [TABLES[files.table].empty_table().select(list(columns))]
    paths: list[str] = []
    file_numbers: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    row_numbers: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for file, rows in files.read(columns):
        parts.append(rows)
        file_numbers.append(np.full(len(rows), len(paths), np.int32))
        paths.append(file.path)
        row_numbers.append(np.arange(len(rows)))
    found = pa.concat_tables(parts)
    numbers = pa.array(np.concatenate(file_numbers), pa.int32())
    found = found.append_column("path", pa.DictionaryArray.from_arrays(numbers, pa.array(paths, pa.string())))
    found = found.append_column("row", pa.array(np.concatenate(row_numbers)))
    return found.append_column("claim", claim_of(found))


def judge(units: pa.Table, rows: SegmentRows, pending: pa.Array) -> Verdict:
    """`units`: located rows with `is_retired`; rows of `pending` claims, whose units a commit owes, are left alone."""
    units = units.append_column("position", pa.array(np.arange(len(units))))
    claims = _ranked(units, rows)
    is_last = _last_of(claims, ["unit_id"])
    chosen = claims.filter(pa.array(is_last))
    held = chosen.filter(pc.equal(chosen["is_whole"], 1))
    losers = _losers(held, rows.doubled)
    good = held.filter(pc.invert(pc.is_in(held["claim"], losers)))
    overlapping = chosen["unit_id"].filter(pc.is_in(chosen["claim"], losers)).combine_chunks()
    short = chosen.filter(pc.and_(pc.equal(chosen["is_whole"], 0), pc.invert(chosen["is_retired"])))
    short_ids = short["unit_id"].combine_chunks()

    out = _in(units["unit_id"], pa.concat_arrays([short_ids, overlapping]))
    stale = np.zeros(len(units), np.bool_)
    stale[claims["position"].to_numpy()[~is_last]] = True
    repeated = _repeated(units.filter(pa.array(~(out | stale))))
    stale[repeated] = True

    leaving = rows.counts.filter(pa.array(~_in(rows.counts["claim"], good["claim"])))
    leaving = leaving.filter(pa.array(~_in(leaving["claim"], pending)))
    twice = _in(leaving["unit_id"], good["unit_id"])
    hidden = chosen["unit_id"].filter(pc.and_(pc.equal(chosen["is_whole"], 0), chosen["is_retired"]))
    is_hidden = _in(leaving["unit_id"], hidden)
    double_rows = _all_but_first(rows.doubled.filter(pa.array(_in(rows.doubled["claim"], good["claim"]))))
    return Verdict(
        row_claims=leaving["claim"].combine_chunks(),
        double_rows=double_rows,
        n_doubles=len(double_rows) + _sum(leaving["n"].filter(pa.array(twice))),
        n_hidden=_sum(leaving["n"].filter(pa.array(is_hidden))),
        lone=leaving.filter(pa.array(~_in(leaving["unit_id"], units["unit_id"]))),
        units_out=units.select(["path", "row"]).filter(pa.array(out | stale)),
        units_kept=units.filter(pa.array(~(out | stale))),
        n_doubled_units=int((stale & ~out).sum()),
        short=short.select(["unit_id", "written", "there"]),
        overlapping=overlapping,
    )


def judge_failures(failures: pa.Table, units: pa.Table, kept: pa.Table, pending: pa.Array) -> FailureVerdict:
    """`failures`: located rows; `kept`: the rows of `units` that stay. Each has as many lost cells as it says."""
    units, kept = (rows.filter(pa.array(_concerned(rows, failures))) for rows in (units, kept))
    failures, units, kept = _with_attempt(failures), _with_attempt(units), _with_attempt(kept)
    is_lone = ~_in(failures["attempt"], kept["attempt"]) & ~_in(failures["claim"], pending)
    same = ["attempt", "first_cell", "n_cells", "code"]
    order = failures.append_column("position", pa.array(np.arange(len(failures)))).sort_by(
        [(n, "ascending") for n in same]
    )
    is_double = np.zeros(len(failures), np.bool_)
    is_double[order["position"].to_numpy()[~_last_of(order, same)]] = True
    stay = failures.filter(pa.array(~(is_lone | is_double)))
    told = stay.group_by("attempt").aggregate([("n_cells", "sum"), ([], "count_all")])
    cells, rows = (_taken(told, name, kept["attempt"]) for name in ("n_cells_sum", "count_all"))
    is_lost = ~_in(kept["status"], pa.array(["ok"]))
    wrong = (cells != kept["lost"].to_numpy()) | ((rows > 0) != is_lost)
    again = kept["attempt"].filter(pa.array(wrong)).combine_chunks()
    out = is_lone | is_double | _in(failures["attempt"], again)
    return FailureVerdict(
        out=failures.select(["path", "row"]).filter(pa.array(out)),
        n_lone=int((is_lone & ~_in(failures["attempt"], units["attempt"])).sum()),
        n_doubled=int((is_double & ~is_lone).sum()),
        again=kept.filter(pa.array(wrong)).select(["path", "row"]),
    )


def _concerned(units: pa.Table, failures: pa.Table) -> Mask:
    """Units that lost something, or of which a failure tells."""
    is_ok = _in(units["status"], pa.array(["ok"])) & (units["lost"].to_numpy() == 0)
    found: Mask = ~is_ok | _in(units["unit_id"], failures["unit_id"])
    return found


def without_units(rows: pa.Table, unit_ids: pa.Array) -> pa.Table:
    """The rows of all other units."""
    return rows.filter(pa.array(~_in(rows["unit_id"], unit_ids)))


def _ranked(units: pa.Table, rows: SegmentRows) -> pa.Table:
    """Claims with `there` (distinct segments) and `is_whole`; of a unit's, the one to keep is the last."""
    columns = ["unit_id", "claim", "written", "at", "is_retired", "position"]
    claims = units.select(columns).filter(pc.greater(units["written"], 0))
    extra = _all_but_first(rows.doubled).group_by("claim").aggregate([([], "count_all")])
    there = _taken(rows.counts, "n", claims["claim"]) - _taken(extra, "count_all", claims["claim"])
    claims = claims.append_column("there", pa.array(there))
    claims = claims.append_column("is_whole", pa.array((there == claims["written"].to_numpy()).astype(np.int8)))
    if _is_distinct(claims["unit_id"]):  # nearly always, and then nothing need be put in order
        return claims
    return claims.sort_by([(name, "ascending") for name in ("unit_id", "is_whole", "at", "position")])


def _losers(held: pa.Table, doubled: pa.Table) -> pa.Array:
    """Of claims that hold and have a segment in common all but the newest."""
    mine = doubled.filter(pa.array(_in(doubled["claim"], held["claim"])))
    pairs = mine.group_by(["segment_id", "claim"]).aggregate([])
    often = pairs.group_by("segment_id").aggregate([([], "count_all")])
    often = often.filter(pc.greater(often["count_all"], 1))
    pairs = pairs.filter(pa.array(_in(pairs["segment_id"], often["segment_id"])))
    at = dict(
        zip(*(held.filter(pa.array(_in(held["claim"], pairs["claim"])))[name].to_pylist() for name in ("claim", "at")))
    )
    segments: dict[str, set[str]] = {}
    for claim, segment_id in zip(pairs["claim"].to_pylist(), pairs["segment_id"].to_pylist()):
        segments.setdefault(claim, set()).add(segment_id)
    taken: set[str] = set()
    losers = []
    for claim in sorted(segments, key=lambda claim: (at[claim], claim), reverse=True):
        if segments[claim] & taken:
            losers.append(claim)
        else:
            taken |= segments[claim]
    return pa.array(losers, pa.string())


def _repeated(units: pa.Table) -> NDArray[np.int64]:
    """Positions of rows of the same unit and attempt, all but the one to keep: one that wrote, else the newest."""
    if _is_distinct(units["unit_id"]):
        return np.empty(0, np.int64)
    order = ["unit_id", "attempts", "written", "at", "position"]
    rows = units.select(order).sort_by([(name, "ascending") for name in order])
    found: NDArray[np.int64] = rows["position"].to_numpy()[~_last_of(rows, ["unit_id", "attempts"])]
    return found


def _all_but_first(doubled: pa.Table) -> pa.Table:
    """(path, row, claim) of the rows of a claim whose segment stands in another row of it already."""
    rows = doubled.sort_by([(name, "ascending") for name in ("claim", "segment_id", "path", "row")])
    return rows.filter(pa.array(~_last_of(rows, ["claim", "segment_id"])))


def _last_of(rows: pa.Table, names: list[str]) -> Mask:
    """[N] True for the last of rows that stand together because they have the same values in these columns."""
    last = np.ones(len(rows), np.bool_)
    if len(rows) > 1:
        last[:-1] = False
        for name in names:
            column = rows[name].combine_chunks()
            last[:-1] |= pc.fill_null(pc.not_equal(column[:-1], column[1:]), True).to_numpy(zero_copy_only=False)
    return last


def _is_distinct(ids: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(ids).as_py() == len(ids))


def _with_attempt(rows: pa.Table) -> pa.Table:
    text = pc.binary_join_element_wise(rows["claim"], pc.cast(rows["attempts"], pa.string()), "/")
    return rows.append_column("attempt", text)


def _taken(table: pa.Table, name: str, keys: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of `table`, whose first column are keys, for each of `keys`; 0 where it has none."""
    at = pc.index_in(keys, table[table.column_names[0]].combine_chunks()).combine_chunks()
    values: NDArray[np.int64] = pc.fill_null(table[name].combine_chunks().take(at), 0).to_numpy(zero_copy_only=False)
    return values


def _in(values: pa.ChunkedArray, known: pa.Array | pa.ChunkedArray) -> Mask:
    known = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known
    found: Mask = pc.is_in(values, known).to_numpy(zero_copy_only=False)
    return found


def _sum(column: pa.ChunkedArray) -> int:
    return pc.sum(column).as_py() or 0
