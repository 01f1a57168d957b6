"""Units cover every cell once; blocks keep a video together and are of even cost."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from shotlake.catalog.units import gaps, pack_blocks, plan_units, unit_cost_us
from shotlake.config import CatalogConfig
from shotlake.records import ClipSpec, Video, WorkUnit, cell_count

SPEC = ClipSpec(2_000_000, 2_000_000, 16, 48, 48, 16_000)
CONFIG = CatalogConfig()


def video(name: str = "a") -> Video:
    return Video(f"/{name}", "e", 1, datetime(2026, 1, 1, tzinfo=UTC), "c")


def plan(duration_s: float, name: str = "a", **more: object) -> list[WorkUnit]:
    return plan_units(video(name), int(duration_s * 1e6), SPEC, "k", CONFIG, **more)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(1, 30_000_000_000))
def test_units_cover_every_cell_once_and_are_even(duration_us: int) -> None:
    units = plan_units(video(), duration_us, SPEC, "k", CONFIG)
    assert units[0].first_cell == 0
    assert all(a.first_cell + a.n_cells == b.first_cell for a, b in pairwise(units))
    assert units[-1].first_cell + units[-1].n_cells == cell_count(duration_us, SPEC)
    sizes = [unit.n_cells for unit in units]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 450  # one and a half times ten minutes of 2 s cells


def test_an_unknown_duration_is_one_open_ended_unit() -> None:
    assert plan(0, attempt=2) == [WorkUnit(video(), "k", 0, 0, 2)]
    assert plan(0, known=[(0, 0)]) == []


@settings(deadline=None)
@given(
    st.integers(1, 3000),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 500)), max_size=8),
    st.sampled_from([20.0, 600.0]),
)
def test_known_cells_are_never_planned_again(n_cells: int, known: list[tuple[int, int]], unit_s: float) -> None:
    config = CatalogConfig(unit_s=unit_s)
    units = plan_units(video(), n_cells * 2_000_000, SPEC, "k", config, known=known)
    planned = [cell for unit in units for cell in range(unit.first_cell, unit.first_cell + unit.n_cells)]
    done = {cell for first, count in known for cell in range(first, first + count)}
    assert sorted(planned) == [cell for cell in range(n_cells) if cell not in done]
    assert len(planned) == len(set(planned))


def test_gaps_of_an_open_ended_unit_are_none() -> None:
    assert gaps(10, [(0, 0)]) == []
    assert gaps(10, []) == [(0, 10)]


def test_short_videos_are_bundled_and_one_video_stays_together() -> None:
    shorts = [unit for n in range(50) for unit in plan(30, str(n))]
    hour = plan(3600, "hour")
    blocks = list(pack_blocks([*shorts, *hour], lambda unit: unit_cost_us(unit, SPEC, 600_000_000), 600))
    assert [unit for block in blocks for unit in block] == [*shorts, *hour]
    assert [len(block) for block in blocks[:2]] == [20, 20]
    assert len([block for block in blocks if any(unit in hour for unit in block)]) == 1


def test_a_very_long_video_is_split_at_two_hours() -> None:
    blocks = list(pack_blocks(plan(5 * 3600), lambda unit: unit_cost_us(unit, SPEC, 0), 600))
    hours = [sum(unit.n_cells for unit in block) * 2 / 3600 for block in blocks]
    assert hours == [2.0, 2.0, 1.0]


def test_unknown_durations_cost_what_they_are_assumed_to() -> None:
    units = [unit for n in range(6) for unit in plan(0, str(n))]
    blocks = list(pack_blocks(units, lambda unit: unit_cost_us(unit, SPEC, 300_000_000), 600))
    assert [len(block) for block in blocks] == [2, 2, 2]
