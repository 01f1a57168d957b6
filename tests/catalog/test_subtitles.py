"""Words come at the times that the file gives them, and no file is bad enough to fail."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from shotlake.catalog.subtitles import MAX_BYTES, MAX_LETTERS, Cue, parse_subtitles, read_subtitles

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Good</i> evening,
{\\an8}Herr M\u00fcller &amp; Co.

2
00:00:02,400 --> 00:01:00,000
Rain.

3
00:00:10,5 --> 00:00:09,000
Backwards.

4
0:0 --> later
Never.

5
00:00:11,000 --> 00:00:12,000
<b></b>
"""
VTT = """WEBVTT - a title

NOTE nothing to --- see

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Hello <00:00:01.500><c>there</c></v>

100:00:00.000 --> 100:00:01.000
Late.
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_srt(encoding: str, newline: str) -> None:
    found = parse_subtitles(SRT.replace("\n", newline).encode(encoding))
    assert found.cues == [
        Cue(1_000_000, 2_500_000, "Good evening, Herr M\u00fcller & Co."),
        Cue(2_400_000, 60_000_000, "Rain."),
    ]
    assert found.n_bad == 2


def test_webvtt() -> None:
    found = parse_subtitles(VTT.encode())
    hours = 100 * 3_600_000_000
    assert found.cues == [Cue(1_000_000, 2_500_000, "Hello there"), Cue(hours, hours + 1_000_000, "Late.")]
    assert found.n_bad == 0


def test_a_segment_has_the_cues_that_overlap_it() -> None:
    found = parse_subtitles(SRT.encode())
    first, rain = (cue.text for cue in found.cues)
    assert found.between(0, 1_000_000) == ""
    assert found.between(0, 1_000_001) == first
    assert found.between(2_400_000, 2_500_000) == f"{first}\n{rain}"
    assert found.between(2_500_000, 3_000_000) == rain
    assert found.between(60_000_000, 70_000_000) == ""


def test_a_long_cue_is_found_behind_short_ones() -> None:
    lines = [f"00:00:{s:02d}.000 --> 00:00:{s + 1:02d}.000\nat {s}\n" for s in range(1, 50)]
    found = parse_subtitles("\n".join(["00:00.500 --> 00:59.000\nall along\n", *lines]).encode())
    assert found.between(40_000_000, 41_000_000) == "all along\nat 40"


@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff\xfe" * 1000, b"-->\n\n-->", "\ufeff".encode(), b"\xff\xfe1", b"1\n" * 99]
)
def test_rubbish_is_no_cue(data: bytes) -> None:
    assert parse_subtitles(data).cues == []


def test_the_file_beside_a_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video, beside = tmp_path / "a.b.mp4", tmp_path / "a.b.vtt"
    assert read_subtitles(str(video), (".srt", ".vtt")).cues == []
    beside.write_text(VTT)
    assert len(read_subtitles(str(video), (".srt", ".vtt")).cues) == 2
    (tmp_path / "a.b.srt").mkdir()  # no file
    assert len(read_subtitles(str(video), (".srt", ".vtt")).cues) == 2
    assert read_subtitles(str(video), ()).cues == []
    with caplog.at_level(logging.WARNING):
        beside.write_bytes(b"x" * (MAX_BYTES + 1))
        assert read_subtitles(str(video), (".vtt",)).cues == []
    assert "left out" in caplog.text


def test_a_segment_holds_so_many_letters() -> None:
    cues = "\n\n".join(f"00:01.000 --> 00:02.000\n{'word ' * 200}" for _ in range(9))
    assert len(parse_subtitles(cues.encode()).between(0, 2_000_000)) == MAX_LETTERS
