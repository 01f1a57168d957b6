"""A probe in the child says what one in this process says; what kills the child is a sentence of its own video."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from painted import CONFIG, Picture, Sound, frame_times, info_of, paint, video_of

from shotlake import storage
from shotlake.decode import prober as prober_module
from shotlake.decode.prober import VideoProber
from shotlake.errors import AccessDenied, Crashed, NotMedia, OutOfMemory, SourceChanged, StoreError, TimedOut
from shotlake.flow.steps import Probed, probe_batch
from shotlake.records import WorkUnit, work_unit_to_json

ISOLATED = CONFIG.model_copy(update={"isolate": True})

# Runs at the start of the child: what happens to a video is told by its last bytes.
FAULTS = """
import ctypes, os, time
import shotlake.decode.probe as module

honest = module.probe

def probe(reader, config):
    reader.seek(-8, os.SEEK_END)
    fault = reader.read(8)
    if fault == b"segfault":
        ctypes.string_at(0)
    if fault == b"hanging!":
        time.sleep(3600)
    if fault == b"growing!":
        hoard = [bytearray(1 << 28) for _ in range(1 << 20)]
    if fault == b"babbling":
        os.write(int(__import__("sys").argv[1]), b"\\0\\0\\0\\7babbles")
    return honest(reader, config)

module.probe = probe
"""


@pytest.fixture
def good(tmp_path, monkeypatch) -> Path:
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return paint(tmp_path / "good.mp4", Picture(frame_times(100)), Sound(4.0))


def with_tail(good: Path, tail: bytes) -> Path:
    path = good.with_name(f"{tail.decode()}.mp4")
    path.write_bytes(good.read_bytes() + tail)
    return path


def test_the_child_says_what_this_process_says(good):
    text = good.with_name("text.mp4")
    text.write_text("no video at all, whatever its name\n" * 100)
    with VideoProber(ISOLATED) as there, VideoProber(CONFIG) as here:
        assert there(video_of(good)) == here(video_of(good)) == info_of(good)
        assert there.usage.bytes_read == here.usage.bytes_read == good.stat().st_size
        assert there.usage.cpu_s > 0
        for prober in (there, here):
            with pytest.raises(NotMedia, match=r"none of the allowed containers"):
                prober(video_of(text))
            assert prober.usage.requests > 0


@pytest.mark.parametrize(
    ("tail", "error"),
    [(b"segfault", Crashed), (b"hanging!", TimedOut), (b"growing!", OutOfMemory), (b"babbling", Crashed)],
)
def test_faults_are_errors_of_their_own_video(good, tail, error):
    config = ISOLATED.model_copy(update={"memory_bytes": 1 << 30} | ({"idle_s": 1.0} if error is TimedOut else {}))
    with VideoProber(config) as prober, pytest.raises(error):
        prober(video_of(with_tail(good, tail)))
    with VideoProber(ISOLATED) as prober:
        assert prober(video_of(good)).duration_us == 4_000_000


def test_a_crash_in_the_probe_is_a_row_and_its_neighbours_are_whole(good):
    videos = [video_of(path) for path in (good, with_tail(good, b"segfault"), good)]
    texts = np.array([work_unit_to_json(WorkUnit(video, "key", 0, 0)) for video in videos], object)
    rows = probe_batch({"unit": texts}, ISOLATED)
    probed = [Probed.of({name: column[row] for name, column in rows.items()}) for row in range(3)]
    assert [row.code for row in probed] == ["", "crashed", ""]
    assert [row.media.duration_us for row in probed] == [4_000_000, 0, 4_000_000]


@pytest.mark.parametrize("problem", [StoreError("the line is dead"), AccessDenied("no")])
def test_the_store_speaks_through_the_parent(good, monkeypatch, problem):
    def fetch(start, end):
        raise problem

    size_bytes = good.stat().st_size
    monkeypatch.setattr(prober_module.storage, "open_object", lambda *_: storage.ObjectReader(fetch, size_bytes))
    with VideoProber(ISOLATED) as prober, pytest.raises(type(problem), match=str(problem)):
        prober(video_of(good))


def test_a_replaced_object_is_not_probed(good):
    video = video_of(good)
    good.write_bytes(good.read_bytes() + b"more")
    with VideoProber(ISOLATED) as prober, pytest.raises(SourceChanged):
        prober(video)
