"""The snapshot in use is replaced by a better one only, and whatever goes wrong it goes on answering."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shotlake.errors import CorruptGeneration, NoIndex, SourceMissing, StoreError, TooSlow
from shotlake.index.publish import rollback
from shotlake.index.searcher import Searcher
from shotlake.query.budget import Budget
from shotlake.query.request import SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.serve.live import LiveIndex
from shotlake.serve.opener import Opener
from shotlake.serve.pins import KEPT_PINS


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


def damaged(path: Path) -> Iterator[str]:
    """Each way in which a file can be damaged, while it is so; afterwards it is whole again."""
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        yield f"byte {place} is flipped"
    path.write_bytes(whole[:-1])
    yield "it is truncated"
    path.unlink()
    yield "it is missing"
    path.write_bytes(whole)


@pytest.mark.parametrize("made", ["built", "updated"])
def test_a_damaged_file_is_named_and_the_old_generation_kept(caption_lake, made):
    """Each file that the next generation has of its own, its manifest and its pointer."""
    caption_lake.grow(0, 200)
    live = live_on(caption_lake)
    live.refresh()
    folder = Path(caption_lake.config.lake, "index", caption_lake.key)
    stored = {path for path in folder.rglob("*") if path.is_file()}
    before = live.current().search(caption_lake.captions[3], 40).hits
    if made == "built":
        second = caption_lake.grow(200, 40)
    else:
        second = caption_lake.update(200, 40, "/archive/000.mp4")
    files = {path for path in folder.rglob("*") if path.is_file()} - stored
    kinds = {"ivf.faiss", "rows.f16", "columns.arrow", "stats.json", "truth-text.npz", "truth-segment.npz"}
    own = {"built": {"trained.faiss", "report.json"}, "updated": {"tombstones.i64"}}[made]
    assert {path.name for path in files} == kinds | own | {"manifest.json", "2.json"}
    for path in sorted(files):
        for how in damaged(path):
            live.refresh()
            if (path.name, how) == ("2.json", "it is missing"):
                assert live.error is None, "it was not published"
            else:
                assert isinstance(live.error, CorruptGeneration), (path, how)
                assert path.relative_to(folder).as_posix() in live.error.message, (path, how)
            assert live.current().search(caption_lake.captions[3], 40).hits == before
    live.refresh()
    assert (live.generation, live.error) == (second, None)


@pytest.mark.parametrize("name", ["ivf.faiss", "manifest.json", "2.json"])
def test_after_a_restart_on_a_damaged_generation_the_last_good_one_answers(caption_lake, name):
    first = caption_lake.grow(0, 40)
    before = {path for path in Path(caption_lake.config.lake, "index").rglob(name) if path.is_file()}
    second = caption_lake.grow(40, 40)
    (path, *_) = {path for path in Path(caption_lake.config.lake, "index").rglob(name) if path.is_file()} - before
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    opener = Opener(caption_lake.config)
    live = LiveIndex(opener.open, opener.is_moved)
    live.refresh()
    assert live.generation == first and isinstance(live.error, CorruptGeneration) and live.failed_reloads == 1
    assert live.current().search(caption_lake.captions[3]).hits
    path.write_bytes(whole)
    live.refresh()
    assert (live.generation, live.error) == (second, None)


def test_while_it_is_rolled_back_every_answer_is_whole_and_of_one_generation(caption_lake):
    sizes = {caption_lake.grow(0, 40): 40, caption_lake.grow(40, 40): 80}
    live = live_on(caption_lake)
    live.refresh()
    request = SearchRequest((Term("text", caption_lake.captions[3]),), limit=100)
    stop, answers, errors = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            try:
                answers.append(live.answer(request))
            except Exception as error:
                errors.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(4):  # to the first, the second, the first...
        rollback(f"{caption_lake.lake.root}/index", caption_lake.key)
        live.refresh()
        enough = len(answers) + len(askers) + 1  # one at least began after the swap
        while len(answers) < enough and not errors:
            stop.wait(0.01)
    stop.set()
    for asker in askers:
        asker.join()
    assert errors == [] and live.reloads == 5
    found = {(a.generation, sum(len(hit.segment_ids) for hit in a.hits), a.partial) for a in answers}
    assert found == {(generation, size, False) for generation, size in sizes.items()}


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


class SlowLoad:
    """Loads a generation once it is let; counts how often it was asked to."""

    def __init__(self) -> None:
        self.n, self.entered, self.release = 0, threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self, *arguments):
        self.n += 1
        self.entered.set()
        assert self.release.wait(60)
        if self.error:
            raise self.error
        return Searcher.load(*arguments)


def slowly_pinned(lake):
    """A live index of two generations whose older one takes its time to be opened: that, and the older one's name."""
    first = lake.grow(0, 40)
    lake.grow(40, 40)
    slow = SlowLoad()
    slow.release.set()
    live = LiveIndex(lambda: LakeSearch.open(lake.config.lake, lake.encoder, lake.config, load=slow))
    live.refresh()
    slow.release.clear()
    slow.entered.clear()
    slow.n = 0
    return live, slow, first


