"""Colours, shapes and orientation of frames."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from painted import SPEC, Picture, columns, decode, frame_times, info_of, paint, read_number, units_of

from shotlake.decode.pictures import _tone_curve, scaled_size

COLOURS = [(200, 40, 40), (30, 180, 60), (40, 60, 220), (250, 250, 250), (5, 5, 5)]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("size", "pixel_format", "options"),
    [
        ((160, 96), "yuv420p", {}),
        ((1280, 720), "yuv420p", {"colorspace": "bt709"}),
        ((160, 96), "yuv420p", {"colorspace": "bt709"}),
        ((160, 96), "yuvj420p", {}),
        ((160, 96), "yuv420p10le", {}),
        ((161, 97), "yuv444p", {}),
    ],
)
def test_colours_survive(tmp_path, colour, size, pixel_format, options):
    """Frames are converted to YUV as their tags say, so the decoder has to give the painted colour back."""
    path = tmp_path / "a.mkv"
    matrix = "ITU709" if options else "ITU601"
    full = pixel_format.startswith("yuvj")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        if options:
            stream.codec_context.colorspace = 1
        for number in range(5):
            pixels = np.full((size[1], size[0], 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format=pixel_format, dst_colorspace=matrix, dst_color_range="JPEG" if full else "MPEG"
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clips = columns(decode(units_of(path))[0])
    assert np.abs(clips["frames"][0].mean(axis=(0, 1, 2)) - colour).max() < 4


def rotate(path, degrees):
    """Write a display matrix into the track header of an mp4."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[at : at + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation(tmp_path, degrees):
    """A player turns the picture clockwise by the track header's angle."""
    path = paint(tmp_path / "a.mp4", Picture([*frame_times(300)][-1:], size=(160, 96)))
    plain = columns(decode(units_of(path))[0])["frames"][0, 0]
    path = paint(tmp_path / "b.mp4", Picture(frame_times(200), size=(160, 96)))
    plain = columns(decode(units_of(path))[0])["frames"][1, 5]
    rotate(path, degrees)
    info = info_of(path)
    assert (info.width_px, info.height_px) == ((160, 96) if degrees == 180 else (96, 160))
    turned = columns(decode(units_of(path))[0])["frames"][1, 5]
    np.testing.assert_array_equal(np.rot90(turned, degrees // 90), plain)
    assert read_number(np.rot90(turned, degrees // 90)) == read_number(plain) > 0


def test_anamorphic_pictures_are_stretched(tmp_path):
    spec = replace(SPEC, resize="pad", width_px=96, height_px=96)
    path = paint(tmp_path / "a.mp4", Picture(frame_times(50), sample_aspect=Fraction(2)))
    assert (info_of(path).width_px, info_of(path).height_px) == (320, 96)
    frame = columns(decode(units_of(path, spec=spec), spec)[0])["frames"][0, 0]
    rows = np.flatnonzero(frame.any(axis=(1, 2)))
    assert abs(len(rows) - 96 * 96 / 320) <= 1


@pytest.mark.parametrize(("resize", "size"), [("squash", (48, 48)), ("pad", (48, 27)), ("crop", (85, 48))])
def test_ways_to_fit(tmp_path, resize, size):
    spec = replace(SPEC, resize=resize)
    assert scaled_size(1920, 1080, spec) == size
    path = paint(tmp_path / "a.mp4", Picture(frame_times(50)))
    assert columns(decode(units_of(path, spec=spec), spec)[0])["frames"].shape == (1, 16, 48, 48, 3)


def test_hdr_is_flagged_and_its_reference_white_is_bright_but_not_white(tmp_path):
    """Code value 148 of 255 is 203 nits in PQ: a sheet of paper, which a picture that is not mapped shows as grey."""
    params = "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc:log-level=none"
    shown = {}
    for name, options in (("sdr.mp4", {"x265-params": "log-level=none"}), ("hdr.mp4", {"x265-params": params})):
        picture = Picture(frame_times(25), (160, 96), "libx265", "yuv420p10le", options=options, colour=(148,) * 3)
        path = paint(tmp_path / name, picture)
        assert info_of(path).hdr == (name == "hdr.mp4")
        shown[name] = columns(decode(units_of(path))[0])["frames"].mean()
    assert abs(shown["sdr.mp4"] - 148) < 4
    assert 165 < shown["hdr.mp4"] < 220


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_tone_curves_rise_from_black_to_white(transfer):
    curve = _tone_curve(transfer).astype(int)
    assert (np.diff(curve) >= 0).all()
    assert curve[0] == 0
    assert curve[-1] >= 200
    reference_white = 148 if transfer == "pq" else 191  # code values of 203 nits
    assert 150 < curve[reference_white] < 220
