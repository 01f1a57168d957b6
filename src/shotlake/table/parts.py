"""The rows of one unit may lie in several files: which of them together are the unit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from shotlake.table.files import UnitSpan


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one unit in one waiting file."""

    path: str
    span: UnitSpan


def longest_chain(parts: Sequence[Part]) -> list[Part]:
    """Of parts whose cells may overlap, those without overlap that hold the most rows."""
    parts = sorted(parts, key=lambda part: part.span.last_cell)
    ends = [part.span.last_cell for part in parts]
    best: list[tuple[int, list[Part]]] = [(0, [])]
    for part in parts:
        rows, before = best[bisect_left(ends, part.span.first_cell)]
        best.append(max(best[-1], (rows + part.span.n_rows, [*before, part]), key=lambda chain: chain[0]))
    return best[-1][1]
