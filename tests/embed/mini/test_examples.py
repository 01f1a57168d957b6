"""Training clips and their labels tell the truth; the split does not leak."""

import numpy as np
import pytest

from shotlake.embed.mini.examples import (
    N_SAMPLES,
    claims_of,
    draw_gallery,
    draw_training,
    labels_of,
    labels_of_rows,
    matches,
    rows_of_labels,
    scene_of,
    split_combinations,
)
from shotlake.world.captions import Caption
from shotlake.world.scenes import ATTRIBUTES, MOTIONS, combinations


def test_the_split_has_every_combination_once() -> None:
    split = split_combinations()
    everything = np.concatenate([split.train, split.validation, split.test])
    assert sorted(everything) == list(range(len(combinations())))
    assert (len(split.test), len(split.validation)) == (633, 230)
    for column, values in zip(labels_of_rows(split.test).T, ATTRIBUTES.values(), strict=True):
        assert set(column) == set(range(len(values)))


def test_rows_labels_claims_and_scenes_name_the_same() -> None:
    for row in (0, 77, 4607):
        labels = labels_of_rows(np.array([row]))[0]
        claims = claims_of(labels)
        assert tuple(claims.values()) == combinations()[row] and rows_of_labels(labels[None]) == [row]
        assert labels_of(claims) == labels.tolist()
        assert scene_of(row, np.random.default_rng(0)).attributes == claims
    assert claims_of(np.array([-1, 2, -1, 0])) == {"shape": "triangle", "sound": "low tone"}


def test_a_caption_fits_the_clips_that_show_all_that_it_claims() -> None:
    captions = [Caption("", {"colour": "red"}), Caption("", {"colour": "red", "sound": "hiss"})]
    labels = np.array([labels_of({"colour": "red", "shape": "star"}), labels_of({"colour": "red", "sound": "hiss"})])
    assert matches(labels, captions).tolist() == [[True, False], [True, True]]


def test_training_clips_are_seeded_and_imperfect_in_the_promised_ways() -> None:
    pool = split_combinations().train
    examples = draw_training(pool, 320, np.random.default_rng(4), loss_ratio=0.15)
    again = draw_training(pool, 320, np.random.default_rng(4), loss_ratio=0.15)
    assert (examples.frames == again.frames).all() and (examples.waveform == again.waveform).all()
    no_picture, no_sound = ~examples.frame_mask.any(1), ~examples.sample_mask.any(1)
    assert 20 < no_picture.sum() < 80 and 20 < no_sound.sum() < 80 and not (no_picture & no_sound).any()
    assert (examples.labels[no_picture, :3] == -1).all() and not examples.frames[no_picture].any()
    assert (examples.labels[no_sound, 3] == -1).all() and not examples.waveform[no_sound].any()
    silent = examples.sample_mask.any(1) & ~examples.waveform.any(1)
    assert silent.sum() > 15 and (examples.labels[silent, 3] == -1).all()
    n_samples = examples.sample_mask.sum(1)
    tails = (n_samples > 0) & (n_samples < N_SAMPLES)
    assert tails.sum() > 15 and (examples.labels[n_samples[:] < 0.55 * 16_000, 2][tails[n_samples < 8_800]] == -1).all()
    over_a_cut, out_of_order = examples.labels[-40:-20], examples.labels[-20:]
    assert (over_a_cut == -1).all() and (examples.labels[:-40] != -1).any(1).mean() > 0.95
    assert np.isin(out_of_order[:, 2], (-1, MOTIONS.index("still"))).all() and (out_of_order[:, 0] >= 0).mean() > 0.6


def test_training_never_shows_what_is_held_out() -> None:
    split = split_combinations()
    labels = draw_training(split.train, 500, np.random.default_rng(1)).labels
    whole = labels[(labels >= 0).all(1)]
    assert not np.isin(rows_of_labels(whole), np.concatenate([split.validation, split.test])).any()


@pytest.mark.parametrize("rows", [[3], [3, 9, 4000]])
def test_a_gallery_is_whole(rows: list[int]) -> None:
    gallery = draw_gallery(np.array(rows), np.random.default_rng(0))
    assert gallery.frames.shape == (len(rows), 16, 48, 48, 3) and gallery.frame_mask.all() and gallery.sample_mask.all()
    assert (gallery.labels == labels_of_rows(np.array(rows))).all()
    assert (gallery.take([0]).frames == gallery.frames[:1]).all()
