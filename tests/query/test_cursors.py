"""Pages: put together they are the whole order, whatever happens to the lake between them; pins; groups of videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy_lake
from toy_lake import CONFIG, KEY, SEGMENTS_PER_VIDEO, WORLD, ToyEncoder, add_rows, index_lake, make_lake, retire

from shotlake.config import IndexConfig
from shotlake.errors import QueryError
from shotlake.index.prune import prune
from shotlake.query.cursor import Cursor, Pin, parse_cursor
from shotlake.query.request import SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.records import stable_id

N = 400
ROWS = WORLD[:N].astype(np.float16).astype(np.float32)
UNMERGED = CONFIG.model_copy(update={"query": CONFIG.query.model_copy(update={"merge_drop": 0.0, "candidates": 20})})
APPROXIMATE = IndexConfig(exact_below=0, min_queries=50, target_recall=0.5, target_recall_segment=0.5)
SEVEN = SearchRequest((Term("text", "segment 7"),))
ORDER = [stable_id(int(k)) for k in np.argsort(-(ROWS @ WORLD[7]), kind="stable")]


@pytest.fixture
def lake(tmp_path):
    """380 indexed segments and 20 newer ones."""
    lake = make_lake(tmp_path, N - 20)
    index_lake(lake)
    add_rows(lake, N - 20, 20, run="run-2")
    return lake


def open_search(lake, config=UNMERGED):
    return LakeSearch.open(lake.root, ToyEncoder(), config)


def pages(search, request, limits):
    """Every page, each of the next of `limits`, the last one again and again."""
    limits = list(limits)
    while True:
        result = search.answer(replace(request, limit=limits.pop(0) if len(limits) > 1 else limits[0]))
        yield result
        if not result.cursor:
            return
        request = replace(request, cursor=result.cursor)


def segments(results) -> list[str]:
    return [segment for result in results for hit in result.hits for segment in hit.segment_ids]


@pytest.mark.parametrize("limits", [[7], [33, 1, 50], [400]])
def test_pages_of_any_size_are_the_whole_order(lake, limits):
    found = list(pages(open_search(lake), SEVEN, limits))
    assert segments(found) == ORDER
    assert [hit.rank for result in found for hit in result.hits] == list(range(1, N + 1))


def test_moments_and_codes_no_segment_twice_and_none_left_out(tmp_path):
    lake = make_lake(tmp_path, N)
    index_lake(lake, APPROXIMATE)
    config = UNMERGED.model_copy(update={"query": UNMERGED.query.model_copy(update={"merge_drop": 0.5})})
    found = list(pages(open_search(lake, config), SEVEN, [5]))
    assert sorted(segments(found)) == sorted(ORDER)
    assert any(len(hit.segment_ids) > 1 for result in found for hit in result.hits)
    assert all(len(result.hits) == 5 for result in found[:-1])


def test_pages_of_a_filter_are_full_up_to_the_last(lake):
    odd = [stable_id(k) for k in range(N) if k // SEGMENTS_PER_VIDEO % 2 == 1]
    found = list(pages(open_search(lake), replace(SEVEN, filter="collection = odd"), [30]))
    assert segments(found) == [segment for segment in ORDER if segment in odd]
    assert [len(result.hits) for result in found] == [30] * 6 + [20]


def test_a_page_is_of_the_rows_of_the_first_whatever_was_added_indexed_or_restarted(lake):
    first = open_search(lake).answer(replace(SEVEN, limit=150))
    add_rows(lake, N, 100, run="run-3")
    index_lake(lake)
    later = open_search(lake)
    assert later.manifest.generation != first.generation
    rest = list(pages(later, replace(SEVEN, cursor=first.cursor), [100]))
    assert segments([first, *rest]) == ORDER
    assert {result.generation for result in rest} == {first.generation}
    assert {result.unindexed_rows for result in rest} == {20}


def test_what_is_retired_between_two_pages_is_gone_and_nothing_else(lake):
    first = open_search(lake).answer(replace(SEVEN, limit=100))
    retire(lake, 3)
    retire(lake, 39)
    rest = list(pages(open_search(lake), replace(SEVEN, cursor=first.cursor), [90]))
    left = [s for s in ORDER[100:] if s not in {stable_id(k) for k in (*range(30, 40), *range(390, 400))}]
    assert segments(rest) == left
    assert [len(result.hits) for result in rest[:-1]] == [90] * (len(rest) - 1)


def test_a_generation_is_asked_alone_and_without_what_was_retired_since(lake):
    search = open_search(lake)
    retire(lake, 5)
    alone = search.refreshed().answer(replace(SEVEN, generation=search.manifest.generation, limit=N))
    live = [s for s in ORDER if s not in {stable_id(k) for k in (*range(50, 60), *range(380, 400))}]
    assert segments([alone]) == live
    paged = list(pages(search.refreshed(), replace(SEVEN, generation=search.manifest.generation), [70]))
    assert segments(paged) == live


def test_a_generation_that_was_pruned_is_said(lake):
    old = open_search(lake).answer(replace(SEVEN, limit=5))
    add_rows(lake, N, 10, run="run-3")
    index_lake(lake)
    prune(f"{lake.root}/index", KEY, keep=1)
    for request in (replace(SEVEN, cursor=old.cursor), replace(SEVEN, generation=old.generation)):
        with pytest.raises(QueryError, match=f"{old.generation}.* not stored any more; ask again"):
            open_search(lake).answer(request)


def test_a_cursor_belongs_to_its_query(lake):
    search = open_search(lake)
    cursor = search.answer(replace(SEVEN, limit=5)).cursor
    for other in (
        SearchRequest((Term("text", "segment 8"),), cursor=cursor),
        replace(SEVEN, filter="has_audio", cursor=cursor),
        replace(SEVEN, space="visual", cursor=cursor),
        replace(SEVEN, recall=0.5, cursor=cursor),
        replace(SEVEN, time_limit_ms=5.0, cursor=cursor),
    ):
        with pytest.raises(QueryError, match="of another query"):
            search.answer(other)
    changed = UNMERGED.model_copy(update={"query": UNMERGED.query.model_copy(update={"merge_drop": 0.2})})
    with pytest.raises(QueryError, match="of another query"):
        open_search(lake, changed).answer(replace(SEVEN, cursor=cursor))


def test_a_cursor_that_was_shortened_or_changed_is_no_cursor():
    cursor = Cursor(Pin("g", 3, 4), "q", 10, 12)
    text = cursor.to_text()
    assert parse_cursor(text) == cursor
    for wrong in (text[:-2], text[:-1] + ("A" if text[-1] != "A" else "B"), "page2", "é", "AAAA"):
        with pytest.raises(QueryError, match="is no cursor"):
            parse_cursor(wrong)


def test_groups_are_the_best_videos_with_their_best_moments(lake):
    search = open_search(lake)
    request = replace(SEVEN, group_by="video", group_size=3, limit=12)
    scores = (ROWS @ WORLD[7]).reshape(-1, SEGMENTS_PER_VIDEO)
    videos = np.argsort(-scores.max(axis=1), kind="stable")
    wanted = [
        stable_id(int(video * SEGMENTS_PER_VIDEO + k))
        for video in videos
        for k in np.argsort(-scores[video], kind="stable")[:3]
    ]
    found = list(pages(search, request, [12]))
    assert segments(found) == wanted
    assert [len(result.hits) for result in found] == [36, 36, 36, 12]
    assert [hit.rank for result in found for hit in result.hits] == list(range(1, 121))
    late = replace(request, filter="start_s >= 10", limit=4)
    best_late = np.argsort(-scores[:, 5:].max(axis=1), kind="stable")[:4]
    assert [hit.video_uri for hit in search.answer(late).hits[::3]] == [f"/archive/{video}.mp4" for video in best_late]


def drifting(n: int) -> np.ndarray:
    """Vectors that change slowly, so that neighbours are alike."""
    steps = np.random.default_rng(8).standard_normal((n, WORLD.shape[1]))
    walk = np.array([steps[max(0, k - 6) : k + 1].sum(axis=0) for k in range(n)])
    return (walk / np.linalg.norm(walk, axis=1, keepdims=True)).astype(np.float32)


def moments(results) -> list[tuple]:
    hits = [hit for result in results for hit in result.hits]
    return [(hit.video_uri, hit.start_us, hit.end_us, hit.segment_ids, hit.n_segments) for hit in hits]


@pytest.mark.parametrize("index", [IndexConfig(min_queries=50), APPROXIMATE], ids=["exact", "pq"])
def test_moments_do_not_depend_on_the_limit(index, tmp_path, monkeypatch):
    monkeypatch.setattr(toy_lake, "WORLD", drifting(900))
    lake = make_lake(tmp_path, 880)
    index_lake(lake, index)
    add_rows(lake, 880, 20, run="run-2")
    config = UNMERGED.model_copy(update={"query": UNMERGED.query.model_copy(update={"merge_drop": 0.4})})
    search = open_search(lake, config)
    for number in (5, 300, 885):
        asked = SearchRequest((Term("text", f"segment {number}"),))
        whole = moments([search.answer(replace(asked, limit=200))])
        assert any(len(moment[3]) > 1 for moment in whole)
        for limit in (1, 3, 10, 67):
            assert moments([search.answer(replace(asked, limit=limit))]) == whole[:limit]
        assert moments(pages(search, asked, [13]))[:200] == whole


def test_a_run_of_equal_segments_is_one_entry(tmp_path, monkeypatch):
    """A camera that sees nothing for hours: of 3,000 candidates one moment, of which some ids are named."""
    world = drifting(3_400)
    world[200:3_200] = world[200]
    monkeypatch.setattr(toy_lake, "WORLD", world)
    monkeypatch.setattr(toy_lake, "SEGMENTS_PER_VIDEO", 3_400)
    lake = make_lake(tmp_path, 3_400)
    index_lake(lake)
    found = open_search(lake).answer(SearchRequest((Term("text", "segment 1000"),), limit=10))
    first = found.hits[0]
    assert (first.n_segments, len(first.segment_ids), first.start_us, first.end_us) == (3_000, 100, 400e6, 6_400e6)
    assert len(found.hits) == 10 and all(hit.n_segments < 100 for hit in found.hits[1:])
    assert len(str(found.to_json())) < 20_000


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(SEVEN, group_size=2), "without group_by"),
        (lambda: replace(SEVEN, group_by="video", per_video=2), "group_size says"),
        (lambda: replace(SEVEN, group_by="video", group_size=0), "group_size is 0"),
    ],
)
def test_what_contradicts_itself_is_refused(make, words):
    with pytest.raises(QueryError, match=words):
        make()
