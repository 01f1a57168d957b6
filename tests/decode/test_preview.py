"""Key frames alone are a preview of the truth; where an mp4 says where they lie, the other pictures are never read."""

from __future__ import annotations

import av
import numpy as np
import pytest
from painted import CONFIG, Picture, Sound, columns, decode, frame_times, paint, read_number, units_of

from shotlake.decode import preview
from shotlake.decode.preview import LEAST_HOLE_BYTES, _apart
from shotlake.records import UnitOutcome

B_FRAMES = {"preset": "veryfast", "g": "50", "bf": "3", "b-pyramid": "none", "sc_threshold": "0"}
KEYFRAMES = CONFIG.model_copy(update={"policy": "keyframes"})
NOISY = Picture(frame_times(300), (320, 192), options=B_FRAMES | {"crf": "12", "g": "100"}, noise=15)


def key_sizes(path) -> list[tuple[int, int]]:
    """(number, bytes) of the key frames."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
        return [(round(float(packet.pts * packet.time_base) * 25), packet.size) for packet in packets]


def key_numbers(path) -> set[int]:
    return {number for number, _ in key_sizes(path)}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_key_frames_alone(tmp_path, name):
    path = paint(tmp_path / name, Picture(frame_times(500), options=B_FRAMES), Sound(20.0))
    batches, (outcome,) = decode(units_of(path), config=KEYFRAMES)
    clips = columns(batches)
    assert (outcome.status, outcome.written) == ("ok", 10)
    assert clips["frame_mask"].all()
    assert set((clips["frame_us"] // 40_000).reshape(-1)) == key_numbers(path)
    numbers = [read_number(pixels) for frames in clips["frames"] for pixels in frames]
    assert numbers == (clips["frame_us"] // 40_000).reshape(-1).tolist()


def test_key_frames_of_a_cut_file_are_partial(tmp_path):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(500), options=B_FRAMES), None, {"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, (outcome,) = decode(units_of(path), config=KEYFRAMES)
    assert (outcome.status, outcome.code) == ("partial", "truncated")


def check_preview(path, isolate: bool) -> UnitOutcome:
    """The times and pictures are those of the file, B-frames and all; the outcome."""
    batches, (outcome,) = decode(units_of(path), config=KEYFRAMES.model_copy(update={"isolate": isolate}))
    clips = columns(batches)
    assert (outcome.status, outcome.written, outcome.content_sha256) == ("ok", 6, None)
    assert set((clips["frame_us"] // 40_000).reshape(-1)) == key_numbers(path) == {0, 100, 200}
    numbers = [read_number(pixels) for frames in clips["frames"] for pixels in frames]
    assert numbers == (clips["frame_us"] // 40_000).reshape(-1).tolist()
    return outcome


@pytest.mark.parametrize("isolate", [False, True])
def test_only_the_bytes_of_key_frames_are_read(tmp_path, isolate):
    path = paint(tmp_path / "a.mp4", NOISY, None, {"movflags": "faststart"})
    keys_bytes = sum(size for _, size in key_sizes(path))
    assert keys_bytes < check_preview(path, isolate).usage.bytes_read < 0.3 * path.stat().st_size


def test_sound_is_read_from_between_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "LEAST_HOLE_BYTES", 2_000)  # a muxer that interleaves in seconds leaves larger ones
    path = paint(tmp_path / "a.mp4", NOISY, Sound(12.0), {"movflags": "faststart"})
    assert check_preview(path, isolate=False).usage.bytes_read < 0.5 * path.stat().st_size
    preview_sound, all_sound = (
        columns(decode(units_of(path), config=config)[0])["waveform"] for config in (KEYFRAMES, CONFIG)
    )
    np.testing.assert_array_equal(preview_sound, all_sound)


def test_split_previews_equal_the_single_pass(tmp_path):
    path = paint(tmp_path / "a.mp4", NOISY, None, {"movflags": "faststart"})
    whole = columns(decode(units_of(path), config=KEYFRAMES)[0])
    apart = columns([batch for unit in units_of(path, 2) for batch in decode([unit], config=KEYFRAMES)[0]])
    for column in whole:
        np.testing.assert_array_equal(apart[column], whole[column], err_msg=column)


def test_ranges_join_where_they_touch_and_keep_off_what_is_wanted():
    size = LEAST_HOLE_BYTES
    unwanted = np.array(
        [[5 * size, 6 * size], [0, size], [size, 2 * size], [3 * size, 3 * size + 9], [8 * size, 9 * size]]
    )
    wanted = np.array([[2 * size, 3 * size], [8 * size + 5, 8 * size + 6]])
    assert _apart(unwanted, wanted) == [(0, 2 * size), (5 * size, 6 * size)]
    assert _apart(unwanted, np.zeros((0, 2), int)) == [(0, 2 * size), (5 * size, 6 * size), (8 * size, 9 * size)]
