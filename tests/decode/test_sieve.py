"""Frames that nobody needs are not decoded, and no clip can tell."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from painted import CONFIG, SPEC, Picture, Sound, columns, decode, frame_times, paint, units_of

from shotlake.decode.sieve import Sieve

B_FRAMES = {"preset": "veryfast", "g": "50", "bf": "3", "b-pyramid": "none", "sc_threshold": "0"}


class _Packet:
    def __init__(self, number):
        self.number = number


def sift(order: list[int], spec=SPEC, step_us: int = 40_000, lag: int = 3) -> dict[int, bool]:
    """Whether each frame is wanted; `order` is the decoding order of frames `step_us` apart."""
    sieve, wanted = Sieve(spec, 1 << 40), {}
    for decoded, number in enumerate(order):
        for packet, is_wanted in sieve.push(_Packet(number), number * step_us, (decoded - lag) * step_us):
            wanted[packet.number] = is_wanted
    rest = {packet.number: is_wanted for packet, is_wanted in sieve.flush()}
    assert all(rest.values())
    return wanted | rest


def test_every_nearest_frame_is_wanted_and_most_others_are_not():
    order = [0] + [k + offset for k in range(0, 400, 4) for offset in (4, 2, 1, 3)]
    wanted = sift(order)
    assert list(wanted) == order
    looks = (np.arange(16 * 8) + 0.5) * 125_000
    nearest = {int(n) for t in looks for n in np.flatnonzero(np.abs(np.arange(401) * 40_000 - t) <= 20_000)}
    edges = {int(cell * 2_000_000 // 40_000) for cell in range(8)}
    assert all(wanted[number] for number in nearest | edges)
    assert sum(wanted.values()) < 0.5 * len(wanted)


def test_time_stamps_that_cannot_be_trusted_let_everything_pass():
    sieve = Sieve(SPEC, 1 << 40)
    list(sieve.push(_Packet(0), 0, 0))
    jumped = list(sieve.push(_Packet(1), 50_000_000, 50_000_000))
    assert [wanted for _, wanted in jumped] == [True, True]
    sieve = Sieve(SPEC, 1 << 40)
    assert [wanted for _, wanted in sieve.push(_Packet(0), None, None)] == [True]


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
