"""The HTTP contract: the answer of a search, and a problem with a code for everything that is wrong."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from shotlake.config import ServeConfig
from shotlake.index.searcher import Searcher
from shotlake.query.search import LakeSearch
from shotlake.serve.app import create_app
from shotlake.serve.live import LiveIndex


def client_of(lake, **limits):
    live = LiveIndex(lambda: LakeSearch.open(lake.config.lake, lake.encoder, lake.config))
    live.refresh()
    app = create_app(live, ServeConfig(**limits))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture
def client(full_lake):
    return client_of(full_lake)


def assert_problem(response, status, code):
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["request_id"] and body["title"] and body["detail"]
    return body


def test_a_text_finds_its_segment_with_the_contract_of_the_command_line(client, full_lake):
    text = full_lake.captions[17]
    body = client.post("/v1/search", json={"query": text, "limit": 3}).json()
    expected = LakeSearch.open(full_lake.config.lake, full_lake.encoder, full_lake.config).search(text, 3)
    assert body | {"took_ms": {}} == expected.to_json() | {"took_ms": {}}
    assert set(body["took_ms"]) == {"encode", "search", "columns", "total"}
    hit = body["hits"][0]
    assert hit["video_uri"] == "/archive/001.mp4" and hit["start_s"] <= 14.0 < hit["end_s"]


def test_a_list_of_one_part_is_the_same_query_and_the_space_is_obeyed(client, full_lake):
    text = full_lake.captions[5]
    plain = client.post("/v1/search", json={"query": text}).json()
    listed = client.post("/v1/search", json={"query": [{"text": text}]}).json()
    visual = client.post("/v1/search", json={"query": text, "space": "visual"}).json()
    assert plain["hits"] == listed["hits"]
    assert visual["hits"][0]["score"] == visual["hits"][0]["scores"]["visual"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"query": "x", "limt": 3}, "limt: "),
        ({"query": [{"text": "x", "wieght": 1}]}, "query.0.wieght: "),
        ({"query": [{"text": "x", "segment_id": "y"}]}, "query.0: "),
        ({"query": [{"weight": 1}]}, "query.0: "),
        ({"query": [{"text": "x", "weight": -1}]}, "query.0.weight: "),
        ({"query": "x", "not": [{"text": "y"}]}, "not.0.threshold: "),
        ({"query": "x", "negative": "y"}, "negative: "),
        ({"query": [{"vector": []}]}, "query.0.vector: "),
        ({"query": []}, "query: "),
        ({"query": "  "}, "query.0.text: "),
        ({"query": 7}, "query: "),
        ({"query": "x" * 2001}, "query.0.text: "),
        ({"query": "x", "limit": 0}, "limit: "),
        ({"query": "x", "limit": 1001}, "limit: "),
        ({"query": "x", "space": "smell"}, "space: "),
        ({"query": "x", "recall": 0}, "recall: "),
        ({"query": "x", "time_limit_ms": 0}, "time_limit_ms: "),
        ({"query": "x", "time_limit_ms": -1}, "time_limit_ms: "),
        ({}, "query: "),
        ([], "body: "),
    ],
)
def test_a_wrong_body_is_refused_and_names_the_field(client, body, words):
    assert words in assert_problem(client.post("/v1/search", json=body), 422, "bad_request")["detail"]


def hits_of(client, **body):
    response = client.post("/v1/search", json=body)
    assert response.status_code == 200, response.text
    return response.json()["hits"]


def test_a_segment_and_its_own_vector_are_queries(client, full_lake):
    found = hits_of(client, query=full_lake.captions[5], limit=1)[0]
    alike = hits_of(client, query=[{"segment_id": found["segment_ids"][0]}], limit=60)
    assert alike and all(found["segment_ids"][0] not in hit["segment_ids"] for hit in alike)
    vector = full_lake.encoder.embed_text([full_lake.captions[5]])["fused"][0].tolist()
    assert hits_of(client, query=[{"vector": vector}], limit=1)[0]["segment_ids"] == found["segment_ids"]


def test_parts_have_weights_and_can_be_negative_or_excluded(client, full_lake):
    one, other = ({"text": full_lake.captions[k]} for k in (5, 17))
    alone, mixed = hits_of(client, query=[one]), hits_of(client, query=[one, other | {"weight": 0}])
    assert [hit["segment_ids"] for hit in alone] == [hit["segment_ids"] for hit in mixed]
    pushed = hits_of(client, query=[one], negative=[one], limit=1)[0]
    assert pushed["score"] == pytest.approx(0, abs=1e-5)
    left = hits_of(client, query=[one], **{"not": [one | {"threshold": 0.5}]}, limit=60)
    assert left and max(hit["score"] for hit in left) <= 0.5 < alone[0]["score"]


def test_a_recall_or_a_time_may_be_asked_for_and_the_answer_says_what_it_has(client, full_lake):
    """An exact index has one point, which answers whatever is asked."""
    body = {"query": full_lake.captions[5], "limit": 5}
    plain = client.post("/v1/search", json=body).json()
    for more in ({"recall": 0.5}, {"time_limit_ms": 0.001}, {"recall": 1, "time_limit_ms": 1000}):
        other = client.post("/v1/search", json=body | more).json()
        assert other["hits"] == plain["hits"]
        assert other["index"]["recall_at_10"] == plain["index"]["recall_at_10"] == {"text": 1.0, "segment": 1.0}


def test_a_filter_and_a_threshold_keep_what_they_say(client, full_lake):
    text = full_lake.captions[5]
    only = hits_of(client, query=text, filter='uri ~ "*/003.mp4"', limit=60)
    assert {hit["video_uri"] for hit in only} == {"/archive/003.mp4"}
    assert all(hit["score"] >= 0.5 for hit in hits_of(client, query=text, score_threshold=0.5, limit=60))
    body = assert_problem(client.post("/v1/search", json={"query": text, "filter": "colour = red"}), 422, "query")
    assert "colour" in body["detail"]


def test_pages_groups_and_pins_have_the_words_of_the_query_room(client, full_lake):
    body = {"query": full_lake.captions[17], "limit": 3, "per_video": 60}
    first = client.post("/v1/search", json=body).json()
    second = client.post("/v1/search", json=body | {"cursor": first["cursor"]}).json()
    assert [hit["rank"] for hit in (*first["hits"], *second["hits"])] == [1, 2, 3, 4, 5, 6]
    shown = [segment for hit in (*first["hits"], *second["hits"]) for segment in hit["segment_ids"]]
    assert len(set(shown)) == len(shown)
    grouped = client.post("/v1/search", json={"query": body["query"], "limit": 2, "group_by": "video", "group_size": 2})
    uris = [hit["video_uri"] for hit in grouped.json()["hits"]]
    assert uris[0] == uris[1] != uris[2] == uris[3]
    pinned = client.post("/v1/search", json=body | {"generation": first["index"]["generation"]}).json()
    assert pinned["hits"] == first["hits"]
    for wrong in ({"cursor": "page 2"}, {"generation": "00000000-none"}):
        assert_problem(client.post("/v1/search", json=body | wrong), 422, "query")


def test_broken_json_unknown_words_and_unknown_spaces(client):
    broken = client.post("/v1/search", content=b'{"query": ', headers={"Content-Type": "application/json"})
    assert_problem(broken, 400, "bad_json")
    body = assert_problem(client.post("/v1/search", json={"query": "zzqx bleurgh"}), 422, "query")
    assert "bleurgh" in body["detail"]
    body = assert_problem(client.post("/v1/search", json={"query": "red circle", "space": "audio"}), 422, "query")
    assert "fused, visual" in body["detail"]


def test_unknown_paths_and_methods_are_problems_too(client):
    assert_problem(client.get("/v2/search"), 404, "not_found")
    response = client.get("/v1/search")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_body_over_the_cap_is_refused_declared_or_not(full_lake):
    client = client_of(full_lake, max_body_bytes=100)

    def chunks():
        for _ in range(1000):
            yield b"x" * 50

    assert_problem(client.post("/v1/search", content=b"x" * 101), 413, "body_too_large")
    assert_problem(client.post("/v1/search", content=chunks()), 413, "body_too_large")
    assert client.post("/v1/search", json={"query": full_lake.captions[1]}).status_code == 200


def test_the_request_keeps_its_own_id_if_it_is_plain(client):
    own = client.post("/v1/search", json={}, headers={"X-Request-ID": "job-7.a_b"})
    assert own.json()["request_id"] == "job-7.a_b"
    odd = client.post("/v1/search", json={}, headers={"X-Request-ID": '"<script>'})
    assert "<" not in odd.json()["request_id"]


def test_more_requests_than_the_queue_holds_are_sent_away_and_health_still_answers(full_lake, monkeypatch):
    entered, release = threading.Semaphore(0), threading.Event()
    answer = LakeSearch.answer

    def slow(self, *arguments):
        entered.release()
        release.wait(20)
        return answer(self, *arguments)

    monkeypatch.setattr(LakeSearch, "answer", slow)
    with client_of(full_lake, concurrency=1, max_queued=0) as client:
        answers = []
        body = {"query": full_lake.captions[1]}
        first = threading.Thread(target=lambda: answers.append(client.post("/v1/search", json=body)))
        first.start()
        assert entered.acquire(timeout=10)
        refused = client.post("/v1/search", json=body)
        assert_problem(refused, 429, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        assert "all places are taken" in assert_problem(client.get("/readyz"), 503, "too_slow")["detail"]
        release.set()
        first.join()
        assert answers[0].status_code == 200
        assert client.post("/v1/search", json=body).status_code == 200
        assert client.get("/readyz").json()["status"] == "ready"


def test_it_is_not_ready_while_searches_fail_or_a_look_hangs(caption_lake):
    caption_lake.grow(0, 20)
    hang, entered = threading.Event(), threading.Event()

    def is_moved():
        if hang.is_set():
            entered.set()
            assert release.wait(60)
        return False

    release = threading.Event()
    live = LiveIndex(
        lambda: LakeSearch.open(caption_lake.config.lake, caption_lake.encoder, caption_lake.config), is_moved
    )
    live.refresh()
    client = TestClient(create_app(live, ServeConfig(poll_s=0.05)), base_url="http://localhost")
    told = client.get("/readyz").json()
    assert told | {"last_look_age_s": 0} == {
        "status": "ready", "generation": live.generation, "last_look_age_s": 0, "loading": False, "failed_reloads": 0,
    }  # fmt: skip
    hang.set()
    looker = threading.Thread(target=live.refresh)
    looker.start()
    try:
        assert entered.wait(20)
        time.sleep(0.6)
        problem = assert_problem(client.get("/readyz"), 503, "too_slow")
        assert "the last look at the lake ended" in problem["detail"] and "hangs" in problem["detail"]
        lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        assert float(lines["shotlake_index_last_look_age_seconds"]) > 0.5
        assert client.post("/v1/search", json={"query": caption_lake.captions[3]}).status_code == 200
    finally:
        release.set()
        looker.join()
    assert client.get("/readyz").json()["last_look_age_s"] < 0.5


def test_older_generations_that_open_slowly_keep_no_search_out(caption_lake):
    """As many pages of it as there are places, and more."""
    first = caption_lake.grow(0, 20)
    caption_lake.grow(20, 20)
    entered, release = threading.Event(), threading.Event()

    def load(root, manifest, cache_dir):
        if manifest.generation == first:
            entered.set()
            assert release.wait(60)
        return Searcher.load(root, manifest, cache_dir)

    config = caption_lake.config
    live = LiveIndex(lambda: LakeSearch.open(config.lake, caption_lake.encoder, config, load=load))
    live.refresh()
    asked = {"query": caption_lake.captions[3], "limit": 2}
    app = create_app(live, ServeConfig(concurrency=1))
    with TestClient(app, base_url="http://localhost") as client, ThreadPoolExecutor(6) as pool:
        try:
            pinned = [pool.submit(client.post, "/v1/search", json=asked | {"generation": first}) for _ in range(6)]
            assert entered.wait(20)
            while not any(one.done() for one in pinned):
                time.sleep(0.01)
            assert client.post("/v1/search", json=asked).status_code == 200
            assert client.get("/readyz").status_code == 200
        finally:
            release.set()
        answers = [one.result() for one in pinned]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert "opened for others" in assert_problem(refused, 503, "too_slow")["detail"]


def test_without_an_index_it_is_healthy_and_not_ready(caption_lake):
    client = client_of(caption_lake)
    assert client.get("/healthz").json() == {"status": "ok"}
    answers = [client.get("/readyz"), client.get("/v1/index"), client.post("/v1/search", json={"query": "red circle"})]
    for answer in answers:
        assert_problem(answer, 503, "no_index")
        assert answer.headers["retry-after"] == "10"


def test_an_error_of_the_service_is_a_problem_without_details(client, monkeypatch, caplog):
    monkeypatch.setattr(LakeSearch, "answer", lambda *_: 1 / 0)
    body = assert_problem(client.post("/v1/search", json={"query": "red circle"}), 500, "internal")
    assert "division" not in body["detail"]
    assert body["request_id"] in caplog.text and "ZeroDivisionError" in caplog.text


def test_the_index_and_the_metrics_tell_what_is_served(client, full_lake):
    client.post("/v1/search", json={"query": full_lake.captions[1]})
    client.get("/made-up/by/a/scanner")
    index = client.get("/v1/index").json()
    assert (index["rows"], index["model_id"], index["reload_error"]) == (60, "mini", None)
    assert set(index["recall_at_10"]) == {"fused", "visual"}
    assert client.get("/readyz").json()["generation"] == index["generation"]
    lines = client.get("/metrics").text.splitlines()
    assert 'shotlake_requests_total{route="/v1/search",status="200"} 1.0' in lines
    assert 'shotlake_requests_total{route="unknown",status="404"} 1.0' in lines
    assert "shotlake_index_loaded 1.0" in lines and "shotlake_index_stale 0.0" in lines


def test_the_schema_describes_the_query_as_text_or_parts(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    kinds = [option.get("type") for option in schemas["SearchBody"]["properties"]["query"]["anyOf"]]
    assert kinds == ["string", "array"]
