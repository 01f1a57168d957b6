"""A query has an end, whatever a stranger writes into a cursor, a filter or a vector; an ordinary one answers then."""

from __future__ import annotations

import base64
import json
import pickle
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from toy_lake import CONFIG, DIM, WORLD, ToyEncoder, add_rows, index_lake, make_lake, retire

from shotlake.errors import QueryError
from shotlake.index.columns import COLUMNS
from shotlake.query.budget import MAX_CANDIDATES, Budget
from shotlake.query.conditions import MAX_DEPTH, parse_json
from shotlake.query.cursor import parse_cursor
from shotlake.query.filters import parse_filter
from shotlake.query.page import Unlike
from shotlake.query.request import SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.records import stable_id

N = 400
UNMERGED = CONFIG.model_copy(update={"query": CONFIG.query.model_copy(update={"merge_drop": 0.0})})
SEVEN = SearchRequest((Term("text", "segment 7"),))


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> LakeSearch:
    lake = make_lake(tmp_path_factory.mktemp("budget"), N - 20)
    index_lake(lake)
    add_rows(lake, N - 20, 20, run="run-2")
    return LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def search(opened) -> Iterator[LakeSearch]:
    """After every case an ordinary search still answers."""
    yield opened
    assert opened.search("segment 7", 3).hits[0].segment_ids == (stable_id(7),)


def forged(cursor: str, **fields: object) -> str:
    """The text that somebody makes who has read how it is made."""
    names = ("generation", "units", "retired", "query", "position", "n_hits")
    body = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[8:])
    body = json.dumps(list((dict(zip(names, body)) | fields).values()), separators=(",", ":"))
    return base64.urlsafe_b64encode(f"{stable_id(body)[:8]}{body}".encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "fields",
    [
        {"position": 10**30},
        {"position": True},
        {"position": "7"},
        {"position": 1.5},
        {"position": None},
        {"position": -1},
        {"position": 10**12},
        {"n_hits": -1},
        {"n_hits": [1]},
        {"units": -1},
        {"units": 2**70},
        {"retired": None},
        {"generation": 7},
        {"generation": ""},
        {"generation": "x" * 101},
        {"query": {}},
        {"one": 1},
    ],
    ids=str,
)
def test_a_forged_cursor_is_no_cursor(search, fields):
    cursor = search.answer(replace(SEVEN, limit=2)).cursor
    assert search.answer(replace(SEVEN, limit=2, cursor=forged(cursor))).hits  # of the same fields it is the same
    with pytest.raises(QueryError, match="is no cursor"):
        search.answer(replace(SEVEN, cursor=forged(cursor, **fields)))


def test_a_cursor_is_not_a_deep_tree(search):
    body = "[" * 100_000
    text = base64.urlsafe_b64encode(f"{stable_id(body)[:8]}{body}".encode()).decode().rstrip("=")
    with pytest.raises(QueryError, match="is no cursor"):
        parse_cursor(text)


@pytest.mark.parametrize("fields", [{"units": 10**6}, {"retired": 10**6}, {"generation": "../../etc"}], ids=str)
def test_a_cursor_to_what_is_not_stored_says_so(search, fields):
    cursor = search.answer(replace(SEVEN, limit=2)).cursor
    with pytest.raises(QueryError, match="not stored any more; ask again without cursor"):
        search.answer(replace(SEVEN, cursor=forged(cursor, **fields)))


def test_an_answer_without_time_is_partial_and_says_of_how_much(search):
    found = search.answer(replace(SEVEN, filter="start_s >= 0"), Budget.lasting(0))
    assert (found.partial, found.spent, found.coverage, found.cursor) == (True, "time", 20 / N, "")
    assert {hit.segment_ids[0] for hit in found.hits} <= {stable_id(k) for k in range(N - 20, N)}
    assert found.to_json()["coverage"] == 0.05 and found.to_json()["spent"] == "time"


