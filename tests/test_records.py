"""Ids that last, records that survive JSON, and the arithmetic of the grid."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotlake.records import (
    ClipSpec,
    Fingerprint,
    Hit,
    LostRange,
    MediaInfo,
    UnitOutcome,
    Usage,
    Video,
    WorkUnit,
    cell_count,
    cell_range,
    embed_key,
    media_from_json,
    media_to_json,
    segment_id,
    stable_id,
    work_unit_from_json,
    work_unit_to_json,
)

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, timezone(timedelta(hours=2)))
VIDEO = Video("s3://b/ä\n\udcff%2F.mp4", "e", 10, AT, "c", "v1", AT)
SPEC = ClipSpec(2_000_000, 2_000_000, 16, 48, 48, 16_000)


def test_ids_are_what_they_were() -> None:
    """A change here would embed every archive again."""
    assert stable_id("ab", "c") == "4826ed043ab3cdec576d8541fa5d5a80"
    assert stable_id("ab", "c") != stable_id("a", "bc")
    assert stable_id(1) == stable_id("1")


def test_a_video_is_its_uri_etag_and_size() -> None:
    same = replace(VIDEO, modified_at=AT + timedelta(1), collection="d", version_id=None, recorded_at=None)
    assert same.video_id == VIDEO.video_id
    for change in ({"uri": "x"}, {"etag": "x"}, {"size_bytes": 11}):
        assert replace(VIDEO, **change).video_id != VIDEO.video_id  # type: ignore[arg-type]


def test_a_space_is_everything_that_changes_a_vector() -> None:
    print_ = Fingerprint("m", "r", "w", "p")
    base = (print_, SPEC, "grid-1", "exact")
    others = [
        (replace(print_, weights_sha256="x"), SPEC, "grid-1", "exact"),
        (print_, replace(SPEC, stride_us=1_000_000), "grid-1", "exact"),
        (print_, SPEC, "shots-1", "exact"),
        (print_, SPEC, "grid-1", "keyframes"),
    ]
    keys = [embed_key(*parts) for parts in (base, *others)]
    assert len(set(keys)) == len(keys)
    assert segment_id("v", 1, keys[0]) != segment_id("v", 11, keys[0])


def test_a_unit_is_a_range_of_a_video_in_a_space_whatever_the_attempt() -> None:
    unit = WorkUnit(VIDEO, "k", 0, 10)
    assert replace(unit, attempt=3).unit_id == unit.unit_id
    assert len({unit.unit_id, replace(unit, n_cells=0).unit_id, replace(unit, embed_key="l").unit_id}) == 3


def test_records_survive_json() -> None:
    unit = WorkUnit(VIDEO, "k", 5, 10, 2)
    media = MediaInfo("mp4", 7, "h264", None, 4, 3, 29.97, recorded_at=AT)
    outcome = UnitOutcome(
        unit, "partial", 10, 8, (LostRange(13, 2, "truncated"),), "truncated", "line\nline", True, media,
        salvaged_until_us=3, usage=Usage(1.5, bytes_read=7),
    )  # fmt: skip
    assert work_unit_from_json(work_unit_to_json(unit)) == unit
    assert media_from_json(media_to_json(media)) == media
    assert UnitOutcome.from_json(outcome.to_json()) == outcome
    assert "\n" not in outcome.to_json()
    assert UnitOutcome.from_json(UnitOutcome(WorkUnit(VIDEO, "k", 0, 0), "ok", 0, 0).to_json()).lost == ()


def test_media_says_what_it_has() -> None:
    assert MediaInfo(video_codec="h264").has_video and not MediaInfo(video_codec="h264").has_audio
    assert MediaInfo(audio_codec="aac").has_audio


def test_usages_add_up() -> None:
    total = Usage(1, 2, 3, 4, 5) + Usage(1, 1, 1, 1, 1)
    assert total == Usage(2, 3, 4, 5, 6)


def test_a_hit_is_printed_in_seconds() -> None:
    hit = Hit(1, 0.5, "u", 1_234_567, 2_000_000, ("a",), {"fused": 0.5, "audio": None})
    assert (hit.to_json()["start_s"], hit.to_json()["end_s"], hit.to_json()["segment_ids"]) == (1.235, 2.0, ["a"])


@settings(deadline=None)
@given(st.integers(1, 10_000_000_000), st.integers(1, 20_000_000), st.integers(1, 20_000_000))
def test_cells_cover_a_video_and_none_is_empty(duration_us: int, window_us: int, stride_us: int) -> None:
    spec = replace(SPEC, window_us=window_us, stride_us=stride_us)
    n_cells = cell_count(duration_us, spec)
    start, end = cell_range(n_cells - 1, duration_us, spec)
    assert 0 <= start < end <= duration_us
    if stride_us <= window_us:
        assert end == duration_us  # the last cell reaches the end, and the one before does not
        assert n_cells == 1 or cell_range(n_cells - 2, duration_us, spec)[1] < duration_us


@pytest.mark.parametrize(("duration_us", "cells"), [(0, 0), (-5, 0), (1, 1), (2_000_000, 1), (2_000_001, 2)])
def test_cell_counts_at_the_edges(duration_us: int, cells: int) -> None:
    assert cell_count(duration_us, SPEC) == cells
    assert SPEC.n_samples == 32_000
    assert AT.astimezone(UTC) == AT
