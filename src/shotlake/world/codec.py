"""What storing does to pictures and sound: through H.264 and AAC in memory, and back."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray


def damage_frames(frames: NDArray[np.uint8], crf: int, fps: int, out_px: int) -> NDArray[np.uint8]:
    """[T, H, W, 3] through H.264 at `crf`, and squashed to [T, out_px, out_px, 3] as a decoder does it."""
    n_frames, height_px, width_px, _ = frames.shape
    writer = av.CodecContext.create("libx264", "w")
    writer.width, writer.height, writer.pix_fmt = width_px, height_px, "yuv420p"
    writer.time_base, writer.framerate = Fraction(1, fps), Fraction(fps)
    writer.options = {"preset": "superfast", "crf": str(crf), "threads": "1"}
    packets = []
    for number, image in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, fps)
        packets += writer.encode(frame)
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    shown = [frame for packet in (*packets, *writer.encode(None)) for frame in reader.decode(packet)]
    shown += reader.decode(None)
    small = [frame.reformat(out_px, out_px, "rgb24", interpolation=Interpolation.AREA).to_ndarray() for frame in shown]
    return np.stack(small[:n_frames])


def damage_sound(samples: NDArray[np.float32], bit_rate: int, rate_hz: int) -> NDArray[np.float32]:
    """[N] mono samples through AAC at `bit_rate`, as many as went in."""
    writer = av.CodecContext.create("aac", "w")
    writer.sample_rate, writer.layout, writer.format, writer.bit_rate = rate_hz, "mono", "fltp", bit_rate
    writer.time_base = Fraction(1, rate_hz)
    writer.open()
    reader = av.CodecContext.create("aac", "r")
    reader.extradata = writer.extradata
    reader.sample_rate, reader.layout = rate_hz, "mono"
    fifo = av.AudioFifo()
    whole = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    whole.sample_rate, whole.pts = rate_hz, 0
    fifo.write(whole)
    packets = []
    while (piece := fifo.read(writer.frame_size, partial=True)) is not None:
        packets += writer.encode(piece)
    heard = [frame for packet in (*packets, *writer.encode(None)) for frame in reader.decode(packet)]
    sound = np.concatenate([frame.to_ndarray()[0] for frame in heard])
    primed = writer.frame_size  # the encoder looks one frame ahead, so the sound begins that much later
    return np.pad(sound[primed : primed + len(samples)], (0, max(0, len(samples) + primed - len(sound))))
