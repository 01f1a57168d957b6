"""Mixtures, negatives, exclusions, filters, caps and thresholds, each against brute force over the known vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_lake import CONFIG, DIM, SEGMENTS_PER_VIDEO, WORLD, ToyEncoder, add_rows, index_lake, make_lake, retire

from shotlake.config import IndexConfig
from shotlake.errors import QueryError
from shotlake.index import scan
from shotlake.index.manifest import Tuning
from shotlake.query.request import Exclusion, SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.records import stable_id

N = 400
ROWS = WORLD[:N].astype(np.float16).astype(np.float32)
UNMERGED = CONFIG.model_copy(update={"query": CONFIG.query.model_copy(update={"merge_drop": 0.0})})
APPROXIMATE = IndexConfig(exact_below=0, min_queries=50, target_recall=0.5, target_recall_segment=0.5)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Indexed up to segment 380; 20 newer ones."""
    lake = make_lake(tmp_path_factory.mktemp("requests"), 380)
    index_lake(lake)
    add_rows(lake, 380, 20, run="run-2")
    return lake


@pytest.fixture(scope="module")
def search(lake, tmp_path_factory):
    return LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path_factory.mktemp("cache"))


def text(number: int, weight: float = 1.0) -> Term:
    return Term("text", f"segment {number}", weight)


def ids(hits) -> list[str]:
    return [segment for hit in hits for segment in hit.segment_ids]


def best(scores: np.ndarray, n: int) -> list[str]:
    return [stable_id(int(k)) for k in np.argsort(-scores, kind="stable")[:n]]


def test_a_mixture_has_the_weighted_mean_of_the_scores(search):
    hits = search.answer(SearchRequest((text(7, 3), text(395, 1)), limit=10)).hits
    scores = ROWS @ (0.75 * WORLD[7] + 0.25 * WORLD[395])
    assert ids(hits) == best(scores, 10)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:10], atol=1e-6)


def test_a_negative_takes_its_weighted_score_away(search):
    hits = search.answer(SearchRequest((text(7),), negative=(text(30, 0.5),), limit=20)).hits
    assert ids(hits) == best(ROWS @ WORLD[7] - 0.5 * (ROWS @ WORLD[30]), 20)


def test_an_exclusion_leaves_out_what_is_above_its_threshold_and_fills_the_page(search):
    hits = search.answer(SearchRequest((text(7),), excluded=(Exclusion(text(30), 0.0),), limit=50)).hits
    scores = ROWS @ WORLD[7]
    scores[ROWS @ WORLD[30] > 0] = -9
    assert ids(hits) == best(scores, 50)


def test_a_segment_finds_what_is_like_it_but_not_itself(search):
    for number in (17, 395):  # an indexed one and a newer one
        hits = search.answer(SearchRequest((Term("segment", stable_id(number)),), limit=5)).hits
        scores = ROWS @ ROWS[number]
        scores[number] = -9
        assert ids(hits) == best(scores, 5)


def test_a_vector_of_any_length_is_a_query(search):
    hits = search.answer(SearchRequest((Term("vector", tuple((3 * WORLD[9_000]).tolist())),), limit=5)).hits
    assert ids(hits) == best(ROWS @ WORLD[9_000], 5)
    assert hits[0].score == pytest.approx(float((ROWS @ WORLD[9_000]).max()), abs=1e-6)


