"""The words of SRT and WebVTT files beside a video, by time; whatever is wrong with such a file, no run fails of it."""

from __future__ import annotations

import html
import logging
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from shotlake import storage
from shotlake.errors import NotFound, ShotlakeError

log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20  # of a file; a film has about 100 kB
MAX_LETTERS = 4_000  # of a segment

_CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}")
_TAGS = re.compile(r"<[^>]*>|\{\\[^}]*\}")  # <i>, <v Anna>, <00:00:01.000>; {\an8}


@dataclass(frozen=True, slots=True)
class Cue:
    """Words that are shown from `start_us` up to `end_us` of the video."""

    start_us: int
    end_us: int
    text: str


class Subtitles:
    """The cues of one file, in the order of time; `n_bad` others could not be read."""

    def __init__(self, cues: Sequence[Cue] = (), n_bad: int = 0) -> None:
        self.cues = sorted(cues, key=lambda cue: cue.start_us)
        self.n_bad = n_bad
        self._starts = [cue.start_us for cue in self.cues]
        self._ends = list(accumulate((cue.end_us for cue in self.cues), max))  # of all up to here

    def between(self, start_us: int, end_us: int) -> str:
        """The words of the cues that overlap [start_us, end_us), a cue a line; "" if there are none."""
        first, last = bisect_right(self._ends, start_us), bisect_left(self._starts, end_us)
        return "\n".join(cue.text for cue in self.cues[first:last] if cue.end_us > start_us)[:MAX_LETTERS]


def read_subtitles(video_uri: str, suffixes: Sequence[str]) -> Subtitles:
    """Those of the first file that is called as the video is, but with one of `suffixes`; none where there is none."""
    for suffix in suffixes:
        uri = os.path.splitext(video_uri)[0] + suffix
        try:
            size_bytes = storage.stat(uri).size_bytes
            if size_bytes > MAX_BYTES:
                log.warning("subtitles=%s bytes=%d: more than %d, left out", uri, size_bytes, MAX_BYTES)
                continue
            found = parse_subtitles(storage.read_bytes(uri))
        except NotFound:
            continue
        except ShotlakeError as error:
            log.warning("subtitles=%s: left out, %s", uri, error)
            continue
        log.info("subtitles=%s cues=%d bad=%d", uri, len(found.cues), found.n_bad)
        return found
    return Subtitles()


def parse_subtitles(data: bytes) -> Subtitles:
    """SRT or WebVTT, told apart by nothing: both are blocks of a line of times and lines of words."""
    cues: list[Cue] = []
    n_bad = 0
    for block in re.split(r"\n\s*\n", _decoded(data).replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.split("\n")
        at = next((number for number, line in enumerate(lines) if "-->" in line), None)
        if at is None:  # a header, a note, a style, a number that stands alone
            continue
        times = _TIMES.match(lines[at])
        start_us, end_us = (_microseconds(times.groups()[:4]), _microseconds(times.groups()[4:])) if times else (0, 0)
        if end_us <= start_us:
            n_bad += 1
            continue
        words = " ".join(html.unescape(_TAGS.sub("", line)).strip() for line in lines[at + 1 :]).strip()
        if words:
            cues.append(Cue(start_us, end_us, words))
    return Subtitles(cues, n_bad)


def _decoded(data: bytes) -> str:
    """UTF-8 or UTF-16 with its mark, else Latin-1, which any bytes are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _microseconds(clock: Sequence[str | None]) -> int:
    hours, minutes, seconds, fraction = clock
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1_000_000 + int((fraction or "0").ljust(6, "0"))
