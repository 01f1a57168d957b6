"""The files of the decode benchmark: real clips looped or cut together where they are at hand, else painted ones."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MEDIA = Path(__file__).parents[2].parent / "shared" / "media"
FILM_SIZE, FILM_FPS = (640, 360), 25
CLIPS = (
    "sintel-1024x436.mp4",
    "bear-1280x720.mp4",
    "bigbuckbunny.mp4",
    "nasa_13013.mp4",
    "small_bunny_1080p_60fps.mp4",
    "bear-640x360-trailing-moov.mp4",
    "testsrc2_vp8.webm",
    "interlaced_mpeg2.mpg",
    "h265_video.mp4",
)


def loop(source: Path, target: Path, seconds: float) -> Path:
    """Copy the packets of the best streams again and again, each time a little behind the last."""
    with av.open(str(target), "w") as out:
        streams: dict[int, object] = {}
        base = Fraction(0)
        while base < seconds:
            with av.open(str(source)) as container:
                chosen = [s for s in map(container.streams.best, ("video", "audio")) if s is not None]
                streams = streams or {stream.index: out.add_stream_from_template(stream) for stream in chosen}
                end = base
                for packet in container.demux(*chosen):
                    if packet.dts is None:
                        continue
                    offset = round(base / packet.time_base)
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
            base = end + Fraction(1, 10)
    return target


def paint(
    target: Path, codec: str, size: tuple[int, int], seconds: float, options: dict[str, str], fps: int = 25
) -> Path:
    """A drifting pattern under a camera's noise."""
    random = np.random.default_rng(0)
    grain = random.normal(0, 6, (8, size[1], size[0]))
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    with av.open(str(target), "w") as out:
        stream = out.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(round(fps * seconds)):
            luma = 128 + 60 * np.sin((across + 3 * number) / 40) * np.cos((down + number) / 30) + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.clip(luma, 0, 255).astype(np.uint8), "gray").reformat(
                format="yuv420p"
            )
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target


def make_media(folder: Path, seconds: float) -> dict[str, Path]:
    """The files of the table by their names."""
    x264 = {"preset": "veryfast", "bf": "3"}
    clips = {
        "720p": ("bear-1280x720.mp4", "libx264", (1280, 720), x264, seconds),
        "1080p": ("small_bunny_1080p_60fps.mp4", "libx264", (1920, 1080), x264, seconds),
        "hevc": ("bear-1280x720-hevc.mp4", "libx265", (1280, 720), {"preset": "ultrafast"}, seconds / 4),
        "vp9": ("testsrc2_vp9.webm", "libvpx-vp9", (1280, 720), {"cpu-used": "8"}, seconds / 4),
        # libav cannot copy an AV1 stream under its decoder's name, so this one is painted
        "av1": ("", "libsvtav1", (1280, 720), {"preset": "12", "crf": "18"}, seconds / 4),
    }
    made = {}
    for name, (clip, codec, size, options, length_s) in clips.items():
        target = folder / f"{name}.mp4"
        present = bool(clip) and (MEDIA / clip).is_file()
        made[name] = loop(MEDIA / clip, target, length_s) if present else paint(target, codec, size, length_s, options)
    return made


def painted_film(target: Path, seed: int) -> list[float]:
    """Scenes of moving blocks under noise, cut together; the times of the cuts."""
    random = np.random.default_rng([3, seed])
    edges = np.cumsum([0, *random.uniform(1.0, 3.0, 12)])
    write_film(target, (_blocks(seed, edges, number, random) for number in range(int(edges[-1] * FILM_FPS))))
    return [float(edge) for edge in edges[1:-1]]


def _blocks(seed: int, edges: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    shot = int(np.searchsorted(edges, number / FILM_FPS, side="right"))
    blocks = np.random.default_rng([seed, shot]).uniform(30, 220, (6, 10, 3))
    picture = np.roll(blocks.repeat(60, axis=0).repeat(64, axis=1), 4 * number, axis=1)
    return np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def film_of_clips(target: Path) -> None:
    """The real clips one after the other, each as long as it is, 6 s at the most."""
    write_film(target, (pixels for name in CLIPS for pixels in _resampled(MEDIA / name)))


def _resampled(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        stream, wanted = container.streams.best("video"), 0
        first = None
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            while wanted / FILM_FPS <= frame.time - first and wanted < 6 * FILM_FPS:
                yield frame.to_ndarray(format="rgb24", width=FILM_SIZE[0], height=FILM_SIZE[1])
                wanted += 1


def write_film(target: Path, pictures: Iterator[np.ndarray]) -> None:
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=FILM_FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *FILM_SIZE, "yuv420p"
        for pixels in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
