"""However a file keeps its time stamps, its clips are those that were painted: offsets, wraps, edit lists, any pace."""

from __future__ import annotations

from fractions import Fraction

import pytest
from painted import (
    Picture,
    Sound,
    check_beeps,
    check_pictures,
    clock_zero_s,
    columns,
    decode,
    frame_times,
    paint,
    units_of,
)


def test_variable_rate_and_stills(tmp_path):
    gaps = [Fraction(1, 30)] * 20 + [Fraction(7, 2)] + [Fraction(1, 10)] * 15 + [Fraction(1, 60)] * 30
    times_s = [sum(gaps[:k], Fraction(0)) for k in range(len(gaps) + 1)]
    path = paint(tmp_path / "vfr.mp4", Picture(times_s), Sound(float(times_s[-1])))
    batches, (outcome,) = decode(units_of(path))
    clips = columns(batches)
    assert outcome.status == "ok", outcome
    check_pictures(clips, times_s)
    assert (clips["frame_us"][1] == round(times_s[20] * 1_000_000)).all()  # the still that is shown all through


@pytest.mark.parametrize("start_s", [Fraction(3, 10), Fraction(100_000), Fraction(95_443)])
@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_offsets_and_wraps_do_not_move_the_clock(tmp_path, name, start_s):
    """MPEG-TS counts to 95,443.7 s and begins again."""
    times_s = frame_times(100, 25, start_s)
    sound = Sound(float(start_s) + 4.0, float(start_s))
    path = paint(tmp_path / name, Picture(times_s), sound)
    batches, (outcome,) = decode(units_of(path))
    assert outcome.status == "ok", outcome
    zero_s = clock_zero_s(path, start_s)
    check_pictures(columns(batches), times_s, zero_s)
    assert check_beeps(columns(batches), zero_s) >= 3


@pytest.mark.parametrize(
    ("name", "options", "zero_s"),
    [
        ("a.mp4", {}, 0),  # an edit list cuts off what is before zero
        ("a.mp4", {"avoid_negative_ts": "disabled", "use_editlist": "0"}, -1),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}, -1),
        ("a.mkv", {}, -1),  # the muxer moves everything
    ],
)
def test_time_stamps_before_zero(tmp_path, name, options, zero_s):
    times_s = frame_times(125, 25, Fraction(-1))
    path = paint(tmp_path / name, Picture(times_s), Sound(4.0, -1.0, codec="flac"), options)
    batches, (outcome,) = decode(units_of(path))
    clips = columns(batches)
    assert (outcome.status, outcome.written) == ("ok", 2 if zero_s == 0 else 3)
    assert clips["frame_mask"].all()
    check_pictures(clips, times_s, zero_s)
    assert check_beeps(clips, zero_s) >= 3
