"""NVDEC is asked for by config; without a GPU the CPU does the same work, and it is told who did it."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import av
import numpy as np
import pytest
from painted import CONFIG, Picture, Sound, columns, decode, frame_times, paint, units_of

from shotlake.decode import accelerate
from shotlake.decode.accelerate import accelerator, is_from_gpu

NVDEC = CONFIG.model_copy(update={"device": "nvdec"})


def test_only_who_asks_gets_it():
    assert accelerator(CONFIG) is None


@pytest.mark.parametrize("isolate", [False, True])
def test_the_clips_are_the_same_and_the_outcome_tells_the_device(tmp_path, caplog, isolate):
    accelerate._nvdec.cache_clear()
    units = units_of(paint(tmp_path / "a.mp4", Picture(frame_times(200)), Sound(8.0)), cells_a_unit=2)
    batches, outcomes = decode(units)
    with caplog.at_level(logging.WARNING):
        accelerated, others = decode(units, config=NVDEC.model_copy(update={"isolate": isolate}))
        used = "nvdec" if accelerator(NVDEC) else "cpu"
    assert [outcome.device for outcome in outcomes] == ["cpu", "cpu"]
    assert [outcome.device for outcome in others] == [used, used]
    assert [record.message for record in caplog.records if "used=cpu" in record.message] or used == "nvdec"
    here, there = columns(batches), columns(accelerated)
    np.testing.assert_array_equal(there["frame_us"], here["frame_us"])
    tolerance = 0 if used == "cpu" else 2  # two memory layouts round differently on their way to RGB
    np.testing.assert_allclose(there["frames"].astype(int), here["frames"].astype(int), atol=tolerance)


def test_the_gpu_is_looked_for_once(tmp_path, caplog):
    accelerate._nvdec.cache_clear()
    if accelerator(NVDEC):
        pytest.skip("there is a GPU")
    path = paint(tmp_path / "a.mp4", Picture(frame_times(50)))
    for _ in range(2):
        decode(units_of(path), config=NVDEC)
    assert sum("used=cpu" in record.message for record in caplog.records) == 1


def test_sound_alone_has_no_device(tmp_path):
    _, (outcome,) = decode(units_of(paint(tmp_path / "a.m4a", sound=Sound(2.0))), config=NVDEC)
    assert (outcome.status, outcome.device) == ("ok", "")


@pytest.mark.parametrize(
    ("is_hwaccel", "pixel_format", "expected"),
    [(True, "nv12", True), (True, "p010le", True), (True, "yuv420p", False), (False, "nv12", False)],
)
def test_frames_tell_who_made_them(is_hwaccel, pixel_format, expected):
    """libav goes on with its own decoder where NVDEC refuses a stream; raw NV12 was never decoded at all."""
    frame, codec = av.VideoFrame(16, 16, pixel_format), SimpleNamespace(is_hwaccel=is_hwaccel)
    assert is_from_gpu(frame, codec) is expected
