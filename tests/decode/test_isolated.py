"""What goes wrong in the child stays there: one more try, then a row, and the neighbours are untouched."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from painted import CONFIG, SPEC, Picture, Sound, columns, decode, frame_times, paint, units_of

from shotlake.decode import decoder as decoder_module
from shotlake.decode.decoder import ClipDecoder
from shotlake.errors import AccessDenied, StoreError
from shotlake.records import ClipBatch, UnitOutcome, WorkUnit
from shotlake.storage import ObjectReader

ISOLATED = CONFIG.model_copy(update={"isolate": True, "idle_s": 60.0})  # a busy machine is no fault

# Runs at the start of the child: what happens to a video is told by its name.
FAULTS = """
import ctypes, os, socket, sys, time
import numpy
import shotlake.decode.run as run

honest = run.decode_run

def decode_run(units, *arguments):
    name = units[0].video.uri
    if "segfault" in name:
        ctypes.string_at(0)
    if "exit" in name:
        os._exit(3)
    if "hang" in name:
        time.sleep(3600)
    if "grow" in name:
        hoard = [numpy.empty(1 << 28, numpy.uint8) for _ in range(1 << 20)]
    if "noise" in name:
        for _ in range(200):
            os.write(2, b"x" * (1 << 20))
    if "thief" in name:
        for steal in (lambda: open("/etc/hostname"), socket.socket):
            try:
                steal()
            except OSError:
                continue
            os._exit(9)
        if any(key.startswith("AWS") for key in os.environ):
            os._exit(9)
    for count, item in enumerate(honest(units, *arguments)):
        if count == 2 and os.path.exists(name + ".once"):
            os.unlink(name + ".once")
            os._exit(4)
        yield item

run.decode_run = decode_run
"""


@pytest.fixture
def faults(tmp_path, monkeypatch) -> Path:
    """A folder of copies of one video; the child misbehaves by their names."""
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    paint(tmp_path / "good.mp4", Picture(frame_times(200)), Sound(8.0))
    return tmp_path


def units_named(folder: Path, *names: str, cells_a_unit: int = 2) -> list[WorkUnit]:
    for name in names:
        if name != "good":
            shutil.copy(folder / "good.mp4", folder / f"{name}.mp4")
    return [unit for name in names for unit in units_of(folder / f"{name}.mp4", cells_a_unit)]


def assert_same(ours: list[ClipBatch], theirs: list[ClipBatch]) -> None:
    left, right = columns(ours), columns(theirs)
    for name in set(left) - {"segment_id", "waveform"}:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    np.testing.assert_allclose(left["waveform"], right["waveform"], atol=1e-5)


def test_the_child_gives_what_this_process_gives(faults):
    units = units_named(faults, "good", "thief", "noise")
    here, there = decode(units), decode(units, config=ISOLATED)
    assert_same(there[0], here[0])
    assert [o.status for o in there[1]] == ["ok"] * 6
    assert [o.media for o in there[1]] == [o.media for o in here[1]]
    assert {o.content_sha256 for o in there[1]} == {hashlib.sha256((faults / "good.mp4").read_bytes()).hexdigest()}
    assert all(o.usage.cpu_s > 0 and o.usage.wall_s > 0 for o in there[1])
    assert sum(o.usage.bytes_read for o in there[1]) == 3 * (faults / "good.mp4").stat().st_size


def test_faults_cost_their_own_units_only(faults):
    codes = {"segfault": "crashed", "exit": "crashed", "grow": "out_of_memory"}
    good, *bad = (units_named(faults, name, cells_a_unit=4)[0] for name in ("good", *codes))
    config = ISOLATED.model_copy(update={"memory_bytes": 1 << 30})
    batches, outcomes = decode([bad[0], good, *bad[1:], good], config=config)
    assert [o.code for o in outcomes] == ["crashed", "", "crashed", "out_of_memory", ""]
    assert [o.retryable for o in outcomes] == [True, False, True, True, False]
    assert columns(batches)["cell"].tolist() == [0, 1, 2, 3] * 2


def test_a_hang_is_ended(faults):
    hang = units_named(faults, "hang", cells_a_unit=4)
    _, outcomes = decode(hang, config=ISOLATED.model_copy(update={"idle_s": 1.0}))
    assert [(o.code, o.retryable) for o in outcomes] == [("timed_out", True)]


def test_a_crash_that_does_not_come_back_costs_nothing(faults):
    units = units_named(faults, "good", "shy")
    (faults / "shy.mp4.once").touch()
    batches, outcomes = decode(units, config=ISOLATED.model_copy(update={"clips_per_batch": 1}))
    assert not (faults / "shy.mp4.once").exists()
    assert [o.status for o in outcomes] == ["ok"] * 4
    assert columns(batches)["cell"].tolist() == [0, 1, 2, 3] * 2


def test_the_store_speaks_through_the_parent(tmp_path, monkeypatch):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(100)), Sound(4.0), {"movflags": "faststart"})
    size_bytes = path.stat().st_size
    units, problem = units_of(path), [StoreError("the line is dead")]

    def fetch(start, end):
        if start > size_bytes // 2 and end < size_bytes:
            raise problem[0]
        return path.read_bytes()[start:end]

    monkeypatch.setattr(decoder_module, "open_video", lambda video: ObjectReader(fetch, size_bytes, 4096))
    decoder = ClipDecoder(SPEC, ISOLATED)
    *_, outcome = decoder(units)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "io_error", True)
    problem[0] = AccessDenied("no")
    with pytest.raises(AccessDenied, match="no"):
        list(decoder(units))
    decoder.close()


def test_a_consumer_that_stops_leaves_no_stale_clips(tmp_path):
    """A new block begins afresh, whatever the last one's consumer left behind."""
    path = paint(tmp_path / "a.mp4", Picture(frame_times(200)), Sound(8.0))
    decoder = ClipDecoder(SPEC, ISOLATED.model_copy(update={"clips_per_batch": 1}))
    next(decoder(units_of(path)))
    items = list(decoder(units_of(path)))
    assert [item["cell"][0] for item in items[:-1]] == [0, 1, 2, 3]
    assert isinstance(items[-1], UnitOutcome)
    pid = decoder.child_pid
    os.kill(pid, 0)
    decoder.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
