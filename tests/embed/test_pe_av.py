"""PE-AV against transformers' own processors and network, on a tiny random checkpoint in the real format."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.embed.checkpoints import pe_av_processors, random_clips, save_pe_av

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.embed.pretrained import import_transformers
from shotlake.errors import BadClip, QueryError
from shotlake.records import SPACES, ClipBatch, Space, VectorBatch

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed; the extra `pe-av` brings it")

SOUNDS_S = [2.0, 2.0, 1.03, 0.61, 0.0, 1.5]  # whole windows, shorter ones, none
Reference = dict[Space, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pe_av(tmp_path_factory.mktemp("pe-av"))


def load(folder: Path, **more: Any) -> Encoder:
    return load_encoder(EmbedConfig(model=str(folder), window_s=2.0, **more))


@pytest.fixture(scope="module")
def pe_av(folder: Path) -> Encoder:
    return load(folder)


@pytest.fixture(scope="module")
def clips(pe_av: Encoder) -> ClipBatch:
    """One clip is seen only, one heard only."""
    batch = random_clips(pe_av.clip_spec, SOUNDS_S)
    batch["frame_mask"][5], batch["frames"][5] = False, 0
    return batch


def reference(folder: Path, batch: ClipBatch, rows: list[int], dtype: torch.dtype) -> Reference:
    """Both modalities of `rows` together in one padded batch, as the authors' processors and network have it."""
    network = import_transformers().PeAudioVideoModel.from_pretrained(folder, dtype=dtype).eval()
    sound, video = pe_av_processors()
    heard = [batch["waveform"][row, batch["sample_mask"][row]] for row in rows]
    inputs: dict[str, torch.Tensor] = {}
    if all(len(samples) for samples in heard):
        inputs |= sound(heard, sampling_rate=48_000, return_tensors="pt")
        inputs["input_values"] = inputs["input_values"].to(dtype)
    if all(batch["frame_mask"][row].any() for row in rows):
        frames = [torch.from_numpy(batch["frames"][row]).permute(0, 3, 1, 2) for row in rows]
        inputs["pixel_values_videos"] = video(frames, return_tensors="pt")["pixel_values_videos"].to(dtype)
    with torch.inference_mode():
        if "input_values" not in inputs:
            seen = network.video_model.video_encoder(**inputs).pooler_output
            return {"visual": network.video_model.video_head(seen)}
        if "pixel_values_videos" not in inputs:
            return {"audio": network.get_audio_embeds(**inputs)}
        found = network.get_audio_video_embeds(**inputs, return_audio_embeds=True, return_video_embeds=True)
    return {"fused": found.audio_video_embeds, "visual": found.video_embeds, "audio": found.audio_embeds}


def cosines(ours: np.ndarray, theirs: torch.Tensor) -> np.ndarray:
    raw = theirs.float().numpy()
    return (ours * raw).sum(axis=1) / np.linalg.norm(raw, axis=1)


@pytest.fixture(scope="module")
def embedded(folder: Path, clips: ClipBatch) -> dict[str, VectorBatch]:
    """All clips at once, by the numbers that the network computes in."""
    return {dtype: load(folder, dtype=dtype).embed_clips(clips) for dtype in ("float32", "bfloat16")}


def assert_equal(
    folder: Path, clips: ClipBatch, rows: list[int], vectors: VectorBatch, dtype: str, least: float
) -> None:
    for space, theirs in reference(folder, clips, rows, getattr(torch, dtype)).items():
        assert cosines(vectors[space][rows], theirs).min() >= least, (space, rows)
        norms = theirs.float().norm(dim=1).numpy()
        np.testing.assert_allclose(vectors[f"{space}_norm"][rows], norms, rtol=1e-3 if dtype == "float32" else 0.05)


@pytest.mark.parametrize("rows", [[0, 1], [2], [3], [4], [5]], ids=["whole", "short", "16 hops", "silent", "unseen"])
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9999), ("bfloat16", 0.999)])
def test_vectors_are_the_references(
    folder: Path, clips: ClipBatch, embedded: dict[str, VectorBatch], rows: list[int], dtype: str, least: float
) -> None:
    assert_equal(folder, clips, rows, embedded[dtype], dtype, least)


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9999), ("bfloat16", 0.999)])
def test_vectors_are_the_references_of_a_padded_batch(
    tmp_path: Path, clips: ClipBatch, dtype: str, least: float
) -> None:
    """With the library's own random weights: strong ones show what convolutions see behind the end of a sound."""
    weak = save_pe_av(tmp_path / "weak", strong=False)
    assert_equal(weak, clips, [0, 2, 3], load(weak, dtype=dtype).embed_clips(clips), dtype, least)


def test_other_clips_have_other_vectors(embedded: dict[str, VectorBatch]) -> None:
    """The equality above would say little if all clips were alike to a random network."""
    vectors = embedded["float32"]
    for space in SPACES:
        rows = vectors[space][[0, 1, 2]]
        assert (rows @ rows.T)[~np.eye(3, dtype=bool)].max() < 0.999, space


