"""Videos with known truth, painted by the tests: every frame carries its number in 16 black and white blocks, every
whole second begins with a beep whose pitch tells the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from shotlake import storage
from shotlake.config import DecodeConfig
from shotlake.decode.decoder import ClipDecoder
from shotlake.decode.probe import probe
from shotlake.records import ClipBatch, ClipSpec, MediaInfo, UnitOutcome, Video, WorkUnit, cell_count

SPEC = ClipSpec(window_us=2_000_000, stride_us=2_000_000, n_frames=16, width_px=48, height_px=48, sample_rate_hz=16_000)
CONFIG = DecodeConfig(isolate=False)  # the child has its own tests
BEEP_S = 0.1


@dataclass(frozen=True)
class Picture:
    """`times_s` are the PTS of the frames; `colour` replaces the number blocks by a flat RGB colour."""

    times_s: Sequence[Fraction]
    size: tuple[int, int] = (160, 96)
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    ticks: int = 90_000
    options: dict[str, str] = field(default_factory=lambda: {"preset": "ultrafast", "crf": "20", "g": "25"})
    sample_aspect: Fraction | None = None
    colour: tuple[int, int, int] | None = None
    noise: int = 0  # amplitude of the camera's noise


@dataclass(frozen=True)
class Sound:
    """Beeps from `start_s` to `end_s` of the file's clock."""

    end_s: float
    start_s: float = 0.0
    rate_hz: int = 44_100
    layout: str = "stereo"
    codec: str = "aac"
    silent: tuple[float, float] = (0.0, 0.0)  # no packets are written in this range


def frame_times(n_frames: int, fps: Fraction | int = 25, start_s: Fraction | int = 0) -> list[Fraction]:
    """PTS of a constant frame rate."""
    return [start_s + Fraction(k) / fps for k in range(n_frames)]


def number_picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3]: bit b of the number is block b of two rows of eight."""
    bits = (number >> np.arange(16)) & 1
    blocks = np.where(bits, 235, 20).astype(np.uint8).reshape(2, 8)
    rows, columns = np.arange(size[1]) * 2 // size[1], np.arange(size[0]) * 8 // size[0]
    return np.repeat(blocks[rows][:, columns, None], 3, axis=2)


def read_number(pixels: np.ndarray) -> int:
    """The number in a decoded picture of any size."""
    height, width = pixels.shape[:2]
    rows, columns = (np.arange(2) * 2 + 1) * height // 4, (np.arange(8) * 2 + 1) * width // 16
    bits = pixels[rows][:, columns, 1].reshape(-1) > 128
    return int((bits << np.arange(16)).sum())


def beep_hz(second: int) -> int:
    return 400 + 100 * (second % 8)


def beeps(start_s: float, end_s: float, rate_hz: int) -> np.ndarray:
    """The sound of a piece of the clock, 0.5 at the most."""
    time_s = start_s + np.arange(round((end_s - start_s) * rate_hz)) / rate_hz
    second = np.floor(time_s + 1e-9)
    pitch = 400 + 100 * (second % 8)
    return (0.5 * np.sin(2 * np.pi * pitch * (time_s - second)) * (time_s - second < BEEP_S)).astype(np.float32)


def paint(path: Path, picture: Picture | None = None, sound: Sound | None = None, options: dict | None = None) -> Path:
    """Write the video; packets are interleaved by time."""
    with av.open(str(path), "w", options=options or {}) as container:
        packets = []
        if picture:
            packets += _encode_picture(container, picture)
        if sound:
            packets += _encode_sound(container, sound)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _encode_picture(container, picture: Picture) -> list:
    stream = container.add_stream(picture.codec, rate=25)
    stream.width, stream.height = picture.size
    stream.pix_fmt = picture.pixel_format
    stream.codec_context.options = picture.options
    stream.time_base = stream.codec_context.time_base = Fraction(1, picture.ticks)
    if picture.sample_aspect:
        stream.codec_context.sample_aspect_ratio = picture.sample_aspect
    packets, random = [], np.random.default_rng(0)
    for number, time_s in enumerate(picture.times_s):
        if picture.colour is None:
            pixels = number_picture(number, picture.size)
        else:
            pixels = np.full((picture.size[1], picture.size[0], 3), picture.colour, np.uint8)
        if picture.noise:
            noise = random.integers(-picture.noise, picture.noise + 1, pixels.shape[:2])[..., None]
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=picture.pixel_format)
        frame.pts, frame.time_base = round(time_s * picture.ticks), Fraction(1, picture.ticks)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _encode_sound(container, sound: Sound) -> list:
    stream = container.add_stream(sound.codec, rate=sound.rate_hz, layout=sound.layout)
    stream.time_base = Fraction(1, sound.rate_hz)
    frame_format = stream.codec_context.format.name
    channels, mono = stream.codec_context.channels, beeps(sound.start_s, sound.end_s, sound.rate_hz)
    size = stream.codec_context.frame_size or 1024
    packets = []
    for at in range(0, len(mono), size):
        piece = np.ascontiguousarray(np.repeat(mono[None, at : at + size], channels, axis=0))
        if frame_format.startswith("s16"):
            piece = np.round(piece * 32767).astype(np.int16)
        if not frame_format.endswith("p"):
            piece = np.ascontiguousarray(piece.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(piece, frame_format, sound.layout)
        frame.sample_rate, frame.time_base = sound.rate_hz, Fraction(1, sound.rate_hz)
        frame.pts = at + round(sound.start_s * sound.rate_hz)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    low, high = sound.silent
    return [p for p in packets if not low <= float(p.pts * p.time_base) < high]


def video_of(path: Path) -> Video:
    info = storage.stat(str(path))
    return Video(info.uri, info.etag, info.size_bytes, datetime.fromtimestamp(0, UTC), "test")


def reader_of(path: Path) -> storage.ObjectReader:
    info = storage.stat(str(path))
    return storage.open_object(info.uri, info.etag, info.size_bytes)


def info_of(path: Path, config: DecodeConfig = CONFIG) -> MediaInfo:
    with reader_of(path) as reader:
        return probe(reader, config)


def units_of(path: Path, cells_a_unit: int = 1000, spec: ClipSpec = SPEC) -> list[WorkUnit]:
    """The units that a probe of the video leads to."""
    video, n_cells = video_of(path), cell_count(info_of(path).duration_us, spec)
    if n_cells == 0:
        return [WorkUnit(video, "key", 0, 0)]
    return [
        WorkUnit(video, "key", first, min(cells_a_unit, n_cells - first)) for first in range(0, n_cells, cells_a_unit)
    ]


def decode(
    units: list[WorkUnit], spec: ClipSpec = SPEC, config: DecodeConfig = CONFIG
) -> tuple[list[ClipBatch], list[UnitOutcome]]:
    """All batches and outcomes; every outcome is checked to add up with the clips that came before it."""
    batches: list[ClipBatch] = []
    outcomes: list[UnitOutcome] = []
    cells: list[int] = []
    for item in ClipDecoder(spec, config)(units):
        if isinstance(item, UnitOutcome):
            if item.status != "failed":
                assert item.written == len(cells)
                assert cells == sorted(cells)
            assert item.planned == item.written + sum(lost.n_cells for lost in item.lost)
            outcomes.append(item)
            cells = []
        else:
            assert len(item["cell"]) <= config.clips_per_batch
            batches.append(item)
            cells += item["cell"].tolist()
    assert [outcome.unit for outcome in outcomes] == units
    return batches, outcomes


def columns(batches: list[ClipBatch]) -> dict[str, np.ndarray]:
    """The batches as one."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def clock_zero_s(path: Path, picture_start_s: Fraction | float = 0) -> float:
    """The painted time at zero of the clock: a sound codec's lead-in may begin before the picture."""
    with av.open(str(path)) as container:
        starts = [float((s.start_time or 0) * s.time_base) for s in container.streams]
        picture = float((container.streams.video[0].start_time or 0) * container.streams.video[0].time_base)
    return float(picture_start_s) - (picture - min(starts))


