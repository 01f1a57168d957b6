"""Key frames with which everything begins anew, and those across which others refer."""

from __future__ import annotations

import av
import pytest
from painted import Picture, frame_times, paint

from shotlake.decode.keys import begins_anew

X264 = {"preset": "veryfast", "g": "10", "bf": "2", "sc_threshold": "0"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=10:min-keyint=10:log-level=none"}


def anew(path) -> tuple[int, int]:
    """How many packets decoding could begin with, and how many key frames there are."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        test, packets = begins_anew(stream), [packet for packet in container.demux(stream) if packet.size]
        assert all(packet.is_keyframe for packet in packets if test(packet))
        return sum(map(test, packets)), sum(packet.is_keyframe for packet in packets)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])  # NAL units behind their lengths, and behind start codes
@pytest.mark.parametrize(
    ("codec", "options", "is_open"),
    [
        ("libx264", X264, False),
        ("libx264", X264 | {"x264-params": "open-gop=1"}, True),
        ("libx265", {**X265, "x265-params": X265["x265-params"] + ":open-gop=0"}, False),
        ("libx265", X265, True),
    ],
)
def test_open_groups_do_not_begin_anew(tmp_path, name, codec, options, is_open):
    path = paint(tmp_path / name, Picture(frame_times(60), codec=codec, options=options))
    found, keys = anew(path)
    assert keys >= 5
    assert found == (1 if is_open else keys)


@pytest.mark.parametrize(
    ("name", "codec", "options", "found"),
    [
        ("a.webm", "libvpx-vp9", {"cpu-used": "8", "g": "10"}, 6),
        ("a.avi", "mjpeg", {}, 60),
        ("a.ts", "mpeg2video", {"g": "10", "bf": "2"}, 0),
    ],
)
def test_other_codecs(tmp_path, name, codec, options, found):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    picture = Picture(frame_times(60), codec=codec, pixel_format=pixels, ticks=25, options=options)
    assert anew(paint(tmp_path / name, picture))[0] == found


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff\x65", b"\0\0\1"])
def test_nonsense_is_no_key_frame(tmp_path, damage):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(3)))

    class Broken:
        is_keyframe = True

        def __bytes__(self):
            return damage

    with av.open(str(path)) as container:
        assert not begins_anew(container.streams.video[0])(Broken())
