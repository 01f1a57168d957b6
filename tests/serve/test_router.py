"""Shards in other processes answer as those of this one; a holder that is killed costs its rows, and not for long."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from shotlake.config import ServeConfig
from shotlake.errors import CorruptGeneration, QueryError, ShardsLost, TooSlow
from shotlake.index.cache import cached_files
from shotlake.index.depth import Depth
from shotlake.index.files import default_cache_dir
from shotlake.index.manifest import ROWS_NAME
from shotlake.index.publish import current, rollback
from shotlake.index.searcher import Searcher
from shotlake.query.filters import parse_filter
from shotlake.query.request import SearchRequest, Term
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.serve.holders import cut_runs
from shotlake.serve.live import LiveIndex
from shotlake.serve.router import Router

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def lake(tmp_path_factory, make_caption_lake):
    """60 segments in six shards."""
    lake = make_caption_lake(tmp_path_factory.mktemp("routed") / "lake", "index.rows_per_shard=10")
    lake.grow(0, 60)
    return lake


def open_routed(lake, holders: int, replicas: int = 1, timeout_s: float = 600) -> LakeSearch:
    config = ServeConfig(holders=holders, holder_replicas=replicas, timeout_s=timeout_s)
    load = partial(Router.load, cache_bytes=0, config=config)
    return LakeSearch.open(lake.config.lake, lake.encoder, lake.config, load=load)


def wait_until(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def segments(result: SearchResult) -> list[str]:
    return [segment for hit in result.hits for segment in hit.segment_ids]


def assert_same(one: SearchResult, other: SearchResult) -> None:
    """The same hits; scores within the last digits, for a block of rows is summed in another order than one row."""
    shown = [
        [(hit.rank, hit.segment_ids, hit.start_us, hit.video_uri) for hit in result.hits] for result in (one, other)
    ]
    assert shown[0] == shown[1]
    np.testing.assert_allclose([hit.score for hit in one.hits], [hit.score for hit in other.hits], atol=1e-5)
    assert not one.partial and bool(one.cursor) == bool(other.cursor)


def everything(text: str) -> SearchRequest:
    return SearchRequest((Term("text", text),), limit=60, per_video=60)


def process_of(search: LakeSearch, group: int, replica: int = 0) -> int:
    """The number of a holder's process."""
    holder = search.rows.searcher.groups[group].holders[replica]
    return ray.get(holder.__ray_call__.remote(lambda _: os.getpid()))


def kill(search: LakeSearch, group: int, replica: int = 0) -> None:
    """The process of a holder."""
    os.kill(process_of(search, group, replica), signal.SIGKILL)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs, unless somebody ends it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Askers:
    """Threads that ask the same again and again; what was answered, and what went wrong."""

    def __init__(self, live: LiveIndex, request: SearchRequest, n: int = 2) -> None:
        self._live, self._request, self._stop = live, request, threading.Event()
        self.answers: list[SearchResult] = []
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(n)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(self._live.answer(self._request))
            except Exception as error:
                self.errors.append(error)

    def wait_for_more(self, n: int = 3) -> None:
        """Until there are `n` answers of queries that begin from now on."""
        enough = len(self.answers) + len(self._threads) + n
        wait_until(lambda: len(self.answers) >= enough or self.errors)

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.errors == []


@contextmanager
def missing(lake, shard: int) -> Iterator[None]:
    """A file of a shard is away, and its copies: who has one open goes on, who starts cannot load it."""
    root = f"{lake.lake.root}/index"
    manifest = current(root, lake.key)
    path = Path(root, lake.key, manifest.spaces["fused"].shards[shard].path, ROWS_NAME)
    copies = [copy for uri, copy in cached_files(root, default_cache_dir()) if uri == str(path)]
    away = {found: found.rename(found.with_suffix(".away")) for found in (path, *copies)}
    try:
        yield
    finally:
        for found, hidden in away.items():
            hidden.rename(found)


def requests(lake) -> list[SearchRequest]:
    texts = [Term("text", caption) for caption in lake.captions[:20:4]]
    asked = [SearchRequest((text,), limit=15) for text in texts]
    return [
        *asked,
        SearchRequest((texts[0],), filter='uri ~ "*/00[135].mp4" or uri ~ "*4.mp4"', limit=30),
        SearchRequest((texts[1], texts[2]), negative=(texts[3],), group_by="video", group_size=2, limit=4),
        SearchRequest((texts[0],), space="visual", dedupe=0.95, per_video=3, limit=12),
        SearchRequest((texts[0],), space="auto", limit=60),
    ]


