"""Late fusion on tiny random checkpoints: each half is its reference's, and one product is the weighted sum of both."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.embed.checkpoints import (
    clap_extractor,
    random_clips,
    save_clap,
    save_pe_av,
    save_siglip,
    save_videoprism,
    siglip_processor,
)

from shotlake.config import EmbedConfig, LateFusionConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.late_fusion import picture_share
from shotlake.embed.load import load_encoder
from shotlake.embed.pretrained import import_transformers
from shotlake.errors import BadModel, ConfigError
from shotlake.records import SPACES, ClipBatch

pytestmark = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="torchvision is not installed; the extra `models` brings it"
)
SOUNDS_S = [10.0, 3.3, 0.0, 10.0, 7.0]
TEXTS = ["a dog barking in the street", "Music", "a red car"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("late")
    savers = {"siglip": save_siglip, "videoprism": save_videoprism, "clap": save_clap}
    return {name: save(root / name) for name, save in savers.items()}


def load(folders: dict[str, Path], visual: str = "siglip", late: dict[str, Any] | None = None, **more: Any) -> Encoder:
    both = {"visual": str(folders[visual]), "audio": str(folders["clap"]), **(late or {})}
    return load_encoder(EmbedConfig(model="late-fusion", late=LateFusionConfig(**both), **more))


@pytest.fixture(scope="module")
def encoder(folders: dict[str, Path]) -> Encoder:
    return load(folders)


@pytest.fixture(scope="module")
def clips(encoder: Encoder) -> ClipBatch:
    """The third clip is only seen, the last one only heard."""
    batch = random_clips(encoder.clip_spec, SOUNDS_S)
    batch["frame_mask"][4], batch["frames"][4] = False, 0
    return batch


def unit(rows: Any) -> np.ndarray:
    array = np.asarray(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_the_picture_half_is_siglips(folders: dict[str, Path], encoder: Encoder, clips: ClipBatch) -> None:
    network = import_transformers().SiglipModel.from_pretrained(folders["siglip"]).eval()
    tokenizer = import_transformers().AutoTokenizer.from_pretrained(folders["siglip"])
    vectors, queries = encoder.embed_clips(clips), encoder.embed_text(TEXTS)
    with torch.inference_mode():
        for row in range(4):
            pictures = [torch.from_numpy(frame).movedim(-1, 0) for frame in clips["frames"][row]]
            found = network.get_image_features(**siglip_processor()(pictures, return_tensors="pt")).pooler_output
            theirs = unit(found).mean(axis=0)
            assert vectors["visual"][row][:32] @ theirs / np.linalg.norm(theirs) >= 0.9999
            assert vectors["visual_norm"][row] == pytest.approx(np.linalg.norm(theirs), rel=1e-3)
        words = tokenizer([text.lower() for text in TEXTS], padding="max_length", max_length=12, return_tensors="pt")
        texts = unit(network.get_text_features(input_ids=words["input_ids"]).pooler_output)
    assert (queries["visual"][:, :32] * texts).sum(axis=1).min() >= 0.9999
    assert not queries["visual"][:, 32:].any()


def test_the_sound_half_is_claps(folders: dict[str, Path], encoder: Encoder, clips: ClipBatch) -> None:
    network = import_transformers().ClapModel.from_pretrained(folders["clap"]).eval()
    tokenizer = import_transformers().AutoTokenizer.from_pretrained(folders["clap"])
    vectors, queries = encoder.embed_clips(clips), encoder.embed_text(TEXTS)
    rows = [0, 1, 3, 4]
    heard = [clips["waveform"][row][clips["sample_mask"][row]] for row in rows]
    with torch.inference_mode():
        inputs = clap_extractor()(heard, sampling_rate=48_000, return_tensors="pt")
        theirs = unit(network.get_audio_features(input_features=inputs["input_features"].float()).pooler_output)
        texts = unit(network.get_text_features(**tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output)
    assert (vectors["audio"][rows][:, 32:] * theirs).sum(axis=1).min() >= 0.9999
    assert (queries["audio"][:, 32:] * texts).sum(axis=1).min() >= 0.9999
    assert (theirs @ theirs.T)[~np.eye(4, dtype=bool)].max() < 0.9999


def test_videoprism_sees_all_frames_at_once(folders: dict[str, Path]) -> None:
    encoder = load(folders, "videoprism")
    batch = random_clips(encoder.clip_spec, [10.0, 0.0])
    network = import_transformers().VideoPrismClipModel.from_pretrained(folders["videoprism"]).eval()
    tokenizer = import_transformers().AutoTokenizer.from_pretrained(folders["videoprism"])
    with torch.inference_mode():
        frames = torch.from_numpy(batch["frames"]).movedim(-1, 2).float() / 255
        theirs = unit(network.get_video_features(pixel_values_videos=frames).pooler_output[:, 0])
        words = tokenizer(TEXTS, padding="max_length", max_length=12, return_tensors="pt")
        texts = unit(network.get_text_features(**{k: words[k] for k in ("input_ids", "attention_mask")}).pooler_output)
    assert (encoder.embed_clips(batch)["visual"][:, :32] * theirs).sum(axis=1).min() >= 0.9999
    assert (encoder.embed_text(TEXTS)["visual"][:, :32] * texts).sum(axis=1).min() >= 0.9999
    assert (encoder.clip_spec.n_frames, encoder.clip_spec.width_px) == (8, 72)


def test_one_product_is_the_weighted_sum_of_both_scores(encoder: Encoder, clips: ClipBatch) -> None:
    vectors, queries = encoder.embed_clips(clips), encoder.embed_text(TEXTS)
    scores = {space: queries[space] @ vectors[space].T for space in SPACES}
    both = [0, 1, 3]
    np.testing.assert_allclose(
        scores["fused"][:, both], 0.7 * scores["visual"][:, both] + 0.3 * scores["audio"][:, both], atol=1e-5
    )
    np.testing.assert_allclose(scores["fused"][:, 2], 0.7**0.5 * scores["visual"][:, 2], atol=1e-5)
    np.testing.assert_allclose(vectors["fused"][4, 32:], vectors["audio"][4, 32:], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors["fused"], axis=1), 1, atol=1e-5)


def test_spreads_make_it_a_sum_of_z_scores(folders: dict[str, Path], clips: ClipBatch) -> None:
    late = {"weight": 0.5, "visual_spread": 0.1, "audio_spread": 0.4}
    assert picture_share(LateFusionConfig(**late)) == pytest.approx(0.8)
    encoder = load(folders, late=late)
    vectors, queries = encoder.embed_clips(clips), encoder.embed_text(TEXTS)
    visual, audio, fused = ((queries[space] @ vectors[space].T)[:, [0, 1, 3]] for space in ("visual", "audio", "fused"))
    z_scores = 0.5 * visual / 0.1 + 0.5 * audio / 0.4
    np.testing.assert_allclose(fused / fused[0, 0], z_scores / z_scores[0, 0], rtol=1e-3)


def test_one_vector_only(folders: dict[str, Path], encoder: Encoder, clips: ClipBatch) -> None:
    one = load(folders, late={"vectors": "one"})
    vectors = one.embed_clips(clips)
    assert one.spaces == ("fused",)
    assert not vectors["visual_norm"].any() and not vectors["audio_norm"].any()
    np.testing.assert_allclose(vectors["fused"], encoder.embed_clips(clips)["fused"], atol=1e-6)
    assert one.embed_text(TEXTS).keys() == {"fused"}


def test_a_frame_that_is_missing_is_the_one_before(encoder: Encoder, clips: ClipBatch) -> None:
    holes = ClipBatch(**{name: column[[0]].copy() for name, column in clips.items()})
    filled = ClipBatch(**{name: column[[0]].copy() for name, column in clips.items()})
    holes["frame_mask"][0, [0, 7]] = False
    filled["frames"][0, 0], filled["frames"][0, 7] = filled["frames"][0, 1], filled["frames"][0, 6]
    one, other = encoder.embed_clips(holes), encoder.embed_clips(filled)
    np.testing.assert_allclose(one["visual"], other["visual"], atol=1e-5)


def test_bfloat16(folders: dict[str, Path], encoder: Encoder, clips: ClipBatch) -> None:
    low, high = load(folders, dtype="bfloat16").embed_clips(clips), encoder.embed_clips(clips)
    for space in SPACES:
        present = high[f"{space}_norm"] > 0
        assert (low[space] * high[space]).sum(axis=1)[present].min() >= 0.99


def test_the_fingerprint_is_of_both_models_and_their_share(folders: dict[str, Path], encoder: Encoder) -> None:
    others = [load(folders, late={"weight": 0.6}), load(folders, "videoprism")]
    assert load(folders).fingerprint == encoder.fingerprint
    assert all(other.fingerprint != encoder.fingerprint for other in others)
    assert encoder.fingerprint.model_id == "late-fusion: siglip + clap"


def test_what_does_not_fit_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hears 10 s at the most"):
        load(folders, window_s=30)
    with pytest.raises(BadModel, match=r"embed\.late\.visual takes siglip or videoprism"):
        load(folders, "clap")
    with pytest.raises(BadModel, match=r"embed\.late\.audio takes clap"):
        load(folders, late={"audio": str(save_pe_av(tmp_path / "other"))})
    with pytest.raises(BadModel, match="fuses random crops"):
        load(folders, late={"audio": str(save_clap(tmp_path / "fused", fused=True))})
