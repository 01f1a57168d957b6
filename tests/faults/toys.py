"""Steps of the job that need no media: a source object says how long it is, and every vector follows from its id."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from shotlake import storage
from shotlake.errors import ShotlakeError, StoreError
from shotlake.records import (
    ClipBatch,
    ClipSpec,
    Fingerprint,
    LostRange,
    MediaInfo,
    UnitOutcome,
    Usage,
    VectorBatch,
    Video,
    WorkUnit,
    segment_id,
)

SPEC = ClipSpec(2_000_000, 2_000_000, n_frames=1, width_px=2, height_px=2, sample_rate_hz=4)
DIM = 16
FAILING = "TOY_FAILING"  # in the environment: part of the uris whose decoding fails with io_error


def toy_vector(name: str) -> np.ndarray:
    """[DIM] float32 of length one."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    raw = np.random.default_rng(seed).standard_normal(DIM)
    return (raw / np.linalg.norm(raw)).astype(np.float32)


class ToyEncoder:
    """The contract of an encoder without a network."""

    clip_spec, spaces, dim, match_score = SPEC, ("fused", "visual"), DIM, None
    fingerprint = Fingerprint("toy", "", "0" * 64, "0" * 64)

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        ids = batch["segment_id"]
        vectors = np.stack([toy_vector(str(name)) for name in ids])
        ones, zeros = np.ones(len(ids), np.float32), np.zeros(len(ids), np.float32)
        return VectorBatch(segment_id=ids, fused=vectors, fused_norm=ones, visual=vectors, visual_norm=ones,
                           audio=np.zeros_like(vectors), audio_norm=zeros)  # fmt: skip

    def embed_text(self, texts: list[str]) -> dict[str, np.ndarray]:
        rows = np.stack([toy_vector(text) for text in texts])
        return dict.fromkeys(self.spaces, rows)

    def captions(self) -> list[str]:
        return ["a red circle", "a blue square", "a bell", "a star"]


def _read(video: Video) -> dict[str, Any]:
    if os.environ.get(FAILING) and os.environ[FAILING] in video.uri:
        raise StoreError(f"{video.uri!r}: the store stumbled once, as the test asks")
    with storage.open_object(video.uri, video.etag, video.size_bytes) as reader:
        return dict(json.loads(reader.read()))


class ToyProber:
    """Says how long a source is."""

    usage = Usage()

    def __init__(self, config: object) -> None: ...

    def __enter__(self) -> ToyProber:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, video: Video) -> MediaInfo:
        with storage.open_object(video.uri, video.etag, video.size_bytes, storage.PROBE_BLOCK_BYTES) as reader:
            seconds = json.loads(reader.read())["seconds"]
        return MediaInfo("toy", int(seconds * 1e6), "toy", None, 2, 2, 1.0)


class ToyDecoder:
    """Units to clips and outcomes, as `ClipDecoder` gives them."""

    def __init__(self, clip_spec: ClipSpec, config: object) -> None: ...

    def close(self) -> None: ...

    def __call__(self, units: Sequence[WorkUnit]) -> Iterator[ClipBatch | UnitOutcome]:
        for unit in units:
            try:
                _read(unit.video)
            except ShotlakeError as error:
                lost = (LostRange(unit.first_cell, unit.n_cells, error.code),)
                yield UnitOutcome(unit, "failed", unit.n_cells, 0, lost, error.code, error.message, True)
                continue
            yield _clips(unit)
            covered_us = unit.n_cells * SPEC.stride_us
            yield UnitOutcome(unit, "ok", unit.n_cells, unit.n_cells, covered_us=covered_us, declared_us=covered_us)


def _clips(unit: WorkUnit) -> ClipBatch:
    n = unit.n_cells
    cells = np.arange(unit.first_cell, unit.first_cell + n, dtype=np.int64)
    ids = [segment_id(unit.video.video_id, int(cell), unit.embed_key) for cell in cells]
    return ClipBatch(
        segment_id=np.array(ids, dtype=object),
        cell=cells,
        start_us=cells * SPEC.stride_us,
        end_us=(cells + 1) * SPEC.stride_us,
        frames=np.ones((n, 1, 2, 2, 3), np.uint8),
        frame_mask=np.ones((n, 1), bool),
        frame_us=(cells * SPEC.stride_us)[:, None],
        waveform=np.zeros((n, SPEC.n_samples), np.float32),
        sample_mask=np.zeros((n, SPEC.n_samples), bool),
    )


def put_in_place() -> None:
    """From now on this process probes, decodes and embeds with the toys; all else is the true code."""
    import shotlake.flow.space as space
    import shotlake.flow.steps as steps
    from shotlake.embed import load

    space.load_encoder = load.load_encoder = lambda config, device="cpu": ToyEncoder()  # type: ignore[assignment]
    steps.ClipDecoder, steps.VideoProber = ToyDecoder, ToyProber  # type: ignore[misc, assignment]
