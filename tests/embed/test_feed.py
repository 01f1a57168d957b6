"""No row is lost or exchanged on its way through a device: buckets, copies, batches that the memory does not hold."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from shotlake.embed.feed import Bucket, Feed, Inputs, Outputs, check_clips, heard_samples, pixels
from shotlake.embed.refuse import embed_or_refuse
from shotlake.errors import BadClip, EmbedError
from shotlake.records import ClipBatch, ClipSpec, Fingerprint, VectorBatch

DIM = 3
SPEC = ClipSpec(1_000_000, 1_000_000, 2, 4, 4, 100)


def clips(n_clips: int) -> ClipBatch:
    shape = (n_clips, SPEC.n_frames, SPEC.height_px, SPEC.width_px, 3)
    return ClipBatch(
        segment_id=np.array([f"s{number}" for number in range(n_clips)], object),
        cell=np.arange(n_clips),
        start_us=np.zeros(n_clips, np.int64),
        end_us=np.zeros(n_clips, np.int64),
        frames=np.zeros(shape, np.uint8),
        frame_mask=np.ones(shape[:2], bool),
        frame_us=np.zeros(shape[:2], np.int64),
        waveform=np.zeros((n_clips, SPEC.n_samples), np.float32),
        sample_mask=np.ones((n_clips, SPEC.n_samples), bool),
    )


def number_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    """An input that says which rows it is of."""
    return {"number": rows.astype(np.float32)}


def told(inputs: Inputs) -> torch.Tensor:
    """A vector from which the number can be read again after it was normalised."""
    angle = inputs["number"] / 100
    return torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)


def numbers(vectors: np.ndarray) -> np.ndarray:
    return np.round(100 * np.arctan2(vectors[:, 1], vectors[:, 0])).astype(int)


def fused(inputs: Inputs) -> Outputs:
    return {"fused": told(inputs)}


class Memory:
    """A network that runs out of memory above so many rows, and writes down what it was given."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tried: list[int] = []

    def __call__(self, inputs: Inputs) -> Outputs:
        self.tried.append(len(inputs["number"]))
        if len(inputs["number"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return fused(inputs)


@pytest.mark.parametrize("few_shapes", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 5, 64])
def test_every_row_keeps_its_place(batch_size: int, few_shapes: bool) -> None:
    even = Bucket(np.arange(0, 23, 2), number_of, fused)
    odd = Bucket(np.arange(1, 23, 2), number_of, lambda inputs: {**fused(inputs), "audio": told(inputs)})
    found = Feed("cpu", batch_size, few_shapes).embed(clips(23), [odd, even], DIM)
    assert list(numbers(found["fused"])) == list(range(23))
    assert list(numbers(found["audio"][1::2])) == list(range(1, 23, 2))
    assert not found["audio_norm"][::2].any() and not found["visual_norm"].any()


@pytest.mark.parametrize("most", [1, 3, 7, 16])
def test_out_of_memory_halves_the_batch_and_loses_no_row(most: int, caplog: pytest.LogCaptureFixture) -> None:
    feed, network = Feed("cpu", 16), Memory(most)
    with caplog.at_level(logging.WARNING, logger="shotlake"):
        found = feed.embed(clips(40), [Bucket(np.arange(40), number_of, network)], DIM)
    assert list(numbers(found["fused"])) == list(range(40))
    assert (found["fused_norm"] > 0).all()
    assert feed.batch_size == {1: 1, 3: 2, 7: 4, 16: 16}[most]
    too_large = [size for size in network.tried if size > most]
    assert caplog.text.count("out of memory") == len(too_large)
    assert len(too_large) == len(set(too_large))  # no size twice


def test_what_was_too_large_once_is_not_tried_again() -> None:
    feed, network = Feed("cpu", 16), Memory(4)
    feed.embed(clips(16), [Bucket(np.arange(16), number_of, network)], DIM)
    network.tried.clear()
    feed.embed(clips(16), [Bucket(np.arange(16), number_of, network)], DIM)
    assert network.tried == [4, 4, 4, 4]


def test_one_clip_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(EmbedError, match="does not hold one clip"):
        Feed("cpu", 4).embed(clips(4), [Bucket(np.arange(4), number_of, Memory(0))], DIM)


class Short:
    """An encoder of no more than so many clips at a time, without a Feed of its own."""

    dim, fingerprint = DIM, Fingerprint("short", "", "", "")

    def __init__(self, most: int) -> None:
        self.most = most

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        if len(batch["cell"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Feed("cpu", 64).embed(batch, [Bucket(np.arange(len(batch["cell"])), lambda rows: number_of(
            batch["cell"][rows]), fused)], DIM)  # fmt: skip


def test_an_encoder_that_does_not_halve_is_given_halves() -> None:
    batch = clips(21)
    found = embed_or_refuse(Short(4), batch)
    assert list(numbers(found["fused"])) == list(range(21))
    assert list(found["segment_id"]) == list(batch["segment_id"])
    assert len(embed_or_refuse(Short(4), clips(0))["fused"]) == 0
    with pytest.raises(torch.OutOfMemoryError):
        embed_or_refuse(Short(0), clips(2))


def test_few_shapes_are_powers_of_two_up_to_the_batch() -> None:
    feed, network = Feed("cpu", 12, few_shapes=True), Memory(99)
    for count in range(1, 31):
        feed.embed(clips(count), [Bucket(np.arange(count), number_of, network)], DIM)
    assert set(network.tried) == {1, 2, 4, 8, 12}


def test_what_is_not_finite_is_told_by_its_norm() -> None:
    def spoil(inputs: Inputs) -> Outputs:
        vectors = told(inputs)
        vectors[1] = torch.nan
        vectors[2, 0] = torch.inf
        return {"fused": vectors}

    found = Feed("cpu", 8).embed(clips(4), [Bucket(np.arange(4), number_of, spoil)], DIM)
    assert list(np.isnan(found["fused_norm"])) == [False, True, True, False]
    assert np.isfinite(found["fused"]).all()


def test_no_clips_are_no_vectors() -> None:
    found = Feed("cpu", 8).embed(clips(0), [Bucket(np.arange(0), number_of, fused)], DIM)
    assert found["fused"].shape == (0, DIM)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels(dtype: torch.dtype) -> None:
    frames = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3)
    found = pixels(frames, [0.5, 0.4, 0.0], [0.5, 0.2, 1.0], dtype)
    values = frames.movedim(-1, -3).double() / 255
    expected = (values - torch.tensor([0.5, 0.4, 0.0])[:, None, None]) / torch.tensor([0.5, 0.2, 1.0])[:, None, None]
    assert found.shape == (1, 3, 16, 16) and found.dtype is dtype
    torch.testing.assert_close(found.double(), expected, atol=1e-5 if dtype is torch.float32 else 2e-2, rtol=1e-2)


def test_heard_samples_are_counted_to_the_last() -> None:
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]], bool)
    assert list(heard_samples(mask)) == [2, 0, 4, 4]


def test_arrays_that_are_not_of_the_specification() -> None:
    check_clips(clips(2), SPEC, "it")
    for name, column in (
        ("frames", np.zeros((2, 2, 4, 4, 3), np.float32)),
        ("frames", np.zeros((2, 3, 4, 4, 3), np.uint8)),
        ("waveform", np.zeros((2, 300), np.float32)),
    ):
        with pytest.raises(BadClip, match="it wants"):
            check_clips(ClipBatch(**{**clips(2), name: column}), SPEC, "it")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    """Enough batches that copies overlap with work."""

    def slow(inputs: Inputs) -> Outputs:
        work = inputs["load"] @ inputs["load"].mT
        return {"fused": told(inputs) + 0 * work.mean(dim=(1, 2))[:, None]}

    def arrays(rows: np.ndarray) -> dict[str, np.ndarray]:
        load = np.random.default_rng(int(rows[0])).standard_normal((len(rows), 256, 256), dtype=np.float32)
        return {**number_of(rows), "load": load}

    found = Feed("cuda", 16).embed(clips(200), [Bucket(np.arange(200), arrays, slow)], DIM)
    assert list(numbers(found["fused"])) == list(range(200))