def test_runs_are_neighbours_and_even(lake):
    manifest = current(f"{lake.lake.root}/index", lake.key)
    assert [shard.n_rows for shard in manifest.shards] == [10] * 6
    for n_runs, sizes in ((1, [6]), (2, [3, 3]), (3, [2, 2, 2]), (4, [1, 1, 2, 2]), (9, [1] * 6)):
        parts = [manifest.part(run) for run in cut_runs(manifest, n_runs)]
        assert sorted(len(part.shards) for part in parts) == sizes
        assert [shard for part in parts for shard in part.shards] == list(manifest.shards)
        assert {file for part in parts for file in part.files} <= set(manifest.files)


def test_answers_are_those_of_one_process(ray_cluster, lake):
    routed = open_routed(lake, holders=3)
    alone = LakeSearch.open(lake.config.lake, lake.encoder, lake.config)
    segment = SearchRequest((Term("segment", segments(alone.search(lake.captions[7]))[0]),), limit=20)
    for request in (*requests(lake), segment):
        assert_same(routed.answer(request), alone.answer(request))
    first = routed.answer(SearchRequest((Term("text", lake.captions[3]),), limit=5))
    second = SearchRequest((Term("text", lake.captions[3]),), limit=5, cursor=first.cursor)
    assert_same(routed.answer(second), alone.answer(second))
    with pytest.raises(QueryError, match="no space 'audio'"):
        routed.rows.searcher.search_vectors(np.ones((1, 8), np.float32), "audio", 3)


def test_rows_are_found_scored_and_hidden_as_in_one_process(ray_cluster, lake):
    router = open_routed(lake, holders=4).rows.searcher
    alone = LakeSearch.open(lake.config.lake, lake.encoder, lake.config).rows.searcher
    queries = lake.encoder.embed_text(lake.captions[:5])["fused"]
    hidden, some = np.array([3, 11, 12, 59]), np.array([59, 0, 13, 12, 3, 30])
    for seen_by, expected in ((router, alone), (router.without(hidden), alone.without(hidden))):
        for allowed in (None, np.sort(some), some[:0]):
            scores, rows = seen_by.search_vectors(queries, "fused", 70, allowed=allowed)
            wanted = expected.search_vectors(queries, "fused", 70, allowed=allowed)
            np.testing.assert_array_equal(rows, wanted[1])
            np.testing.assert_allclose(scores, wanted[0], atol=1e-6)
    for rows in (some, some[:1], some[:0]):
        assert router.columns(rows, ["uri", "start_us"]) == alone.columns(rows, ["uri", "start_us"])
        assert router.score_rows(queries[0], "fused", rows) == pytest.approx(
            alone.score_rows(queries[0], "fused", rows), abs=1e-6
        )
        np.testing.assert_array_equal(router.vectors("fused", rows), alone.vectors("fused", rows))
    late = parse_filter("start_s > 9")
    np.testing.assert_array_equal(router.where(late)[0], alone.where(late)[0])
    assert router.where(late, 0)[1] == alone.where(late, 0)[1] == alone.manifest.n_rows  # there is no time for a row


def test_scanned_codes_are_ranked_at_least_as_well_as_in_one_process(ray_cluster, sharded_config, encoder):
    """Each holder scores as many of its own candidates exactly as one process scores of all."""
    config = ServeConfig(holders=2, holder_replicas=1, timeout_s=600)
    load = partial(Router.load, cache_bytes=0, config=config)
    routed = LakeSearch.open(sharded_config.lake, encoder, sharded_config, load=load).rows.searcher
    alone = LakeSearch.open(sharded_config.lake, encoder, sharded_config).rows.searcher
    assert alone.manifest.plan.codec == "pq" and len(routed.groups) == 2
    queries = encoder.embed_text(encoder.captions()[:50])["fused"]
    quickest = min(alone.manifest.spaces["fused"].tuning["text"].curve, key=lambda point: point.ms)
    for depth in (Depth(), Depth(recall=0.5), Depth(time_limit_ms=quickest.ms)):
        better = routed.search_vectors(queries, "fused", 10, depth)[0]
        assert (better >= alone.search_vectors(queries, "fused", 10, depth)[0] - 1e-6).all()


def test_a_killed_holder_makes_answers_partial_until_it_is_replaced(ray_cluster, tmp_path, make_caption_lake):
    lake = make_caption_lake(tmp_path / "lake", "index.rows_per_shard=10")
    lake.grow(0, 60)
    live = LiveIndex(lambda: open_routed(lake, holders=2))
    live.refresh()
    request = everything(lake.captions[3])
    whole, page = live.answer(request), live.answer(SearchRequest(request.terms, limit=2))
    assert len(segments(whole)) == 60 and not whole.partial
    with missing(lake, shard=0):  # so that no replacement can be quicker than the questions
        with Askers(live, request) as askers:
            askers.wait_for_more()
            kill(live.current(), group=0)
            wait_until(lambda: askers.errors or any(answer.partial for answer in askers.answers))
            askers.wait_for_more()
        answers = [(len(segments(answer)), answer.partial) for answer in askers.answers]
        assert set(answers) == {(60, False), (30, True)}
        assert not any(answer.cursor for answer in askers.answers if answer.partial)
        with pytest.raises(ShardsLost, match="further page"):
            live.answer(SearchRequest(request.terms, limit=2, cursor=page.cursor))
        lost = set(segments(whole)) - set(segments(live.answer(request)))
        with pytest.raises(ShardsLost, match="may stand in shards"):
            live.answer(SearchRequest((Term("segment", lost.pop()),)))
        lake.retire("/archive/000.mp4")
        live.refresh()
        assert isinstance(live.error, ShardsLost)
    wait_until(lambda: not live.answer(request).partial)
    assert_same(live.answer(request), whole)
    live.refresh()
    assert live.error is None and len(segments(live.answer(request))) == 50


