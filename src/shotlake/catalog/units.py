"""Work units and blocks: videos of any length become pieces of even cost. Pure arithmetic.

The units of a video cover its cells without gap or overlap. Cells that earlier units have finished keep their
boundaries, whatever `catalog.unit_s` is by now, so that no cell is ever planned twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from shotlake.config import CatalogConfig
from shotlake.records import ClipSpec, Video, WorkUnit, cell_count

Cells = tuple[int, int]  # (first_cell, n_cells)

SPLIT_S = 7200.0  # only longer videos are spread over several blocks


def plan_units(
    video: Video,
    duration_us: int,
    spec: ClipSpec,
    key: str,
    config: CatalogConfig,
    attempt: int = 1,
    known: Sequence[Cells] = (),
) -> list[WorkUnit]:
    """The units of a video's cells that no unit in `known` has; about `config.unit_s` each, of even size.

    Their edges are those of a first run, whatever is known, so that a run that died is taken up in the same units.
    An unknown duration (0) gives one open-ended unit with n_cells = 0, unless something is known.
    """
    if duration_us <= 0:
        return [] if known else [WorkUnit(video, key, 0, 0, attempt)]
    per_unit = max(1, round(config.unit_s * 1e6 / spec.stride_us))
    n_cells = cell_count(duration_us, spec)
    pieces = max(1, round(n_cells / per_unit))
    edges = [n_cells * piece // pieces for piece in range(1, pieces)]
    units = []
    for first, count in gaps(n_cells, known):
        cuts = [first, *(edge for edge in edges if first < edge < first + count), first + count]
        units += [WorkUnit(video, key, start, end - start, attempt) for start, end in pairwise(cuts)]
    return units


def gaps(n_cells: int, known: Iterable[Cells]) -> list[Cells]:
    """The ranges of [0, n_cells) that no known range covers; (0, 0) is a unit of unknown length and covers all."""
    left, at = [], 0
    for first, count in sorted(known):
        if (first, count) == (0, 0):
            return []
        if first > at:
            left.append((at, min(first, n_cells) - at))
        at = max(at, first + count)
    if at < n_cells:
        left.append((at, n_cells - at))
    return [(first, count) for first, count in left if count > 0]


def unit_cost_us(unit: WorkUnit, spec: ClipSpec, unknown_us: int) -> int:
    """The source time that a unit covers; `unknown_us` where the duration is unknown."""
    return unit.n_cells * spec.stride_us or unknown_us


def pack_blocks(
    units: Iterable[WorkUnit], unit_cost_us: Callable[[WorkUnit], int], block_s: float
) -> Iterator[list[WorkUnit]]:
    """Blocks of about `block_s` of source time, in the order of `units`.

    Consecutive units of one video stay in one block, so that it is opened once, up to SPLIT_S of that video; short
    videos are bundled.
    """
    block: list[WorkUnit] = []
    block_us = video_us = 0
    for unit in units:
        cost_us = unit_cost_us(unit)
        same_video = bool(block) and block[-1].video.video_id == unit.video.video_id
        limit_us = SPLIT_S * 1e6 if same_video else block_s * 1e6
        if block and (video_us if same_video else block_us) + cost_us > limit_us:
            yield block
            block, block_us, same_video = [], 0, False
        block.append(unit)
        block_us += cost_us
        video_us = cost_us + (video_us if same_video else 0)
    if block:
        yield block