def test_a_slow_open_of_an_older_generation_stops_nobody_and_is_done_once(caption_lake):
    live, slow, first = slowly_pinned(caption_lake)
    query = (Term("text", caption_lake.captions[3]),)
    with ThreadPoolExecutor(3) as pool:
        try:
            pinned = [pool.submit(live.answer, SearchRequest(query, generation=first)) for _ in range(2)]
            assert slow.entered.wait(20)
            assert live.answer(SearchRequest(query)).generation == live.generation
            with pytest.raises(TooSlow, match="still being opened"):
                live.answer(SearchRequest(query, generation=first), Budget.lasting(0.1))
            pool.submit(live.refresh).result(20)
            assert live.error is None and not any(one.done() for one in pinned)
        finally:
            slow.release.set()
        assert {one.result().generation for one in pinned} == {first}
    assert live.answer(SearchRequest(query, generation=first)).generation == first
    assert slow.n == 1


def test_a_generation_that_could_not_be_opened_is_tried_again(caption_lake):
    live, slow, first = slowly_pinned(caption_lake)
    asked = SearchRequest((Term("text", caption_lake.captions[3]),), generation=first)
    slow.error = StoreError("the store was asleep")
    slow.release.set()
    for _ in range(2):
        with pytest.raises(StoreError, match="asleep"):
            live.answer(asked)
    slow.error = None
    assert live.answer(asked).generation == first and slow.n == 3


def test_a_look_that_hangs_ages_and_one_that_loads_may_take_its_time(caption_lake, monkeypatch):
    caption_lake.grow(0, 20)
    opener = Opener(caption_lake.config)
    live = LiveIndex(opener.open, opener.is_moved, opener.look)
    live.refresh()
    assert live.look.age_s < 20 and not live.look.is_loading
    caption_lake.grow(20, 20)
    entered, release, load = threading.Event(), threading.Event(), Searcher.load

    def slow(*arguments, **named):
        entered.set()
        assert release.wait(60)
        return load(*arguments, **named)

    monkeypatch.setattr(Searcher, "load", slow)
    looker = threading.Thread(target=live.refresh)
    looker.start()
    assert entered.wait(20)
    time.sleep(0.05)
    assert live.look.is_loading and live.look.stuck_s == 0 and live.look.age_s >= 0.05
    release.set()
    looker.join()
    assert live.reloads == 2 and not live.look.is_loading


@pytest.mark.parametrize("how", ["cut short", "overwritten", "removed"])
def test_files_that_change_under_a_running_service_change_no_answer(caption_lake, how):
    """A mapped file that is cut short ends the process that looks at it; one that is overwritten is answered from."""
    caption_lake.grow(0, 200)
    opener = Opener(caption_lake.config)
    live = LiveIndex(opener.open, opener.is_moved, opener.look)
    live.refresh()
    files = [file for file in live.current().manifest.files if Path(file.path).suffix not in (".json", ".npz")]
    folder = Path(caption_lake.config.lake, "index", caption_lake.key)
    assert {Path(file.path).name for file in files} == {"trained.faiss", "ivf.faiss", "rows.f16", "columns.arrow"}
    for file in files:
        with (folder / file.path).open("r+b") as stored:
            if how == "cut short":
                stored.truncate(0)
            elif how == "overwritten":
                stored.write(b"\x3c" * file.size_bytes)
        if how == "removed":
            (folder / file.path).unlink()
    live.refresh()
    for number in (3, 57, 141):
        best = live.answer(SearchRequest((Term("text", caption_lake.captions[number]),), limit=3)).hits[0]
        assert best.video_uri == f"/archive/{number // 10:03d}.mp4"
        assert best.start_us <= number % 10 * 2_000_000 < best.end_us and best.score > 0.99
