"""The recall that is stated under a filter is had: of filters that were not measured, of rows of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_vectors import IVF, TextQueries, build, clustered, rows_of, unit

from shotlake.index import scan
from shotlake.index.depth import TUNED_TEXT, Depth, recall_at_10
from shotlake.index.manifest import Manifest
from shotlake.index.searcher import Searcher
from shotlake.index.truth import TIE, K

DIM, ROWS = 48, 12_000
OTHERS = slice(0, round(0.41 * ROWS))  # a collection of another kind, which the table holds first


@pytest.fixture(scope="module")
def two_kinds(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Manifest, np.ndarray]:
    """An index of two collections that lie far from each other, and text queries for the second one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "BRUTE_FORCE_ROWS", 500)
        away = unit(np.random.default_rng(3).standard_normal(DIM))
        rows = clustered(ROWS, DIM, seed=1)
        rows[OTHERS] = unit(rows[OTHERS] + 3.0 * away)
        queries = unit(clustered(400, DIM, seed=99) - 0.5 * away)
        asked = TextQueries("toy captions", {"fused": queries[:200], "visual": queries[:200, ::-1].copy()})
        root = str(tmp_path_factory.mktemp("filtered") / "index")
        config = IVF.model_copy(update={"rows_per_shard": 5000})
        return root, build(root, rows_of(rows), config, queries=asked), queries[200:]


def had(searcher: Searcher, queries: np.ndarray, allowed: np.ndarray) -> float:
    """Recall@10 of text queries that chose from the allowed rows."""
    vectors = searcher.spaces["fused"]
    exact = vectors.exactly(queries, K, vectors.live(allowed))[0]
    found = searcher.search_vectors(queries, "fused", K, TUNED_TEXT, allowed)[0]
    return float((found >= exact[:, -1:] - TIE).mean())


def unseen_filters() -> list[np.ndarray]:
    """Twenty filters that no build measures: other shares, other rows, runs with gaps, and whole kinds."""
    rng, rows = np.random.default_rng(11), np.arange(ROWS)
    drawn = [np.flatnonzero(rng.random(ROWS) < share) for share in (0.8, 0.6, 0.41, 0.3, 0.18, 0.12, 0.07)]
    runs = [rows[start : start + n] for start, n in ((0, 4000), (500, 3000), (2500, 5000), (6000, 5500), (9000, 900))]
    kinds = [rows[OTHERS], rows[OTHERS.stop :], rows[OTHERS][::2], rows[OTHERS.stop :][::3]]
    videos = [np.flatnonzero((rows // 10) % n == 1) for n in (2, 4, 7, 9)]
    return [*drawn, *runs, *kinds, *videos]


def test_what_is_stated_under_a_filter_is_had(
    two_kinds: tuple[str, Manifest, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "BRUTE_FORCE_ROWS", 500)
    root, manifest, queries = two_kinds
    searcher = Searcher.load(root, manifest, tmp_path / "cache")
    filters = unseen_filters()
    assert len(filters) == 20
    short = {}
    for number, allowed in enumerate(filters):
        stated = recall_at_10(manifest, "fused", TUNED_TEXT, len(allowed))["text"]
        assert 0.85 < stated <= manifest.spaces["fused"].tuning["text"].chosen.recall
        short[number] = stated - had(searcher, queries, allowed)
    assert max(short.values()) <= 0.02, short


def test_what_is_measured_under_filters_is_in_the_manifest(two_kinds: tuple[str, Manifest, np.ndarray]) -> None:
    tuning = two_kinds[1].spaces["fused"].tuning["text"]
    assert {(each.by, each.share) for each in tuning.filtered} == {
        (by, share) for by in ("random", "run") for share in (0.5, 0.25, 0.1)
    }, "of 1% every row is scored"
    assert all(each.lower_bound <= each.recall for each in tuning.filtered)


def test_few_allowed_rows_are_scored_one_by_one(
    two_kinds: tuple[str, Manifest, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "BRUTE_FORCE_ROWS", 500)
    assert recall_at_10(two_kinds[1], "fused", Depth("segment"), 500) == {"text": 1.0, "segment": 1.0}
    assert recall_at_10(two_kinds[1], "fused", Depth("segment"), 501)["text"] < 1.0