def test_a_clip_that_lacks_something_goes_another_way(embedded: dict[str, VectorBatch]) -> None:
    vectors = embedded["float32"]
    assert list(vectors["visual_norm"] > 0) == [True, True, True, True, True, False]
    assert list(vectors["audio_norm"] > 0) == [True, True, True, True, False, True]
    assert (vectors["fused_norm"] > 0).all()
    np.testing.assert_array_equal(vectors["fused"][4], vectors["visual"][4])
    np.testing.assert_array_equal(vectors["fused"][5], vectors["audio"][5])


def test_neither_picture_nor_sound_and_no_number_cost_their_own_row_only(
    pe_av: Encoder, clips: ClipBatch, embedded: dict[str, VectorBatch]
) -> None:
    whole = embedded["float32"]
    batch = ClipBatch(**{name: column.copy() for name, column in clips.items()})
    batch["sample_mask"][5] = False
    batch["waveform"][1, 7] = np.nan
    vectors = pe_av.embed_clips(batch)
    assert vectors["fused_norm"][5] == 0 and np.isnan(vectors["fused_norm"][1])
    assert vectors["visual_norm"][1] > 0
    rows = [0, 2, 3, 4]
    np.testing.assert_allclose(vectors["fused"][rows], whole["fused"][rows], atol=1e-5)


def test_some_frames_only(pe_av: Encoder, clips: ClipBatch) -> None:
    """Where frames are masked, the others count, wherever they stand."""
    holes = ClipBatch(**{name: column[[0, 4]].copy() for name, column in clips.items()})
    holes["frame_mask"][:, [0, 1, 2, 9]] = False
    front = ClipBatch(**{name: column.copy() for name, column in holes.items()})
    kept = [3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15]
    front["frames"][:, :12], front["frames"][:, 12:] = holes["frames"][:, kept], 0
    front["frame_mask"][:] = np.arange(16) < 12
    one, other = pe_av.embed_clips(holes), pe_av.embed_clips(front)
    whole = pe_av.embed_clips(ClipBatch(**{name: column[[0, 4]] for name, column in clips.items()}))
    for space in ("fused", "visual"):
        np.testing.assert_allclose(one[space], other[space], atol=1e-5)
        assert ((one[space] * whole[space]).sum(axis=1) < 0.9999).all()


def test_each_space_has_its_own_text_vector(folder: Path, pe_av: Encoder, clips: ClipBatch) -> None:
    texts = ["a red car in the rain", "a dog barking", "music"]
    network = import_transformers().PeAudioVideoModel.from_pretrained(folder).eval()
    tokenizer = import_transformers().AutoTokenizer.from_pretrained(folder)
    sound, video = pe_av_processors()
    frames = [torch.from_numpy(clips["frames"][row]).permute(0, 3, 1, 2) for row in (0, 1, 0)]
    with torch.inference_mode():
        found = network(
            **tokenizer(texts, padding=True, return_tensors="pt"),
            **sound([clips["waveform"][row] for row in (0, 1, 0)], sampling_rate=48_000, return_tensors="pt"),
            **video(frames, return_tensors="pt"),
        )
    theirs = {
        "fused": found.text_audio_video_embeds,
        "visual": found.text_video_embeds,
        "audio": found.text_audio_embeds,
    }
    ours = pe_av.embed_text(texts)
    for space in SPACES:
        assert cosines(ours[space], theirs[space]).min() >= 0.9999
    assert (ours["fused"] * ours["visual"]).sum(axis=1).max() < 0.99
    with pytest.raises(QueryError, match="empty"):
        pe_av.embed_text(["music", " "])


def test_clip_spec_is_the_checkpoints(folder: Path) -> None:
    spec = load_encoder(EmbedConfig(model=str(folder))).clip_spec
    assert (spec.window_us, spec.stride_us, spec.n_frames) == (10_000_000, 10_000_000, 16)
    assert (spec.width_px, spec.height_px, spec.sample_rate_hz, spec.resize) == (336, 336, 48_000, "squash")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("frames", np.full((6, 16, 336, 336, 3), np.nan, np.float32)),
        ("frames", np.zeros((6, 16, 224, 224, 3), np.uint8)),
        ("waveform", np.zeros((6, 32_000), np.float32)),
    ],
)
def test_arrays_of_another_kind_are_refused(pe_av: Encoder, clips: ClipBatch, name: str, column: np.ndarray) -> None:
    with pytest.raises(BadClip, match="pe-av wants"):
        pe_av.embed_clips(ClipBatch(**{**clips, name: column}))


def test_there_are_enough_captions_to_tune_an_index(pe_av: Encoder) -> None:
    assert len(set(pe_av.captions())) >= 500


def test_the_fingerprint_is_of_the_weights(folder: Path, tmp_path: Path, pe_av: Encoder) -> None:
    other = load(save_pe_av(tmp_path / "other", seed=1))
    assert load(folder).fingerprint == pe_av.fingerprint
    assert other.fingerprint.weights_sha256 != pe_av.fingerprint.weights_sha256
    assert other.fingerprint.preprocess_sha256 == pe_av.fingerprint.preprocess_sha256