def test_one_of_two_replicas_may_die_unnoticed_and_is_replaced(ray_cluster, lake):
    search = open_routed(lake, holders=1, replicas=2)
    request = SearchRequest((Term("text", lake.captions[9]),), limit=20)
    whole, group = search.answer(request), search.rows.searcher.groups[0]
    for _ in range(2):  # each of the first two
        before = group.holders
        kill(search, group=0)

        def is_replaced(before: tuple = before) -> bool:
            assert_same(search.answer(request), whole)
            return len(group.holders) == 2 and group.holders != before

        wait_until(is_replaced)


def test_who_hangs_is_asked_nothing_more_and_replaced(ray_cluster, lake):
    search = open_routed(lake, holders=1, replicas=2, timeout_s=10)
    live = LiveIndex(lambda: search)
    live.refresh()
    request, group = SearchRequest((Term("text", lake.captions[9]),), limit=20), search.rows.searcher.groups[0]
    whole, before = live.answer(request), group.holders
    hung = process_of(search, 0)
    with stopped(hung):
        refused = 0
        for _ in range(4):
            try:
                assert_same(live.answer(request), whole)
            except TooSlow:
                refused += 1
        assert refused == 1, "the other one was asked from then on"
        wait_until(lambda: (live.answer(request), len(group.holders) == 2 and set(group.holders) != set(before))[1])
        wait_until(lambda: not psutil.pid_exists(hung) or psutil.Process(hung).status() == psutil.STATUS_ZOMBIE)
    assert_same(live.answer(request), whole)


def test_who_is_only_busy_is_neither_left_out_nor_replaced(ray_cluster, lake):
    search = open_routed(lake, holders=1)
    live = LiveIndex(lambda: search)
    live.refresh()
    request, group = SearchRequest((Term("text", lake.captions[9]),), limit=20), search.rows.searcher.groups[0]
    whole, before = live.answer(request), group.holders
    busy = [group.ask(search.rows.searcher.hidden, _sleep, 5) for _ in range(ServeConfig().concurrency)]
    with pytest.raises(TooSlow, match="did not answer"):
        busy[0](time.monotonic() + 0.1)
    assert ray.wait([group._pings[before[0]][0]], timeout=60)[0], "every thread of it is busy but one"
    assert_same(live.answer(request), whole)
    assert group.holders == before


def _sleep(_: Searcher, seconds: float) -> None:
    time.sleep(seconds)


def test_when_nobody_is_left_it_says_so(ray_cluster, lake):
    search = open_routed(lake, holders=1)
    request = SearchRequest((Term("text", lake.captions[9]),), limit=20)
    whole = search.answer(request)
    with missing(lake, shard=3):
        ray.kill(search.rows.searcher.groups[0].holders[0])
        for _ in range(2):
            with pytest.raises(ShardsLost):
                search.answer(request)
    live = LiveIndex(lambda: search)
    live.refresh()
    wait_until(lambda: search.rows.searcher.groups[0].is_reachable())
    assert_same(live.answer(request), whole)


def test_a_damaged_shard_keeps_the_generation_from_being_opened(ray_cluster, lake):
    with missing(lake, shard=4), pytest.raises(CorruptGeneration, match=r"rows\.f16 is missing"):
        open_routed(lake, holders=2)


def test_queries_keep_their_generation_while_it_is_swapped_and_rolled_back(ray_cluster, tmp_path, make_caption_lake):
    lake = make_caption_lake(tmp_path / "lake", "index.rows_per_shard=10")
    first = lake.grow(0, 20)
    live = LiveIndex(lambda: open_routed(lake, holders=2))
    live.refresh()
    with Askers(live, everything(lake.captions[3])) as askers:
        second = lake.grow(20, 20)
        live.refresh()
        askers.wait_for_more()
        rollback(f"{lake.lake.root}/index", lake.key)
        live.refresh()
        n_before = len(askers.answers)
        askers.wait_for_more()
    assert {(answer.generation, len(segments(answer)), answer.partial) for answer in askers.answers} == {
        (first, 20, False),
        (second, 40, False),
    }
    assert first in {answer.generation for answer in askers.answers[n_before:]}
