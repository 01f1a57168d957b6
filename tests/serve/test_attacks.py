"""What strangers send: each is answered by a short problem, and after each an ordinary search still is."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from tests.serve.test_app import assert_problem, client_of

from shotlake.config import ServeConfig
from shotlake.query.search import LakeSearch
from shotlake.records import stable_id


@pytest.fixture
def client(full_lake) -> Iterator[TestClient]:
    client = client_of(full_lake)
    yield client
    answer = client.post("/v1/search", json={"query": full_lake.captions[3], "limit": 2})
    assert answer.status_code == 200 and len(answer.json()["hits"]) == 2


def test_thousands_of_unknown_keys_are_answered_in_few_words(client):
    body = {"query": "a red circle"} | {f"key-{k}-" + "x" * 100: 1 for k in range(5_000)}
    answer = client.post("/v1/search", json=body)
    problem = assert_problem(answer, 422, "bad_request")
    assert len(problem["errors"]) == 16 and problem["detail"].endswith("; and 4984 more")
    assert len(answer.content) < 10_000


def test_a_long_key_is_cut(client):
    answer = client.post("/v1/search", json={"query": "a red circle", "x" * 500_000: 1})
    assert_problem(answer, 422, "bad_request")
    assert len(answer.content) < 2_000


@pytest.mark.parametrize("wanted", ["(" * 400, {"not": {"not": []}}, {"and": 3}, {"and": [[[[[[]]]]]] * 2}], ids=str)
def test_a_filter_of_brackets_is_a_wrong_query(client, wanted):
    assert_problem(client.post("/v1/search", json={"query": "a red circle", "filter": wanted}), 422, "query")


def test_a_deep_body_is_no_json(client):
    for body in ("[" * 200_000, '{"query": "x", "filter": ' + '{"not": ' * 50_000 + "1" + "}" * 50_001):
        answer = client.post("/v1/search", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422) and len(answer.content) < 2_000
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_filter_as_json_is_the_same_filter(client, full_lake):
    asked = {"query": full_lake.captions[3], "limit": 50}
    text = client.post("/v1/search", json=asked | {"filter": "start_s < 6 and not has_audio"}).json()
    tree = {
        "and": [{"field": "start_s", "op": "<", "value": 6}, {"not": {"field": "has_audio", "op": "=", "value": True}}]
    }
    assert client.post("/v1/search", json=asked | {"filter": tree}).json()["hits"] == text["hits"]


def test_a_forged_cursor_is_refused(client, full_lake):
    asked = {"query": full_lake.captions[3], "limit": 2}
    cursor = client.post("/v1/search", json=asked).json()["cursor"]
    fields = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[8:])
    body = json.dumps([*fields[:4], -1, *fields[5:]], separators=(",", ":"))
    forged = base64.urlsafe_b64encode(f"{stable_id(body)[:8]}{body}".encode()).decode().rstrip("=")
    assert_problem(client.post("/v1/search", json=asked | {"cursor": forged}), 422, "query")


def test_too_many_hits_and_vectors_of_any_size(client, full_lake):
    asked = {"query": full_lake.captions[3], "group_by": "video", "limit": 1_000, "group_size": 24}
    assert_problem(client.post("/v1/search", json=asked), 422, "query")
    dim = LakeSearch.open(full_lake.config.lake, full_lake.encoder, full_lake.config).manifest.plan.dim
    for number in (1e308, 1e-308):
        answer = client.post("/v1/search", json={"query": [{"vector": [number] * dim}], "limit": 1})
        assert answer.status_code == 200 and abs(answer.json()["hits"][0]["score"]) <= 1.001


def test_a_search_whose_time_was_over_before_its_turn_is_not_begun(client, full_lake, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ServeConfig, "answer_s", 0.0)
        problem = assert_problem(client.post("/v1/search", json={"query": full_lake.captions[3]}), 503, "too_slow")
    assert "other requests took all the time" in problem["detail"]


def test_what_is_wrong_with_the_service_names_no_path(client, full_lake, monkeypatch):
    from shotlake.errors import CorruptGeneration, NoIndex, StoreError

    for error, status in ((NoIndex, 503), (StoreError, 503), (CorruptGeneration, 503)):

        def fail(*_: object, error: type[Exception] = error) -> None:
            raise error(f"{full_lake.config.lake}/index: Access Denied for role 17")

        with monkeypatch.context() as patch:
            patch.setattr(LakeSearch, "answer", fail)
            problem = assert_problem(client.post("/v1/search", json={"query": "a red circle"}), status, error.code)
        assert full_lake.config.lake not in problem["detail"] and "role 17" not in problem["detail"]
        assert "the log of the service says more" in problem["detail"]
