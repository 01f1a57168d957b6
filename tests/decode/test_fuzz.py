"""Damage of every kind ends in a known status, in bounded time, and never costs a neighbour."""

from __future__ import annotations

import http.server
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from painted import CONFIG, SPEC, Picture, Sound, decode, frame_times, info_of, paint, units_of, video_of

from shotlake.config import DecodeConfig
from shotlake.decode.decoder import ClipDecoder
from shotlake.decode.prober import VideoProber
from shotlake.errors import MediaError
from shotlake.records import UnitOutcome, WorkUnit, cell_count

KNOWN = {
    "ok": {""},
    "partial": {"truncated", "corrupt", "stream_lost", "too_many_errors", "no_decodable_frames", "unsupported_codec"},
    "failed": {
        "empty",
        "unreadable",
        "not_media",
        "no_streams",
        "unsupported_codec",
        "encrypted",
        "no_decodable_frames",
        "too_many_errors",
        "truncated",
        "corrupt",
        "out_of_memory",
    },
}

LIMITED = CONFIG.model_copy(update={"isolate": True, "memory_bytes": 1 << 30})


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    """Six small clips of the common containers and codecs."""
    folder = tmp_path_factory.mktemp("originals")
    small = {"size": (64, 48), "noise": 20}
    x264 = {"preset": "ultrafast", "g": "12", "bf": "2"}
    mpeg = {"codec": "mpeg4", "options": {}, "ticks": 25}
    paths = [
        paint(folder / "a.mp4", Picture(frame_times(60), **small, options=x264), Sound(2.4)),
        paint(folder / "b.mp4", Picture(frame_times(60), **small, options=x264), Sound(2.4), {"movflags": "faststart"}),
        paint(
            folder / "c.mkv", Picture(frame_times(60), **small, options=x264), Sound(2.4, 0, 48_000, codec="libopus")
        ),
        paint(folder / "d.ts", Picture(frame_times(60), **small, options=x264), Sound(2.4, codec="mp2")),
        paint(folder / "e.webm", Picture(frame_times(40), **small, codec="libvpx", options={"deadline": "realtime"})),
        paint(folder / "f.avi", Picture(frame_times(60), **small, **mpeg), Sound(2.4, codec="ac3")),
    ]
    return [path.read_bytes() for path in paths]


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """Flipped bytes, a cut, a hole, a repeated piece, or damage to the first kilobyte."""
    broken = bytearray(data)
    kind = random.choice(["flip", "cut", "hole", "repeat", "head"])
    at = int(random.integers(0, len(broken)))
    if kind == "cut":
        return bytes(broken[:at])
    if kind == "hole":
        length = int(random.integers(1, len(broken) // 4))
        broken[at : at + length] = bytes(min(length, len(broken) - at))
    elif kind == "repeat":
        broken[at:at] = broken[at : at + int(random.integers(1, 5000))]
    else:
        end = 1024 if kind == "head" else len(broken)
        for place in random.integers(0, min(end, len(broken)), int(random.integers(1, 40))):
            broken[place] = int(random.integers(0, 256))
    return bytes(broken)


def fuzz(folder: Path, originals: list[bytes], numbers: range, seed: int, config: DecodeConfig) -> Counter[str]:
    """Decode damaged files, each as the flow would; the counts of what became of them."""
    found: Counter[str] = Counter()
    decoder, prober = ClipDecoder(SPEC, config), VideoProber(config)
    for number in numbers:
        random = np.random.default_rng([seed, number])
        path = folder / "broken.bin"
        path.write_bytes(damage(originals[number % len(originals)], random))
        try:
            n_cells = cell_count(prober(video_of(path)).duration_us, SPEC)
        except MediaError as error:
            assert error.code in KNOWN["failed"]
            n_cells = int(random.integers(0, 3))
        n_clips = 0
        for item in decoder([WorkUnit(video_of(path), "key", 0, n_cells)]):
            if not isinstance(item, UnitOutcome):
                n_clips += len(item["cell"])
                assert np.isfinite(item["waveform"]).all()
        assert item.code in KNOWN[item.status], item
        assert item.planned == item.written + sum(lost.n_cells for lost in item.lost), item
        assert item.written == n_clips, item
        found[f"{item.status} {item.code}"] += 1
    decoder.close()
    prober.close()
    return found


def test_three_hundred_damaged_files(tmp_path, originals):
    found = fuzz(tmp_path, originals, range(300), 1, CONFIG)
    assert found["partial truncated"] > 10
    assert found["partial corrupt"] > 10
    assert sum(count for name, count in found.items() if name.startswith("failed")) > 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 12))
def test_thousands_of_damaged_files(tmp_path, originals, seed):
    fuzz(tmp_path, originals, range(500), seed, LIMITED)


def test_a_file_that_takes_all_memory_leaves_the_next_one_some(tmp_path, originals):
    """Damage to this AVI lets libav allocate until there is nothing left, which it then keeps."""
    found = fuzz(tmp_path, originals, range(125, 127), 11, LIMITED)
    assert found == {"failed out_of_memory": 1, "partial corrupt": 1}


def test_a_damaged_file_in_the_child_leaves_the_next_one_whole(tmp_path, originals):
    units = []
    for number in range(6):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(damage(originals[0], np.random.default_rng([7, number])) if number % 2 else originals[0])
        units.append(WorkUnit(video_of(path), "key", 0, 2))
    _, outcomes = decode(units, config=CONFIG.model_copy(update={"isolate": True}))
    assert [outcome.status for outcome in outcomes[::2]] == ["ok"] * 3


@pytest.mark.parametrize("rate_hz", [0, 1_500_000_000])
def test_an_absurd_sample_rate_is_damage(tmp_path, rate_hz):
    path = paint(tmp_path / "a.wav", None, Sound(4.0, codec="pcm_s16le", layout="mono"))
    header = bytearray(path.read_bytes())
    at = header.index(b"fmt ") + 12
    header[at : at + 4] = rate_hz.to_bytes(4, "little")
    path.write_bytes(header)
    _, (outcome,) = decode([WorkUnit(video_of(path), "key", 0, 2)])
    assert outcome.status == "failed"
    assert outcome.code in KNOWN["failed"]


@pytest.fixture
def canary():
    """A server that nobody may ask."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}'\nfile '{file}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 33\n",
    "dash": "<MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>",
    "asx": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_open_nothing_else(tmp_path, canary, kind):
    port, asked = canary
    secret = paint(tmp_path / "secret.mp4", Picture(frame_times(25)))
    path = tmp_path / f"{kind}.mp4"
    path.write_text(PLAYLISTS[kind].format(url=f"http://127.0.0.1:{port}/x.ts", file=secret, port=port))
    with pytest.raises(MediaError) as refused:
        info_of(path)
    assert refused.value.code == "not_media"
    batches, (outcome,) = decode([WorkUnit(video_of(path), "key", 0, 0)])
    assert (batches, outcome.code, asked) == ([], "not_media", [])


def test_names_that_look_like_urls_are_names(tmp_path, canary, monkeypatch):
    port, asked = canary
    monkeypatch.chdir(tmp_path)
    for name in (f"http:127.0.0.1:{port}.mp4", "concat:a|b.mp4", "subfile,,start,0,end,9,,:a.mp4"):
        paint(tmp_path / "plain.mp4", Picture(frame_times(25)))
        (tmp_path / "plain.mp4").rename(tmp_path / name)
        assert [outcome.status for outcome in decode(units_of(tmp_path / name))[1]] == ["ok"]
    assert asked == []
