"""Rows that codes cannot tell apart, as a camera on a wall gives them: their lists are scored row by row, so that the
recall is had and such archives can be published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_vectors import IVF, TextQueries, build, clustered, rows_of, unit

from shotlake.index import measure
from shotlake.index.depth import TUNED_TEXT, Depth
from shotlake.index.manifest import Manifest
from shotlake.index.publish import publish
from shotlake.index.searcher import Searcher
from shotlake.index.thinning import KEPT, thinned
from shotlake.index.truth import TIE, K

DIM, ROWS = 48, 12_000
TARGETS = {"target_recall": 0.95, "target_recall_segment": 0.98, "rows_per_shard": 5_000, "spaces": ("fused",)}


def archive(share: float, noise: float) -> tuple[np.ndarray, TextQueries]:
    """Rows of which a share is one picture with noise on each value, and texts of which as many ask for it."""
    rng = np.random.default_rng(5)
    rows = clustered(ROWS, DIM, seed=1)
    still = rng.random(ROWS) < share
    rows[still] = unit(rows[0] + noise * rng.standard_normal((still.sum(), DIM)))
    texts = unit(clustered(600, DIM, seed=99) + 0.02 * rng.standard_normal((600, DIM)))
    near = rng.random(600) < share
    texts[near] = unit(rows[0] + 0.05 * rng.standard_normal((near.sum(), DIM)))
    return rows, TextQueries("toy captions", {"fused": texts, "visual": texts[:, ::-1].copy()})


@pytest.mark.parametrize(("share", "noise"), [(0.1, 1e-3), (0.3, 1e-5), (0.3, 1e-2), (0.75, 1e-3)])
def test_an_archive_with_a_noisy_still_picture_can_be_published(share: float, noise: float, tmp_path: Path) -> None:
    rows, texts = archive(share, noise)
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(rows), IVF.model_copy(update=TARGETS), queries=texts)
    assert manifest.spaces["fused"].dense
    publish(root, manifest)


@pytest.mark.parametrize("codec", ["pq", "pqfs", "rabitq"])
def test_the_best_of_alike_rows_are_found_by_others_too(codec: str, tmp_path: Path) -> None:
    """By queries that no build has seen, with and without a filter, and not without the dense lists."""
    rows, texts = archive(0.3, 1e-3)
    root = str(tmp_path / "index")
    manifest = build(root, rows_of(rows), IVF.model_copy(update=TARGETS | {"codec": codec}), queries=texts)
    others = unit(rows[0] + 0.05 * np.random.default_rng(77).standard_normal((50, DIM)))
    half = rows.astype(np.float16).astype(np.float32)
    for hidden in (np.empty(0, np.int64), np.arange(0, ROWS, 3)):
        searcher = Searcher.load(root, manifest, tmp_path / "cache").without(hidden)
        truth = others @ half.T
        truth[:, hidden] = -np.inf
        tenth = np.sort(truth, axis=1)[:, -K][:, None]
        for depth in (TUNED_TEXT, Depth("segment")):
            scores, found = searcher.search_vectors(others, "fused", K, depth)
            assert (scores >= tenth - TIE).mean() > 0.99
            assert not np.isin(found, hidden).any()
            assert all(len(set(line)) == K for line in found.tolist())
    blind = manifest.spaces["fused"].model_copy(update={"dense": ()})
    without = manifest.model_copy(update={"spaces": manifest.spaces | {"fused": blind}})
    scores = Searcher.load(root, without, tmp_path / "cache").search_vectors(others, "fused", K)[0]
    assert (scores >= np.sort(others @ half.T, axis=1)[:, -K][:, None] - TIE).mean() < 0.9


def test_equal_rows_are_not_dense(tmp_path: Path) -> None:
    """Whichever of them is found is as good, so that scoring all of them would be work for nothing."""
    rows, texts = archive(0.3, 0.0)
    manifest = build(str(tmp_path / "index"), rows_of(rows), IVF.model_copy(update=TARGETS), queries=texts)
    assert not manifest.spaces["fused"].dense


def test_without_looking_for_them_such_archives_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So the recall of the others is not by chance."""
    monkeypatch.setattr(measure, "dense_lists", lambda space: ())
    monkeypatch.setattr(measure, "_lists_of_weak", lambda *_: ())
    rows, texts = archive(0.3, 1e-3)
    tuning = bounds(build(str(tmp_path / "index"), rows_of(rows), IVF.model_copy(update=TARGETS), queries=texts))
    assert tuning["segment"] < 0.98 and tuning["text"] < 0.95


def bounds(manifest: Manifest) -> dict[str, float]:
    return {kind: tuning.chosen.lower_bound for kind, tuning in manifest.spaces["fused"].tuning.items()}


@pytest.mark.parametrize("least", [100, 3_000])
def test_one_picture_does_not_outweigh_the_sample(least: int) -> None:
    rows = clustered(8_000, DIM, seed=3)
    still = np.random.default_rng(1).random(8_000) < 0.75
    rows[still] = unit(rows[0] + 1e-3 * np.random.default_rng(2).standard_normal((still.sum(), DIM)))
    left = thinned(rows, least)
    assert len(left) == max(least, (~still).sum() + KEPT)
    kept = (left @ rows[0] > 0.99).sum()
    assert kept == len(left) - (~still).sum()


def test_a_sample_of_different_rows_is_left_as_it_is() -> None:
    rows = clustered(8_000, DIM, seed=3)
    assert thinned(rows, 100) is rows