def check_pictures(clips: dict[str, np.ndarray], times_s: list[Fraction], zero_s: float = 0.0) -> None:
    """Every frame is the one whose PTS is nearest to the wanted time among those on display in the cell."""
    slack_us = 1000
    times_us = np.array([float((time - Fraction(zero_s)) * 1_000_000) for time in times_s])
    for row in range(len(clips["cell"])):
        start, end = clips["start_us"][row], clips["end_us"][row]
        wanted = start + (np.arange(16) + 0.5) * (end - start) / 16
        first = max(0, np.searchsorted(times_us, start + 1, side="right") - 1)
        in_cell = np.arange(first, max(first + 1, np.searchsorted(times_us, end - 1)))
        for k in np.flatnonzero(clips["frame_mask"][row]):
            number = read_number(clips["frames"][row, k])
            assert abs(clips["frame_us"][row, k] - times_us[number]) <= slack_us
            best = np.abs(times_us[in_cell] - wanted[k]).min()
            assert abs(times_us[number] - wanted[k]) <= best + 2 * slack_us


def check_beeps(clips: dict[str, np.ndarray], origin_s: float = 0.0, rate_hz: int = 16_000) -> int:
    """Every whole second that is heard begins with its own pitch, to 20 ms; returns how many were checked."""
    checked = 0
    for row in range(len(clips["cell"])):
        wave, mask = clips["waveform"][row], clips["sample_mask"][row]
        start_s = clips["start_us"][row] / 1e6 + origin_s
        for second in range(int(np.ceil(start_s)), int(clips["end_us"][row] / 1e6 + origin_s) + 1):
            at = round((second - start_s) * rate_hz)
            piece = wave[at : at + round(BEEP_S * rate_hz)]
            if len(piece) < BEEP_S * rate_hz or not mask[at : at + len(piece)].all():
                continue
            spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 8 * len(piece)))
            pitch = spectrum.argmax() * rate_hz / (8 * len(piece))
            assert abs(pitch - beep_hz(second)) < 12
            loud = np.abs(wave) > 0.15
            onset = np.flatnonzero(loud[max(0, at - 800) :])[0] + max(0, at - 800)
            assert abs(onset - at) <= 0.02 * rate_hz
            checked += 1
    return checked
