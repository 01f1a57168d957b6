"""How clips go through a network: rows of one shape together, copied while the device computes, none lost to memory.

A bucket is the rows of a batch that go one way in one shape. On a GPU the number of rows is made a power of two as
well, by repeating the last one, so that shapes are few and kernels that were chosen for one are used again. Where the
memory does not hold a batch, half as many rows are tried; as many are not tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.encoder import normalise
from shotlake.errors import BadClip, EmbedError
from shotlake.records import SPACES, ClipBatch, ClipSpec, Space, VectorBatch

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[np.generic]]
Inputs = dict[str, Tensor]
Outputs = Mapping[Space, Tensor]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Bucket:
    """Rows [R] of a batch that go one way: `arrays` makes [b, ...] of some of them, `forward` raw vectors [b, D]."""

    rows: Rows
    arrays: Callable[[Rows], Arrays]
    forward: Callable[[Inputs], Outputs]


class Feed:
    """Takes buckets through the device, `batch_size` rows at the most; less once the memory did not hold as many."""

    def __init__(self, device: str, batch_size: int, few_shapes: bool | None = None) -> None:
        self._device = torch.device(device)
        self.batch_size = batch_size
        self._few_shapes = self._device.type == "cuda" if few_shapes is None else few_shapes
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def embed(self, batch: ClipBatch, buckets: Sequence[Bucket], dim: int) -> VectorBatch:
        """Unit vectors and norms of every row; a space that no bucket gave a row a vector for stays absent."""
        n_clips = len(batch["segment_id"])
        raw: dict[Space, NDArray[np.float32]] = {space: np.zeros((n_clips, dim), np.float32) for space in SPACES}
        present: dict[Space, NDArray[np.bool_]] = {space: np.zeros(n_clips, bool) for space in SPACES}
        for bucket in buckets:
            for rows, outputs in self._through(bucket):
                for space, vectors in outputs.items():
                    raw[space][rows] = vectors.float().cpu().numpy()
                    present[space][rows] = True
        columns = {space: normalise(raw[space], present[space]) for space in SPACES}
        return VectorBatch(
            segment_id=batch["segment_id"],
            fused=columns["fused"][0],
            fused_norm=columns["fused"][1],
            visual=columns["visual"][0],
            visual_norm=columns["visual"][1],
            audio=columns["audio"][0],
            audio_norm=columns["audio"][1],
        )

    def _through(self, bucket: Bucket) -> Iterator[tuple[Rows, Outputs]]:
        """One batch behind: its results are asked for once the next one's kernels are queued."""
        before: list[tuple[Rows, Outputs]] = []
        for rows, inputs in self._copied(bucket):
            now = self._fitting(rows, inputs, bucket.forward)
            yield from before
            before = now
        yield from before

    def _parts(self, rows: Rows) -> Iterator[Rows]:
        """As many rows as a batch may have now; the last one again where their number is to be a power of two."""
        while len(rows):
            part, rows = rows[: self.batch_size], rows[self.batch_size :]
            wanted = min(self.batch_size, 1 << (len(part) - 1).bit_length()) if self._few_shapes else 0
            yield np.concatenate([part, np.repeat(part[-1:], max(0, wanted - len(part)))])

    def _copied(self, bucket: Bucket) -> Iterator[tuple[Rows, Inputs]]:
        """Batches on the device; a GPU gets the next one meanwhile, from pinned memory on a stream of its own."""
        waiting: tuple[Rows, Inputs, torch.cuda.Event] | None = None
        for rows in self._parts(bucket.rows):
            arrays = bucket.arrays(rows)
            if self._copies is None:
                yield rows, {name: torch.from_numpy(array) for name, array in arrays.items()}
                continue
            queued = (rows, *self._queue_copy(arrays))
            if waiting:
                yield waiting[0], self._arrived(*waiting[1:])
            waiting = queued
        if waiting:
            yield waiting[0], self._arrived(*waiting[1:])

    def _queue_copy(self, batch: Arrays) -> tuple[Inputs, torch.cuda.Event]:
        with torch.cuda.stream(self._copies):
            inputs = {
                name: torch.from_numpy(array).pin_memory().to(self._device, non_blocking=True)
                for name, array in batch.items()
            }
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._copies)
        return inputs, done

    def _arrived(self, inputs: Inputs, done: torch.cuda.Event) -> Inputs:
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(done)
        for tensor in inputs.values():
            tensor.record_stream(stream)  # else the copy stream's allocator reuses it under our kernels
        return inputs

    def _fitting(self, rows: Rows, inputs: Inputs, forward: Callable[[Inputs], Outputs]) -> list[tuple[Rows, Outputs]]:
        """The rows in one piece, or in as many as the memory asks for."""
        results: list[tuple[Rows, Outputs]] = []
        at = 0
        while at < len(rows):
            part = slice(at, min(len(rows), at + self.batch_size))
            try:
                with torch.inference_mode():
                    results.append((rows[part], forward({name: tensor[part] for name, tensor in inputs.items()})))
            except torch.OutOfMemoryError as error:
                if part.stop - at == 1:
                    raise EmbedError(
                        f"the memory of {self._device} does not hold one clip; take a smaller model or another machine"
                    ) from error
            else:
                at = part.stop
                continue
            self._halve(part.stop - at)  # here the error is gone, and with it what it held of the memory
        return results

    def _halve(self, n_rows: int) -> None:
        self.batch_size = n_rows // 2
        log.warning("device=%s batch_size=%d halved: out of memory", self._device, self.batch_size)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def pixels(frames: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """uint8 [..., H, W, 3] as normalised [..., 3, H, W], where the frames are; in float32 up to the last rounding."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), frames.device)
    return (frames.float() * scale - shift).movedim(-1, -3).to(dtype)


@cache
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept where they are used: a copy of three numbers would make the host wait for the device."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    return scale, torch.tensor([m / s for m, s in zip(mean, std)], device=device)


def heard_samples(sample_mask_BN: NDArray[np.bool_]) -> NDArray[np.intp]:
    """[B] length of each sound up to its last sample; 0 where there is none. What is masked before it is silence."""
    n_samples = sample_mask_BN.shape[1]
    last = n_samples - np.argmax(sample_mask_BN[:, ::-1], axis=1)
    return np.where(sample_mask_BN.any(axis=1), last, 0)


def check_clips(batch: ClipBatch, spec: ClipSpec, model: str) -> None:
    """The arrays are those of `spec`. Errors: BadClip, with what was given and what is wanted."""
    n_clips, frames, waveform = len(batch["segment_id"]), batch["frames"], batch["waveform"]
    wanted = (n_clips, spec.n_frames, spec.height_px, spec.width_px, 3)
    if frames.shape != wanted or frames.dtype != np.uint8:
        raise BadClip(f"frames are {frames.dtype} {list(frames.shape)}; {model} wants uint8 {list(wanted)}")
    if waveform.shape != (n_clips, spec.n_samples):
        raise BadClip(
            f"the waveform is {list(waveform.shape)}; {model} wants [{n_clips}, {spec.n_samples}], "
            f"which is {spec.window_us / 1e6:g} s at {spec.sample_rate_hz} Hz, mono"
        )
