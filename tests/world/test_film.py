"""Files hold the scenes at their times, with one clock for picture and sound."""

from pathlib import Path

import av
import numpy as np
import pytest

from shotlake.world.film import Film, Span, paint_video
from shotlake.world.paint import render_frames
from shotlake.world.scenes import Scene, Thing

RED = Scene((Thing("red", "plain", "square", "left", 1),), ("low tone",), 1)
BLUE = Scene((Thing("blue", "plain", "circle", "up", 1),), ("high tone",), 2)
SPANS = [Span(0, 1_370_000, RED), Span(1_370_000, 3_000_000, BLUE)]


def decode(path: Path) -> tuple[list[tuple[float, np.ndarray]], np.ndarray]:
    """[(time, picture)] and the samples."""
    with av.open(str(path)) as container:
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return pictures, np.concatenate(pieces)


@pytest.mark.parametrize(("name", "fps"), [("a.mp4", 24), ("a.mkv", 25), ("b.mp4", 30)])
def test_frames_and_samples_are_on_when_the_truth_says(tmp_path: Path, name: str, fps: int) -> None:
    film = Film(128, 96, fps)
    paint_video(tmp_path / name, SPANS, film)
    pictures, samples = decode(tmp_path / name)
    times_s = np.array([time_s for time_s, _ in pictures])
    np.testing.assert_allclose(times_s, np.arange(3 * fps) / fps, atol=2e-3)
    for at in range(0, 3 * fps, 7):
        scene, begin_s = (RED, 0.0) if at / fps < 1.37 else (BLUE, 1.37)
        painted = render_frames(scene, np.array([at / fps - begin_s]), 128, 96)[0]
        assert np.abs(pictures[at][1].astype(int) - painted).mean() < 8
    loudest = np.abs(np.fft.rfft(samples.reshape(-1)[: 48_000 * 3 // 6 * 6].reshape(6, -1)))[:, 1:].argmax(1) * 2
    assert (loudest[:2] < 300).all() and (loudest[3:] > 1500).all()


def test_b_frames_are_there_and_streams_can_be_left_out(tmp_path: Path) -> None:
    paint_video(tmp_path / "both.mp4", SPANS)
    with av.open(str(tmp_path / "both.mp4")) as container:
        stamps = [(packet.pts, packet.dts) for packet in container.demux(video=0) if packet.pts is not None]
    assert any(pts != dts for pts, dts in stamps) and [pts for pts, _ in stamps] != sorted(pts for pts, _ in stamps)
    for film, kinds in ((Film(has_sound=False), ["video"]), (Film(has_picture=False), ["audio"])):
        paint_video(tmp_path / "one.mkv", SPANS, film)
        with av.open(str(tmp_path / "one.mkv")) as container:
            assert [stream.type for stream in container.streams] == kinds


def test_a_worse_quality_is_a_smaller_file(tmp_path: Path) -> None:
    paint_video(tmp_path / "good.mp4", SPANS, Film(crf=20, bit_rate=96_000))
    paint_video(tmp_path / "bad.mp4", SPANS, Film(crf=35, bit_rate=32_000))
    assert (tmp_path / "bad.mp4").stat().st_size < 0.7 * (tmp_path / "good.mp4").stat().st_size


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_equal_scenes_give_equal_bytes(tmp_path: Path, name: str) -> None:
    paint_video(tmp_path / name, SPANS)
    paint_video(tmp_path / f"again-{name}", SPANS)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()
