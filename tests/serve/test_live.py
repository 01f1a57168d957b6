"""The snapshot in use is replaced by a better one only, and whatever goes wrong it goes on answering."""

import threading
from pathlib import Path

import pytest

from shotlake.errors import CorruptGeneration, NoIndex, SourceMissing
from shotlake.index.publish import rollback
from shotlake.query.request import SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.serve.live import KEPT_PINS, LiveIndex


def live_on(lake):
    return LiveIndex(lambda: LakeSearch.open(lake.config.lake, lake.encoder, lake.config))


def test_without_an_index_it_says_so_and_finds_it_once_it_is_published(caption_lake):
    live = live_on(caption_lake)
    with pytest.raises(NoIndex):
        live.current()
    live.refresh()
    with pytest.raises(NoIndex, match="index build"):
        live.current()
    assert (live.generation, live.failed_reloads) == ("", 1)
    generation = caption_lake.grow(0, 40)
    live.refresh()
    assert live.current().manifest.generation == live.generation == generation
    assert live.error is None


def test_a_new_generation_takes_over_and_the_old_snapshot_still_answers(caption_lake):
    caption_lake.grow(0, 40)
    live = live_on(caption_lake)
    live.refresh()
    before = live.current()
    live.refresh()
    assert live.reloads == 1
    caption_lake.grow(40, 40)
    live.refresh()
    assert live.reloads == 2
    assert (before.manifest.n_rows, live.current().manifest.n_rows) == (40, 80)
    assert before.search(caption_lake.captions[3]).hits


def test_a_damaged_generation_is_refused_and_the_old_one_kept(caption_lake):
    first = caption_lake.grow(0, 40)
    live = live_on(caption_lake)
    live.refresh()
    second = caption_lake.grow(40, 40)
    rows = next(Path(caption_lake.config.lake, "index", caption_lake.key, second).rglob("rows.f16"))
    data = bytearray(rows.read_bytes())
    data[100] ^= 1
    rows.write_bytes(data)
    live.refresh()
    assert isinstance(live.error, CorruptGeneration)
    assert live.generation == first
    assert live.current().search(caption_lake.captions[3]).hits
    data[100] ^= 1
    rows.write_bytes(data)
    live.refresh()
    assert (live.generation, live.error) == (second, None)


def test_an_error_of_any_kind_is_kept_and_raised_anew_for_each_caller():
    def broken():
        raise MemoryError("out of it")

    live = LiveIndex(broken)
    live.refresh()
    assert live.error is not None and "MemoryError" in live.error.message
    missing = LiveIndex(lambda: LakeSearch.open("/nowhere", None, None))
    missing.refresh()
    with pytest.raises(SourceMissing) as one:
        missing.current()
    with pytest.raises(SourceMissing) as other:
        missing.current()
    assert one.value is not other.value


def test_threads_that_refresh_and_search_at_once_never_fail(caption_lake):
    caption_lake.grow(0, 40)
    live = live_on(caption_lake)
    live.refresh()
    stop, errors = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                assert live.current().search(caption_lake.captions[5]).hits
            except Exception as error:
                errors.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for first in (40, 80):
        caption_lake.grow(first, 40)
        live.refresh()
    stop.set()
    for asker in askers:
        asker.join()
    assert errors == [] and live.reloads == 3


def test_a_page_keeps_the_generation_that_its_query_began_with(caption_lake):
    """A second page after a swap, a rollback and a retirement is that of the first generation."""
    first = caption_lake.grow(0, 40)
    live = live_on(caption_lake)
    live.refresh()
    query = (Term("text", caption_lake.captions[3]),)
    whole = live.answer(SearchRequest(query, limit=40, per_video=40)).hits
    begin = live.answer(SearchRequest(query, limit=5, per_video=40))
    second = caption_lake.grow(40, 40)
    live.refresh()
    assert (live.generation, live.answer(SearchRequest(query)).generation) == (second, second)
    rest = SearchRequest(query, limit=40, per_video=40, cursor=begin.cursor)
    for _ in range(2):  # the second time its snapshot is at hand
        after = live.answer(rest)
        assert after.generation == first
        assert [hit.segment_ids for hit in (*begin.hits, *after.hits)] == [hit.segment_ids for hit in whole]
    assert live.answer(SearchRequest(query, generation=first, limit=40, per_video=40)).hits == whole
    rollback(f"{caption_lake.lake.root}/index", caption_lake.key)
    live.refresh()
    assert live.generation == first == live.answer(rest).generation
    caption_lake.retire(whole[-1].video_uri)
    live.refresh()
    assert whole[-1].video_uri not in {hit.video_uri for hit in live.answer(rest).hits}


def test_no_more_than_a_few_snapshots_are_kept(caption_lake):
    caption_lake.grow(0, 20)
    live = live_on(caption_lake)
    live.refresh()
    query, cursors = (Term("text", caption_lake.captions[3]),), []
    for k in range(KEPT_PINS + 2):
        cursors.append(live.answer(SearchRequest(query, limit=1)).cursor)
        caption_lake.retire(f"/archive/{100 + k}.mp4")
        live.refresh()
    for cursor in cursors:
        assert live.answer(SearchRequest(query, limit=1, cursor=cursor)).hits[0].rank == 2
    assert len(live._pinned) == KEPT_PINS
