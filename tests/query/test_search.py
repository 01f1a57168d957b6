"""Search on a lake whose every vector is known: what is found, what is not any more, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest
from toy_lake import CONFIG, DIM, KEY, WORLD, ToyEncoder, add_rows, index_lake, make_lake, retire

from shotlake.config import IndexConfig
from shotlake.errors import BadModel, IndexingError, NoIndex, QueryError, SourceMissing
from shotlake.query.request import SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.records import stable_id


def open_search(lake, tmp_path, config=CONFIG, encoder=None):
    return LakeSearch.open(lake.root, encoder or ToyEncoder(), config, tmp_path / "cache")


def test_a_text_finds_its_segment_with_exact_scores(tmp_path):
    lake = make_lake(tmp_path)
    manifest = index_lake(lake)
    result = open_search(lake, tmp_path).search("segment 17", limit=3)
    first = result.hits[0]
    assert (first.rank, first.video_uri, first.start_us) == (1, "/archive/1.mp4", 14_000_000)
    assert first.segment_ids == (stable_id(17),)
    assert first.score == pytest.approx(1, abs=1e-3) and first.scores["visual"] == pytest.approx(1, abs=1e-3)
    assert first.scores["audio"] is None
    assert len(result.hits) == 3
    assert (result.generation, result.table_version) == (manifest.generation, lake.version("segments"))


def test_a_segment_without_picture_has_no_visual_score_and_is_not_found_there(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    search = open_search(lake, tmp_path)
    assert search.search("segment 14").hits[0].scores["visual"] is None
    visual = search.search("segment 14", limit=300, space="visual")
    assert stable_id(14) not in [i for hit in visual.hits for i in hit.segment_ids]
    assert sum(len(hit.segment_ids) for hit in visual.hits) == 240


def test_json_is_the_contract(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    tree = open_search(lake, tmp_path).search("segment 17", limit=2).to_json()
    assert set(tree) == {"index", "took_ms", "partial", "coverage", "spent", "match", "cursor", "hits"}
    assert set(tree["index"]) == {"generation", "embed_key", "table_version", "unindexed_rows", "recall_at_10"}
    assert set(tree["index"]["recall_at_10"]) == {"text", "segment"}
    assert set(tree["took_ms"]) == {"encode", "search", "columns", "total"}
    assert set(tree["hits"][0]) == {
        "rank",
        "score",
        "video_uri",
        "start_s",
        "end_s",
        "n_segments",
        "segment_ids",
        "scores",
    }
    assert (tree["hits"][0]["start_s"], tree["hits"][0]["end_s"]) == (14.0, 16.0)


class SureEncoder(ToyEncoder):
    """It was trained to know from which score on a clip answers a text."""

    match_score = 0.9


def test_an_encoder_that_knows_its_matches_is_believed_of_texts_in_the_fused_space(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    search = open_search(lake, tmp_path, encoder=SureEncoder())
    found = search.search("segment 17", limit=1).match
    assert found is not None and found.threshold == 0.9 and found.good
    told = open_search(lake, tmp_path).search("segment 17", limit=1).match
    assert told is None or told.threshold != 0.9
    for other in (
        search.search("segment 17", limit=1, space="visual"),
        search.answer(SearchRequest((Term("segment", stable_id(17)),), limit=1)),
    ):
        assert other.match is None or other.match.threshold != 0.9


def test_recall_in_the_answer_is_the_manifest_s(tmp_path):
    lake = make_lake(tmp_path, 400)
    config = IndexConfig(exact_below=0, min_queries=50, target_recall=0.5, target_recall_segment=0.5)
    manifest = index_lake(lake, config)
    result = open_search(lake, tmp_path).search("segment 3")
    text = manifest.spaces["fused"].tuning["text"].chosen
    assert result.recall_at_10["text"] == text.recall
    assert manifest.plan.codec == "pq" and 0.5 <= text.lower_bound < text.recall <= 1


def test_rows_newer_than_the_index_are_found_and_counted(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    add_rows(lake, 300, 20, run="run-2")
    old = open_search(lake, tmp_path)
    result = old.search("segment 313")
    assert result.unindexed_rows == 20
    assert result.hits[0].video_uri == "/archive/31.mp4" and result.hits[0].start_us == 6_000_000
    assert result.hits[0].scores["visual"] == pytest.approx(1, abs=1e-3)
    assert old.search("segment 319").hits[0].scores["visual"] is None
    index_lake(lake)
    assert old.search("segment 313").unindexed_rows == 20, "a snapshot ends on the generation that it began with"
    new = old.refreshed()
    assert new.search("segment 313").unindexed_rows == 0
    assert new.search("segment 313").hits[0].segment_ids == (stable_id(313),)


def test_a_snapshot_is_kept_while_nothing_changes(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    search = open_search(lake, tmp_path)
    assert search.refreshed() is search
    add_rows(lake, 300, 20, run="run-2")
    newer = search.refreshed()
    assert newer is not search and newer.refreshed() is newer
    retire(lake, 1)
    assert newer.refreshed() is not newer


def test_newer_rows_of_another_dimension_are_refused_and_the_snapshot_goes_on(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    search = open_search(lake, tmp_path)
    add_rows(lake, 300, 20, run="run-2", dim=DIM - 8)
    with pytest.raises(IndexingError, match=f"a fused vector has {DIM - 8} values, .* gives {DIM}"):
        search.refreshed()
    assert search.search("segment 17").hits[0].segment_ids == (stable_id(17),)


def test_newer_rows_of_another_model_are_neither_counted_nor_found(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    add_rows(lake, 300, 20, run="run-2", key="otherkey")
    result = open_search(lake, tmp_path).search("segment 313", limit=300)
    assert result.unindexed_rows == 0
    assert stable_id(313) not in {segment for hit in result.hits for segment in hit.segment_ids}


class SwappingEncoder(ToyEncoder):
    """In the middle of a query another generation becomes current, and the searcher looks again."""

    def __init__(self, lake) -> None:
        super().__init__()
        self.lake, self.search, self.next = lake, None, None

    def embed_text(self, texts):
        if self.search and not self.next:
            add_rows(self.lake, 300, 20, run="run-2")
            index_lake(self.lake)
            self.next = self.search.refreshed()
        return super().embed_text(texts)


def test_a_query_keeps_the_generation_that_it_began_with_whatever_is_published_meanwhile(tmp_path):
    lake = make_lake(tmp_path)
    first = index_lake(lake).generation
    encoder = SwappingEncoder(lake)
    encoder.search = open_search(lake, tmp_path, encoder=encoder)
    during = encoder.search.search("segment 313", limit=320)
    assert during.generation == first != encoder.next.manifest.generation
    assert {segment for hit in during.hits for segment in hit.segment_ids} == {stable_id(k) for k in range(300)}
    assert encoder.next.search("segment 313").hits[0].segment_ids == (stable_id(313),)


def test_newer_rows_above_the_cap_are_counted_but_not_searched(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    add_rows(lake, 300, 20, run="run-2")
    add_rows(lake, 320, 20, run="run-3")
    capped = CONFIG.model_copy(update={"index": IndexConfig(unindexed_cap=25)})
    search = open_search(lake, tmp_path, capped)
    assert search.search("segment 3").unindexed_rows == 40
    assert search.search("segment 313").hits[0].segment_ids == (stable_id(313),)
    assert search.search("segment 333").hits[0].segment_ids != (stable_id(333),)


def test_retired_videos_vanish_and_the_page_stays_full(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    add_rows(lake, 300, 20, run="run-2")
    search = open_search(lake, tmp_path)
    full = search.search("segment 17", limit=280).hits
    retire(lake, 1)
    retire(lake, 31)
    after = search.refreshed()
    hits = after.search("segment 17", limit=280).hits
    assert {"/archive/1.mp4", "/archive/31.mp4"} <= {hit.video_uri for hit in full}
    assert not {"/archive/1.mp4", "/archive/31.mp4"} & {hit.video_uri for hit in hits}
    assert sum(len(hit.segment_ids) for hit in hits) == 300
    assert after.search("segment 17").unindexed_rows == 10
    assert search.search("segment 17").hits[0].video_uri == "/archive/1.mp4"


def test_a_page_is_full_although_the_candidates_are_one_moment(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    config = CONFIG.model_copy(update={"query": CONFIG.query.model_copy(update={"candidates": 5, "merge_drop": 2.0})})
    hits = open_search(lake, tmp_path, config).search("segment 17", limit=25).hits
    assert len(hits) == 25
    assert len({segment for hit in hits for segment in hit.segment_ids}) > 25


def test_hits_are_those_of_brute_force(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    config = CONFIG.model_copy(update={"query": CONFIG.query.model_copy(update={"merge_drop": 0.0})})
    search = open_search(lake, tmp_path, config)
    query = WORLD[5_000]
    hits = search.search_vectors({"fused": query[None]}, limit=20).hits
    truth = np.sort(WORLD[:300].astype(np.float16).astype(np.float32) @ query)[::-1][:20]
    np.testing.assert_allclose([hit.score for hit in hits], truth, atol=1e-6)
    assert all(hit.scores["visual"] is None for hit in hits), "there is no query vector in this space"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"text": "  "}, "empty"),
        ({"text": "segment 3", "limit": 0}, "limit is 0"),
        ({"text": "segment 3", "space": "audio"}, "'audio'; it can in fused, visual"),
        ({"text": "a cat"}, "no word"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(tmp_path, arguments, words):
    lake = make_lake(tmp_path, 60)
    index_lake(lake)
    with pytest.raises(QueryError, match=words):
        open_search(lake, tmp_path).search(**arguments)


def test_without_lake_index_or_the_right_model_one_sentence_says_what_to_do(tmp_path):
    with pytest.raises(SourceMissing, match="shotlake backfill"):
        LakeSearch.open(str(tmp_path / "nothing"), ToyEncoder(), CONFIG)
    lake = make_lake(tmp_path, 60)
    with pytest.raises(NoIndex, match="shotlake index build"):
        open_search(lake, tmp_path)
    index_lake(lake)
    said = r"toy 1 \(weights w\), the query's model is toy 2 \(weights w\); set embed\.model"
    with pytest.raises(BadModel, match=said):
        open_search(lake, tmp_path, encoder=ToyEncoder("2"))
    assert open_search(lake, tmp_path).manifest.embed_key == KEY
    assert open_search(lake, tmp_path).manifest.plan.dim == DIM


def test_a_segment_that_was_embedded_again_is_found_once(tmp_path):
    lake = make_lake(tmp_path)
    index_lake(lake)
    add_rows(lake, 10, 10, run="run-2")  # the content of video 1 came back
    hits = open_search(lake, tmp_path).search("segment 17", limit=300).hits
    segments = [segment for hit in hits for segment in hit.segment_ids]
    assert len(segments) == len(set(segments)) == 300


@pytest.mark.s3
def test_a_lake_on_s3_answers_as_a_local_one(s3_root, tmp_path):
    answers = []
    for root in (str(tmp_path), s3_root):
        lake = make_lake(root, 120)
        index_lake(lake)
        add_rows(lake, 120, 10, run="run-2")
        retire(lake, 2)
        search = LakeSearch.open(lake.root, ToyEncoder(), CONFIG, tmp_path / "cache")
        answers.append([search.search(f"segment {k}", limit=130).hits for k in (17, 25, 125)])
    assert answers[0] == answers[1]
