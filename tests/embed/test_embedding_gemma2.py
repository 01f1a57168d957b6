"""EmbeddingGemma 2 against transformers' own processor and network, on a tiny random checkpoint in the real format."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.embed.checkpoints import gemma2_processor, random_clips, save_gemma2

from shotlake.config import EmbedConfig
from shotlake.embed.embedding_gemma2 import CLIP_PROMPT, QUERY_PROMPT
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.embed.pretrained import import_transformers
from shotlake.errors import QueryError
from shotlake.records import SPACES, ClipBatch, Space, VectorBatch

pytestmark = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="torchvision is not installed; the extra `models` brings it"
)
SOUNDS_S = [3.0, 3.0, 1.25, 0.0, 2.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gemma2(tmp_path_factory.mktemp("gemma2"))


def load(folder: Path, **more: Any) -> Encoder:
    return load_encoder(EmbedConfig(model=str(folder), window_s=3.0, **more))


@pytest.fixture(scope="module")
def gemma2(folder: Path) -> Encoder:
    return load(folder)


@pytest.fixture(scope="module")
def clips(gemma2: Encoder) -> ClipBatch:
    """The third clip is short: it has two of the three frames. The last one is only heard."""
    batch = random_clips(gemma2.clip_spec, SOUNDS_S)
    batch["frame_mask"][2, 2], batch["frames"][2, 2] = False, 0
    batch["frame_mask"][4], batch["frames"][4] = False, 0
    return batch


def reference(folder: Path, batch: ClipBatch, rows: list[int], space: Space, dtype: torch.dtype) -> torch.Tensor:
    """What the authors' processor and network make of `rows` in one padded batch; the mean over what is not padding."""
    network = import_transformers().EmbeddingGemma2Model.from_pretrained(folder, dtype=dtype).eval()
    processor, kinds = gemma2_processor(folder), {"fused": "va", "visual": "v", "audio": "a"}[space]
    media: dict[str, Any] = {}
    pieces = []
    if "v" in kinds:
        media["videos"] = [
            torch.from_numpy(batch["frames"][row][batch["frame_mask"][row]]).movedim(-1, 1) for row in rows
        ]
        pieces.append(processor.video_token)
    if "a" in kinds:
        media["audio"] = [batch["waveform"][row][batch["sample_mask"][row]] for row in rows]
        pieces.append(processor.audio_token)
    texts = [CLIP_PROMPT + " ".join(pieces)] * len(rows)
    inputs = processor(text=texts, return_tensors="pt", videos_kwargs={"do_sample_frames": False}, **media)
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.inference_mode():
        found = network(**cast).last_hidden_state.float()
    mask = inputs["attention_mask"][:, :, None].float()
    return (found * mask).sum(dim=1) / mask.sum(dim=1)


@pytest.fixture(scope="module")
def embedded(folder: Path, clips: ClipBatch) -> dict[str, VectorBatch]:
    """All clips at once, by the numbers that the network computes in."""
    return {dtype: load(folder, dtype=dtype).embed_clips(clips) for dtype in ("float32", "bfloat16")}


CASES: list[tuple[list[int], Space]] = [
    ([0, 1], "fused"), ([0], "fused"), ([2], "fused"), ([0, 2], "fused"), ([0, 2, 3], "visual"), ([0, 2, 4], "audio"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "space"), CASES)
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9999), ("bfloat16", 0.999)])
def test_vectors_are_the_references(
    folder: Path,
    clips: ClipBatch,
    embedded: dict[str, VectorBatch],
    rows: list[int],
    space: Space,
    dtype: str,
    least: float,
) -> None:
    vectors = embedded[dtype]
    theirs = reference(folder, clips, rows, space, getattr(torch, dtype)).numpy()
    cosines = (vectors[space][rows] * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() >= least
    norms = np.linalg.norm(theirs, axis=1)
    np.testing.assert_allclose(vectors[f"{space}_norm"][rows], norms, rtol=1e-3 if dtype == "float32" else 0.05)


def test_other_clips_have_other_vectors(gemma2: Encoder, clips: ClipBatch) -> None:
    vectors = gemma2.embed_clips(clips)
    for space in SPACES:
        rows = vectors[space][[0, 1, 2]]
        assert (rows @ rows.T)[~np.eye(3, dtype=bool)].max() < 0.999, space


def test_what_is_missing_is_missing(gemma2: Encoder, clips: ClipBatch) -> None:
    vectors = gemma2.embed_clips(clips)
    assert list(vectors["visual_norm"] > 0) == [True, True, True, True, False]
    assert list(vectors["audio_norm"] > 0) == [True, True, True, False, True]
    np.testing.assert_array_equal(vectors["fused"][3], vectors["visual"][3])
    np.testing.assert_array_equal(vectors["fused"][4], vectors["audio"][4])
    batch = ClipBatch(**{name: column.copy() for name, column in clips.items()})
    batch["sample_mask"][4] = False
    assert list(gemma2.embed_clips(batch)["fused_norm"] > 0) == [True, True, True, True, False]


def test_text_has_the_prompt_of_a_query_and_does_not_depend_on_its_neighbours(folder: Path, gemma2: Encoder) -> None:
    transformers, text = import_transformers(), "a dog in the rain"
    words = transformers.AutoTokenizer.from_pretrained(folder)(QUERY_PROMPT + text, return_tensors="pt")
    network = transformers.EmbeddingGemma2Model.from_pretrained(folder).eval()
    with torch.inference_mode():
        theirs = network(**words).last_hidden_state[0].mean(dim=0).numpy()
    ours = gemma2.embed_text([text, "a red car in the street with music and a dog barking"])
    assert ours.keys() == set(SPACES)
    assert ours["fused"][0] @ theirs / np.linalg.norm(theirs) >= 0.9999
    with pytest.raises(QueryError):
        gemma2.embed_text([""])


def test_one_frame_a_second_up_to_32(folder: Path) -> None:
    spec = load_encoder(EmbedConfig(model=str(folder))).clip_spec
    assert (spec.window_us, spec.n_frames, spec.sampling, spec.fps) == (10_000_000, 10, "fps", 1.0)
    assert (spec.width_px, spec.height_px, spec.resize, spec.sample_rate_hz) == (528, 288, "pad", 16_000)
    long = load_encoder(EmbedConfig(model=str(folder), window_s=60)).clip_spec
    assert (long.n_frames, long.sampling) == (32, "uniform")