@pytest.mark.parametrize("config", [CONFIG.index, APPROXIMATE], ids=["exact", "pq"])
def test_a_filtered_page_is_exact_and_never_short(tmp_path, config):
    lake = make_lake(tmp_path, N)
    index_lake(lake, config)
    search = LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path / "cache")
    scores = ROWS @ WORLD[7]
    odd = np.arange(N) // SEGMENTS_PER_VIDEO % 2 == 1
    late = np.arange(N) % SEGMENTS_PER_VIDEO >= 6
    for filter_, wanted in (
        ("collection = odd", odd),
        ("collection = odd and start_s >= 12", odd & late),
        ('uri ~ "/archive/1*" and codec = aac', [k % 5 == 4 and str(k // 10).startswith("1") for k in range(N)]),
        ("collection = nothing", np.zeros(N, bool)),
    ):
        hits = search.answer(SearchRequest((text(7),), filter=filter_, limit=30)).hits
        mask = np.asarray(wanted)
        assert ids(hits) == best(np.where(mask, scores, -9), min(30, int(mask.sum())))


@pytest.mark.parametrize("joined_rows", [0, 20_000_000], ids=["shards apart", "joined"])
@pytest.mark.parametrize("space", ["fused", "visual"])
def test_a_page_of_a_wide_filter_is_full_and_right_though_it_is_scanned(space, joined_rows, tmp_path, monkeypatch):
    """More rows pass than are scored one by one: with a bitmap, in several shards, beside tombstones and newer rows."""
    monkeypatch.setattr(scan, "BRUTE_FORCE_ROWS", 20)
    monkeypatch.setattr(scan, "JOINED_ROWS", joined_rows)
    lake = make_lake(tmp_path, N)
    manifest = index_lake(lake, APPROXIMATE.model_copy(update={"rows_per_shard": 150}))
    add_rows(lake, N, 20, run="run-2")
    retired = (1, 3, 12, 39, 41)
    for video in retired:
        retire(lake, video)
    search = LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path / "cache")
    assert len(manifest.shards) >= 3 and len(search.rows.hidden) == 40 and len(search.rows.fresh) == 10
    number = np.arange(N + 20)
    live = ~np.isin(number // SEGMENTS_PER_VIDEO, retired) & ((number % 5 < 4) | (space == "fused"))
    scores = WORLD[: N + 20].astype(np.float16).astype(np.float32) @ WORLD[9_000]
    for filter_, passing in (
        ("collection = odd", number // SEGMENTS_PER_VIDEO % 2 == 1),
        ("start_s >= 4 and collection in (odd, even)", number % SEGMENTS_PER_VIDEO >= 2),
        ("not run = run-2", number < N),
        ("run = run-2", number >= N),
    ):
        wanted = np.where(live & passing, scores, -9)
        n_wanted = int((live & passing).sum())
        whole = search.answer(SearchRequest((text(9_000),), filter=filter_, limit=500, space=space)).hits
        assert sorted(ids(whole)) == sorted(best(wanted, n_wanted)), filter_
        page = search.answer(SearchRequest((text(9_000),), filter=filter_, limit=30, space=space, recall=1.0)).hits
        assert len(page) == min(30, n_wanted), filter_
        assert len(set(ids(page)) & set(best(wanted, len(page)))) >= 0.9 * len(page), filter_


def with_times(search: LakeSearch) -> tuple[LakeSearch, Tuning]:
    """The same search, as if the points of the curve of texts in the fused space had taken 1, 2, 3... ms."""
    manifest = search.manifest
    entry = manifest.spaces["fused"]
    text = entry.tuning["text"]
    curve = tuple(point.model_copy(update={"ms": n}) for n, point in enumerate(text.curve, start=1))
    tuning = text.model_copy(update={"curve": curve})
    tuned = entry.model_copy(update={"tuning": {**entry.tuning, "text": tuning}})
    timed = manifest.model_copy(update={"spaces": {**manifest.spaces, "fused": tuned}})
    searcher = replace(search.rows.searcher, manifest=timed)
    return replace(search, rows=replace(search.rows, searcher=searcher)), tuning


def test_another_recall_or_time_is_answered_with_what_was_measured_for_it(tmp_path):
    """The hits are those of a point of the curve, and the recall that is told is its own; newer rows are found too."""
    lake = make_lake(tmp_path, N)
    index_lake(lake, APPROXIMATE)
    add_rows(lake, N, 20, run="run-2")
    opened = LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path / "cache")
    search, tuning = with_times(opened)
    tuned, best = tuning.chosen, max(tuning.curve, key=lambda point: point.lower_bound)
    assert tuning.curve[0].recall < tuned.recall < best.recall
    asked = [({}, tuned), ({"recall": best.lower_bound}, best), ({"time_limit_ms": 1.5}, tuning.curve[0])]
    told = []
    for more, point in asked:
        result = search.answer(SearchRequest((text(9_000),), limit=10, **more))
        scores, rows = search.rows.searcher.spaces["fused"].search(WORLD[None, 9_000], 50, point.nprobe, point.rerank)
        found = dict(zip(search.rows.columns(rows[0], ["segment_id"])["segment_id"].to_pylist(), scores[0]))
        newer = WORLD[N : N + 20].astype(np.float16).astype(np.float32) @ WORLD[9_000]
        found |= {stable_id(N + k): score for k, score in enumerate(newer)}
        assert ids(result.hits) == sorted(found, key=found.__getitem__, reverse=True)[:10]
        assert result.recall_at_10["text"] == point.recall
        told.append(result.to_json()["index"]["recall_at_10"]["text"])
    assert len(set(told)) == 3


def test_a_filter_reaches_newer_rows_and_not_retired_ones(tmp_path):
    lake = make_lake(tmp_path, 100)
    index_lake(lake)
    add_rows(lake, 100, 20, run="run-2")
    retire(lake, 3)
    retire(lake, 11)
    search = LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path / "cache")
    hits = search.answer(SearchRequest((text(7),), filter="collection = odd", limit=100)).hits
    live = [k for k in range(120) if k // 10 in (1, 5, 7, 9)]
    assert sorted(ids(hits)) == sorted(stable_id(k) for k in live)
    with pytest.raises(QueryError, match="no segment"):
        search.answer(SearchRequest((Term("segment", stable_id(35)),)))


def test_at_most_so_many_moments_of_a_video(search):
    hits = search.answer(SearchRequest((text(7),), per_video=1, limit=40)).hits
    assert len(hits) == 40 and len({hit.video_uri for hit in hits}) == 40
    scores = (ROWS @ WORLD[7]).reshape(-1, SEGMENTS_PER_VIDEO).max(axis=1)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=1e-6)


def test_near_duplicates_of_a_better_moment_are_left_out(search):
    hits = search.answer(SearchRequest((text(7),), dedupe=0.3, limit=15)).hits
    kept: list[int] = []
    for number in np.argsort(-(ROWS @ WORLD[7]), kind="stable"):
        if all(ROWS[number] @ ROWS[other] < 0.3 for other in kept):
            kept.append(int(number))
    assert ids(hits) == [stable_id(number) for number in kept[:15]]


def test_a_threshold_ends_the_page(search):
    scores = ROWS @ WORLD[7]
    hits = search.answer(SearchRequest((text(7),), score_threshold=0.2, limit=200)).hits
    assert len(ids(hits)) == int((scores >= 0.2).sum()) and all(hit.score >= 0.2 for hit in hits)
    assert search.answer(SearchRequest((text(9_999),), score_threshold=0.99)).hits == ()


def test_scores_of_every_space_are_of_the_whole_query(search):
    request = SearchRequest((text(7, 1), text(12, 1)), negative=(text(30, 0.25),), limit=3)
    hit = search.answer(request).hits[0]
    query = 0.5 * WORLD[7] + 0.5 * WORLD[12] - 0.25 * WORLD[30]
    number = next(k for k in range(N) if stable_id(k) == hit.segment_ids[0])
    assert hit.scores["fused"] == pytest.approx(float(ROWS[number] @ query), abs=1e-6)
    if number % 5 < 4:
        assert hit.scores["visual"] == pytest.approx(float(ROWS[number] @ query), abs=1e-6)


def test_a_segment_without_picture_cannot_ask_in_the_visual_space(search):
    with pytest.raises(QueryError, match="in the space 'visual'; it can in fused"):
        search.answer(SearchRequest((Term("segment", stable_id(14)),), space="visual"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SearchRequest(()), "no term with a weight above 0"),
        (lambda: SearchRequest((text(3, 0),)), "no term with a weight above 0"),
        (lambda: text(3, -1), r"weight of 'segment 3' is -1; 0 or more"),
        (lambda: text(3, float("nan")), "0 or more is allowed"),
        (lambda: Term("text", " "), "the query is empty"),
        (lambda: Term("vector", ()), "empty or not finite"),
        (lambda: Term("vector", (1.0, float("inf"))), "empty or not finite"),
        (lambda: SearchRequest((text(3),), limit=0), "limit is 0; 1 to 1000 is allowed"),
        (lambda: SearchRequest((text(3),), per_video=0), "per_video is 0"),
        (lambda: SearchRequest((text(3),), dedupe=0.0), r"dedupe is 0\.0"),
        (lambda: SearchRequest((text(3),), recall=1.5), r"recall is 1\.5"),
        (lambda: SearchRequest((text(3),), recall=0.0), r"recall is 0\.0; above 0, at most 1 is allowed"),
        (
            lambda: SearchRequest((text(3),), time_limit_ms=0.0),
            r"is 0\.0; a number of milliseconds above 0",
        ),
        (lambda: SearchRequest((text(3),), time_limit_ms=-2.0), r"time_limit_ms is -2\.0"),
        (lambda: SearchRequest((text(3),), time_limit_ms=float("nan")), "time_limit_ms is nan"),
    ],
)
def test_a_wrong_request_is_refused_when_it_is_made(make, words):
    with pytest.raises(QueryError, match=words):
        make()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SearchRequest((Term("segment", "nobody"),)), "no segment 'nobody'"),
        (SearchRequest((Term("vector", (1.0, 2.0)),)), f"of 2 numbers is given; {DIM} are needed"),
        (SearchRequest((Term("vector", (0.0,) * DIM),)), "not all of them 0"),
        (SearchRequest((text(3),), filter="color = red"), "'color' is not a field"),
    ],
)
def test_what_the_index_cannot_answer_says_why(search, request_, words):
    with pytest.raises(QueryError, match=words):
        search.answer(request_)