def test_rounds_end_with_the_budget(search):
    picky = replace(SEVEN, per_video=1, limit=1000)
    found = search.answer(picky, Budget(candidates=100))
    assert (found.partial, found.spent, found.coverage, found.cursor) == (True, "candidates", 1.0, "")
    whole = search.answer(picky)
    shown = [hit.segment_ids for hit in found.hits]
    assert shown == [hit.segment_ids for hit in whole.hits[: len(shown)]] and 0 < len(shown) < len(whole.hits)
    assert (whole.partial, whole.spent, whole.coverage) == (False, "", 1.0)


def test_groups_look_at_no_more_than_the_budget(search):
    found = search.answer(replace(SEVEN, group_by="video", group_size=10, limit=20), Budget(candidates=60))
    assert found.partial and found.spent == "candidates" and 0 < len(found.hits) <= 60
    assert found.hits[0].segment_ids == (stable_id(7),)


def test_repetitions_are_told_without_all_pairs():
    """24,000 vectors: their pairs would take 2.3 GB."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((24_000, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tracemalloc.start()
    unlike, chosen = Unlike(0.8), 0
    for start in range(0, len(vectors), 256):
        chosen += len(unlike.choose(vectors[start : start + 256]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < chosen <= 24_000 and peak < 100e6


def test_repetitions_in_blocks_are_those_of_one_look():
    vectors = WORLD[:1_000]
    whole, parts = Unlike(0.5).choose(vectors), Unlike(0.5)
    in_blocks = [k + start for start in range(0, 1_000, 7) for k in parts.choose(vectors[start : start + 7])]
    kept: list[int] = []
    for number in range(1_000):
        if not kept or (vectors[kept] @ vectors[number]).max() < 0.5:
            kept.append(number)
    assert whole == in_blocks == kept and 1 < len(kept) < 1_000


@pytest.mark.parametrize("scale", [1e300, 1e-300, 5e-324, 1e38, 1.0])
def test_a_vector_of_any_size_is_a_direction(search, scale):
    vector = WORLD[7].astype(np.float64) if scale > 1e-320 else (WORLD[7] > 0).astype(np.float64)
    given = Term("vector", tuple(np.sign(vector) * np.maximum(np.abs(vector) * scale, 5e-324)))
    found = search.answer(SearchRequest((given,), limit=1)).hits[0]
    assert np.isfinite(found.score) and abs(found.score) <= 1.001
    if scale > 1e-320:
        assert found.segment_ids == (stable_id(7),)


def test_hits_are_bounded(search):
    with pytest.raises(QueryError, match="limit 100 times group_size 11 is 1100 hits; 1000 are allowed"):
        SearchRequest(SEVEN.terms, limit=100, group_by="video", group_size=11)
    with pytest.raises(QueryError, match="hits; 1000 are allowed"):
        search.answer(replace(SEVEN, group_by="video", group_size=101))  # ten videos by default


def test_a_video_that_is_gone_cannot_be_asked_with(tmp_path):
    """Not by a cursor of before it went: what it showed would be told by what is like it."""
    lake = make_lake(tmp_path, 100)
    index_lake(lake)
    search = LakeSearch.open(lake.root, ToyEncoder(), UNMERGED, tmp_path / "cache")
    like = SearchRequest((Term("segment", stable_id(7)),), limit=3)
    cursor = search.answer(like).cursor
    retire(lake, 0)
    for asked in (like, replace(like, cursor=cursor)):
        with pytest.raises(QueryError, match="there is no segment"):
            search.refreshed().answer(asked)
    assert search.refreshed().search("segment 55", 1).hits


@pytest.mark.parametrize("text", ["(" * 400, "not " * 399 + "has_audio", "(" * 33 + "has_audio" + ")" * 33])
def test_a_filter_is_not_deep(text):
    with pytest.raises(QueryError, match=f"nested deeper than {MAX_DEPTH}|ends where"):
        parse_filter(text)
    assert parse_filter("(" * 15 + "has_audio" + ")" * 15)


@pytest.mark.parametrize(
    "text",
    [
        "collection = news and not (has_audio or codec in (hevc, av1))",
        'uri ~ "s3://b/*" or text contains "good evening" and meta.season >= 3',
        "start_s > 2.5 and date >= 2026-01-01",
    ],
)
def test_a_filter_is_data(text):
    """It goes to another process, and as JSON to another program, and comes back the same."""
    wanted = parse_filter(text)
    assert pickle.loads(pickle.dumps(wanted)) == wanted
    assert b"cloudpickle" not in pickle.dumps(wanted.rows) and pickle.loads(pickle.dumps(wanted.rows))
    assert parse_filter(json.loads(json.dumps(wanted.to_json()))) == wanted
    assert wanted.rows(pa.RecordBatch.from_pylist([], schema=COLUMNS)).to_pylist() == []


def test_values_of_json_are_texts_numbers_and_booleans(search):
    asked = {"and": [{"field": "start_s", "op": "<", "value": 4}, {"field": "video_id", "op": "in", "value": ["v"]}]}
    assert parse_filter(asked).to_json()["and"][0]["value"] == "4"
    assert parse_json({"field": "has_audio", "op": "=", "value": True}) == parse_filter("has_audio")
    as_json = search.answer(replace(SEVEN, filter={"field": "start_s", "op": "<", "value": 4})).hits
    assert as_json == search.answer(replace(SEVEN, filter="start_s < 4")).hits != ()


def nested(depth: int) -> dict[str, object]:
    tree: dict[str, object] = {"field": "has_audio", "op": "=", "value": True}
    for _ in range(depth):
        tree = {"not": tree}
    return tree


def nested_lists(depth: int) -> list[object]:
    tree: list[object] = []
    for _ in range(depth):
        tree = [tree]
    return tree


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (nested(MAX_DEPTH + 1), "nested deeper than 32"),
        (nested(5_000), "nested deeper than 32"),
        ({"and": []}, "a part of the filter has 'and'"),
        ({"or": [nested(0), 7]}, "a part of the filter is 7"),
        ({"field": "colour", "op": "=", "value": "x"}, "'colour' is not a field; there are meta.NAME"),
        ({"field": "uri", "op": "like", "value": "x"}, "'like' compares nothing; there are ="),
        ({"field": "uri", "op": "in", "value": "x"}, "`in` takes a list"),
        ({"field": "uri", "op": "=", "value": ["x"]}, "`in` takes a list"),
        ({"field": "uri", "op": "=", "value": {"x": 1}}, "a text, a number, true or false is allowed"),
        ({"field": "start_s", "op": "<", "value": "soon"}, r"'soon' is not seconds such as 2\.5"),
        ({"field": "start_s", "op": "~", "value": "1"}, "looks into texts"),
        ({"field": "uri", "op": "=", "value": "x", "or": []}, "a part of the filter has 'field'"),
        ({"field": "uri", "op": "in", "value": ["x"] * 401}, "has 401 values; 400 are allowed"),
        ({"and": [nested_lists(5_000), nested(0)]}, "a part of the filter is 'list'"),
        ({}, "has nothing"),
        ({"x" * 5_000: 1}, "a part of the filter has 'xxx"),
    ],
)
def test_a_wrong_json_filter_says_what_is_allowed(tree, words):
    with pytest.raises(QueryError, match=words) as caught:
        parse_filter(tree)
    assert len(caught.value.message) < 500


def test_time_that_is_left_never_is_less_than_none():
    assert Budget.lasting(-3).left_s == 0 and Budget().allows(MAX_CANDIDATES)
    budget = Budget.lasting(60)
    assert 0 < budget.left_s <= 60 and budget.allows() and not budget.allows(MAX_CANDIDATES + 1)
    assert budget.spent == "candidates" and time.monotonic() < budget.deadline
