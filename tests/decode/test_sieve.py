"""Frames that nobody needs are not decoded, and no clip can tell."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from painted import CONFIG, SPEC, Picture, Sound, columns, decode, frame_times, paint, units_of

from shotlake.decode.keys import never
from shotlake.decode.sieve import Fate, Sieve

B_FRAMES = {"preset": "veryfast", "g": "50", "bf": "3", "b-pyramid": "none", "sc_threshold": "0"}


class _Packet:
    size = 1000

    def __init__(self, number):
        self.number = number


def sift(order: list[int], spec=SPEC, step_us: int = 40_000, lag: int = 3, anew=never) -> dict[int, Fate]:
    """What becomes of each frame; `order` is the decoding order of frames `step_us` apart."""
    sieve, fates = Sieve(spec, 1 << 40, anew), {}
    for decoded, number in enumerate(order):
        for packet, fate in sieve.push(_Packet(number), number * step_us, (decoded - lag) * step_us):
            fates[packet.number] = fate
    return fates | {packet.number: fate for packet, fate in sieve.flush()}


def test_every_nearest_frame_is_wanted_and_most_others_are_not():
    order = [0] + [k + offset for k in range(0, 400, 4) for offset in (4, 2, 1, 3)]
    fates = sift(order)
    assert list(fates) == order
    wanted = {number: fate is Fate.DECODE for number, fate in fates.items()}
    looks = (np.arange(16 * 8) + 0.5) * 125_000
    nearest = {int(n) for t in looks for n in np.flatnonzero(np.abs(np.arange(401) * 40_000 - t) <= 20_000)}
    edges = {int(cell * 2_000_000 // 40_000) for cell in range(8)}
    assert all(wanted[number] for number in nearest | edges)
    assert sum(wanted.values()) < 0.5 * len(wanted)


def test_time_stamps_that_cannot_be_trusted_let_everything_pass():
    sieve = Sieve(SPEC, 1 << 40, never)
    list(sieve.push(_Packet(0), 0, 0))
    jumped = list(sieve.push(_Packet(1), 50_000_000, 50_000_000))
    assert [fate for _, fate in jumped] == [Fate.DECODE, Fate.DECODE]
    sieve = Sieve(SPEC, 1 << 40, never)
    assert [fate for _, fate in sieve.push(_Packet(0), None, None)] == [Fate.DECODE]


def test_what_nothing_wanted_refers_to_is_left_out_before_a_key_frame():
    keys = set(range(0, 401, 20))
    spec = replace(SPEC, n_frames=2)  # a wanted time a second, of 25 frames
    fates = sift(list(range(401)), spec, lag=0, anew=lambda packet: packet.number in keys)
    wanted = [number for number, fate in fates.items() if fate is Fate.DECODE]
    for number, fate in fates.items():
        key_behind = next((key for key in sorted(keys) if key > number), None)
        is_tail = key_behind is not None and not any(number <= other < key_behind for other in wanted)
        assert (fate is Fate.LEAVE_OUT) == is_tail, number
    assert sum(fate is Fate.LEAVE_OUT for fate in fates.values()) > 100


def test_no_more_is_held_than_a_few_seconds():
    spec = replace(SPEC, window_us=60_000_000, stride_us=60_000_000, n_frames=1)
    sieve, held = Sieve(spec, 1 << 40, never), 0
    for number in range(1500):
        held += 1 - len(list(sieve.push(_Packet(number), number * 40_000, number * 40_000)))
        assert held < 110


CLOSED = {"preset": "veryfast", "g": "12", "bf": "3", "sc_threshold": "0"}
OPEN = CLOSED | {"x264-params": "open-gop=1"}


@pytest.mark.parametrize(
    ("codec", "options", "leaves_out"),
    [
        ("libx264", CLOSED, True),
        ("libx264", OPEN, False),
        ("libx265", {"preset": "ultrafast", "x265-params": "keyint=12:min-keyint=12:open-gop=0:log-level=none"}, True),
        ("libx265", {"preset": "ultrafast", "x265-params": "keyint=12:min-keyint=12:log-level=none"}, False),
        ("mjpeg", {}, True),
        ("mpeg2video", {"g": "12", "bf": "2"}, False),
    ],
)
@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_the_tails_of_closed_groups_are_left_out_and_no_clip_can_tell(
    tmp_path, monkeypatch, name, codec, options, leaves_out
):
    if name == "a.ts" and codec == "mjpeg":
        pytest.skip("MPEG-TS carries no MJPEG")
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    picture = Picture(frame_times(150), codec=codec, pixel_format=pixels, ticks=25, options=options)
    path = paint(tmp_path / name, picture, Sound(6.0))
    fates, settle = [], Sieve._settle

    def noted(sieve, *arguments):
        for packet, fate in settle(sieve, *arguments):
            fates.append(fate)
            yield packet, fate

    monkeypatch.setattr(Sieve, "_settle", noted)
    spec, found = replace(SPEC, n_frames=4), {}
    for policy in ("exact", "reference"):
        config = CONFIG.model_copy(update={"policy": policy})
        batches, outcomes = decode(units_of(path, 3, spec), spec, config)
        found[policy] = columns(batches), [(o.status, o.covered_us, o.declared_us) for o in outcomes]
    assert found["exact"][1] == found["reference"][1]
    for column in found["exact"][0]:
        np.testing.assert_array_equal(found["reference"][0][column], found["exact"][0][column], err_msg=column)
    assert (Fate.LEAVE_OUT in fates) == leaves_out


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, sampling="fps", fps=2.0, stride_us=1_300_000)])
@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_clips_equal_those_of_all_frames(tmp_path, name, spec):
    times_s = [*frame_times(100), *frame_times(60, 8, Fraction(4)), *frame_times(100, 50, Fraction(23, 2))]
    path = paint(tmp_path / name, Picture(times_s, options=B_FRAMES), Sound(13.5))
    results = {}
    for policy in ("exact", "reference"):
        config = CONFIG.model_copy(update={"policy": policy})
        batches, outcomes = decode(units_of(path, 3, spec), spec, config)
        results[policy] = columns(batches), [(o.status, o.covered_us, o.declared_us) for o in outcomes]
    exact, reference = results["exact"], results["reference"]
    assert exact[1] == reference[1]
    for column in exact[0]:
        np.testing.assert_array_equal(reference[0][column], exact[0][column], err_msg=column)
