"""Videos of plain colours, and an encoder that sees nothing but colours: what is found can be worked out by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import normalise
from shotlake.embed.grid import clip_grid
from shotlake.errors import QueryError
from shotlake.records import ClipBatch, Fingerprint, QueryVectors, Space, VectorBatch

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 220), "white": (240, 240, 240)}
PAIRS = [(a, b) for a in COLOURS for b in COLOURS]
SECONDS, RATE = 4, 10


def paint_pair(path: Path, first: str, second: str) -> None:
    """Half of the time one colour, then the other; no sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(SECONDS * RATE):
            colour = COLOURS[first if number < SECONDS * RATE // 2 else second]
            picture = np.broadcast_to(np.array(colour, np.uint8), (48, 64, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode(None))


class ColourEncoder:
    """The colours of the two halves of a clip; a text names one or two of them. Windows of any size."""

    prompts = {"query": "{text}"}

    def __init__(self, config: EmbedConfig, device: str) -> None:
        self.clip_spec = clip_grid(config, 1.0, n_frames=4, width_px=8, height_px=8, sample_rate_hz=8_000)
        self.spaces: tuple[Space, ...] = ("fused", "visual")
        self.dim = 8
        self.fingerprint = Fingerprint("colours", "", hashlib.sha256(b"colours").hexdigest(), "")

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        halves = batch["frames"].reshape(len(batch["frames"]), 2, -1, 3).mean(axis=2)
        nearest = np.linalg.norm(halves[:, :, None] - np.array(list(COLOURS.values())), axis=3).argmin(axis=2)
        vectors, norms = normalise(np.eye(4, dtype=np.float32)[nearest].reshape(-1, 8), batch["frame_mask"].any(axis=1))
        no_sound = np.zeros_like(norms)
        return VectorBatch(
            segment_id=batch["segment_id"], fused=vectors, fused_norm=norms, visual=vectors, visual_norm=norms,
            audio=np.zeros_like(vectors), audio_norm=no_sound,
        )  # fmt: skip

    def embed_text(self, texts: list[str]) -> QueryVectors:
        rows = []
        for text in texts:
            named = [list(COLOURS).index(word) for word in text.split() if word in COLOURS]
            if not named:
                raise QueryError(f"{text!r} names no colour")
            rows.append(np.eye(4, dtype=np.float32)[[named[0], named[-1]]].reshape(8) / np.sqrt(2, dtype=np.float32))
        return dict.fromkeys(self.spaces, np.array(rows, np.float32))

    @property
    def match_score(self) -> float | None:
        return None

    def captions(self) -> list[str]:
        return [f"{a} then {b} {number}" for a, b in PAIRS for number in range(32)]
