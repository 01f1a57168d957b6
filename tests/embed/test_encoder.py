"""The contract, held by the shipped encoder: unit vectors, norms, gaps, order and words."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder, normalise
from shotlake.embed.load import load_encoder
from shotlake.errors import BadClip, ConfigError, QueryError
from shotlake.records import SPACES, ClipBatch

DrawBatch = Callable[[Sequence[int]], ClipBatch]
ROWS = [5, 700, 1500, 2600, 3300, 4600]


def take(batch: ClipBatch, rows: Sequence[int]) -> ClipBatch:
    return ClipBatch(**{name: column[rows] for name, column in batch.items()})


def test_vectors_have_length_one_and_carry_their_ids(encoder: Encoder, draw_batch: DrawBatch) -> None:
    batch = draw_batch(ROWS)
    vectors = encoder.embed_clips(batch)
    assert list(vectors["segment_id"]) == list(batch["segment_id"])
    for space in SPACES:
        assert vectors[space].shape == (6, encoder.dim) and vectors[space].dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors[space], axis=1), 1, atol=1e-5)
        assert (vectors[f"{space}_norm"] > 0.1).all()


def test_a_clip_does_not_depend_on_its_neighbours(draw_batch: DrawBatch) -> None:
    batch = draw_batch(ROWS)
    together = load_encoder(EmbedConfig(batch_size=4)).embed_clips(batch)
    for row in range(len(ROWS)):
        alone = load_encoder(EmbedConfig(batch_size=1)).embed_clips(take(batch, [row]))
        assert all((together[space][row] * alone[space][0]).sum() > 0.999999 for space in SPACES)


def test_what_is_missing_is_missing_and_costs_no_other_clip(encoder: Encoder, draw_batch: DrawBatch) -> None:
    batch = draw_batch(ROWS)
    whole = encoder.embed_clips(batch)
    batch["frame_mask"][[0, 2]] = False
    batch["frames"][[0, 2]] = 0
    batch["sample_mask"][[1, 2]] = False
    batch["waveform"][[1, 2]] = 0
    vectors = encoder.embed_clips(batch)
    assert list(vectors["visual_norm"] > 0) == [False, True, False, True, True, True]
    assert list(vectors["audio_norm"] > 0) == [True, False, False, True, True, True]
    assert list(vectors["fused_norm"] > 0) == [True, True, False, True, True, True]
    assert not vectors["fused"][2].any() and not vectors["visual"][0].any() and not vectors["audio"][1].any()
    np.testing.assert_allclose(vectors["fused"][0], whole["audio"][0], atol=1e-5)
    np.testing.assert_allclose(vectors["fused"][1], whole["visual"][1], atol=1e-5)
    np.testing.assert_allclose(vectors["fused"][3:], whole["fused"][3:], atol=1e-5)


def test_a_masked_sound_is_not_heard(encoder: Encoder, draw_batch: DrawBatch) -> None:
    batch, noisy = draw_batch(ROWS), draw_batch(ROWS)
    for one in (batch, noisy):
        one["sample_mask"][:, 20_000:] = False
    noisy["waveform"][:, 20_000:] = 0.9
    assert (encoder.embed_clips(batch)["audio"] == encoder.embed_clips(noisy)["audio"]).all()


def test_a_clip_that_is_not_finite_is_told_by_its_norm(encoder: Encoder, draw_batch: DrawBatch) -> None:
    batch = draw_batch(ROWS)
    batch["waveform"][1, 500] = np.nan
    vectors = encoder.embed_clips(batch)
    assert list(np.isnan(vectors["fused_norm"])) == [False, True, False, False, False, False]
    assert np.isfinite(vectors["fused"]).all() and not vectors["fused"][1].any()
    assert vectors["visual_norm"][1] > 0


def test_normalise_keeps_norms() -> None:
    raw = np.array([[3, 4], [0, 0], [1, np.inf], [5, 5]], np.float32)
    vectors, norms = normalise(raw, np.array([True, True, True, False]))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [0, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(norms, [5, 0, np.nan, 0])


def test_an_empty_batch_gives_no_rows(encoder: Encoder, draw_batch: DrawBatch) -> None:
    vectors = encoder.embed_clips(take(draw_batch(ROWS), []))
    assert vectors["fused"].shape == (0, encoder.dim) and vectors["audio_norm"].shape == (0,)


def test_wrong_shapes_are_refused(encoder: Encoder, draw_batch: DrawBatch) -> None:
    batch = draw_batch(ROWS)
    with pytest.raises(BadClip, match="mini wants uint8"):
        encoder.embed_clips(ClipBatch(**{**batch, "frames": batch["frames"][:, :8]}))
    with pytest.raises(BadClip, match="at most 32000"):
        encoder.embed_clips(ClipBatch(**{**batch, "waveform": np.zeros((6, 96_000), np.float32)}))


def test_one_query_vector_a_space(encoder: Encoder) -> None:
    vectors = encoder.embed_text(["a red circle moving left", "clicks"])
    assert vectors.keys() == set(SPACES)
    for matrix in vectors.values():
        assert matrix.shape == (2, encoder.dim) and matrix.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


def test_a_text_does_not_depend_on_its_neighbours(encoder: Encoder) -> None:
    short = encoder.embed_text(["clicks"])["fused"][0]
    beside_a_long_one = encoder.embed_text(["a red circle that is moving to the left with a high whistle", "clicks"])
    np.testing.assert_allclose(beside_a_long_one["fused"][1], short, atol=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "a sunset over the bay", "something with the thing", "!?"])
def test_a_text_that_says_nothing_is_refused(encoder: Encoder, text: str) -> None:
    with pytest.raises(QueryError, match="says nothing that mini knows") as caught:
        encoder.embed_text(["a red circle", text])
    assert all(part in caught.value.message for part in (repr(text), "purple", "a striped red circle moving left"))
    assert caught.value.exit_status == 2


def test_unknown_words_are_counted_named_and_left_out(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="shotlake"):
        vectors = encoder.embed_text(["a red Zeppelin circle, moving left"])
    assert "n_unknown=1 unknown_words=zeppelin ignored by mini: zeppelin" in caplog.text
    np.testing.assert_allclose(vectors["fused"], encoder.embed_text(["a red circle moving left"])["fused"], atol=1e-6)


def test_a_misspelt_word_is_read_by_its_spelling(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    right, wrong, other = (
        encoder.embed_text([f"a plain red {shape} moving left"])["fused"][0]
        for shape in ("triangle", "triangel", "bar")
    )
    assert "unknown_words=triangel ignored by mini: none" in caplog.text
    assert right @ wrong > right @ other


def test_captions_are_enough_to_tune_an_index_and_all_understood(encoder: Encoder) -> None:
    captions = encoder.captions()
    assert len(captions) >= 500
    assert len(encoder.embed_text(captions)["fused"]) == len(captions)


def test_the_grid_follows_the_configuration() -> None:
    spec = load_encoder(EmbedConfig()).clip_spec
    assert (spec.window_us, spec.stride_us, spec.n_frames, spec.n_samples) == (2_000_000, 2_000_000, 16, 32_000)
    spec = load_encoder(EmbedConfig(window_s=1.5, stride_s=0.5)).clip_spec
    assert (spec.window_us, spec.stride_us, spec.n_samples) == (1_500_000, 500_000, 24_000)
    with pytest.raises(ConfigError, match=r"embed\.window_s is 10"):
        load_encoder(EmbedConfig(window_s=10))


def test_shorter_windows_are_embedded(draw_batch: DrawBatch) -> None:
    encoder, batch = load_encoder(EmbedConfig(window_s=1.0)), draw_batch(ROWS)
    n_samples = encoder.clip_spec.n_samples
    batch["waveform"], batch["sample_mask"] = batch["waveform"][:, :n_samples], batch["sample_mask"][:, :n_samples]
    assert (encoder.embed_clips(batch)["fused_norm"] > 0).all()
