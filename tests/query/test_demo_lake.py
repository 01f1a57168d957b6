"""Each kind of query on painted video whose truth is known; then the lake grows, is indexed, rolled back and erased.

Text queries and absent ones are measured in tests/test_demo.py, files in tests/serve/test_files.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from shotlake.config import Config
from shotlake.embed.load import load_encoder
from shotlake.errors import QueryError
from shotlake.flow.backfill import backfill
from shotlake.flow.build_index import build_index
from shotlake.flow.erasure import erase_videos
from shotlake.flow.generations import roll_back
from shotlake.query.request import Exclusion, SearchRequest, Term
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.records import Hit
from shotlake.table.lake import Lake
from shotlake.world.archive import Truth, VideoTruth, paint_archive, plan_archive
from shotlake.world.captions import plain_caption
from shotlake.world.film import paint_video
from shotlake.world.queries import WorldQuery, agrees
from shotlake.world.scenes import Shot


@pytest.fixture(scope="module")
def search(demo_lake) -> LakeSearch:
    return LakeSearch.open(demo_lake.config.lake, load_encoder(demo_lake.config.embed), demo_lake.config)


@pytest.fixture(scope="module")
def queries(demo_lake) -> list[WorldQuery]:
    return ask_for(demo_lake.truth)


def ask_for(truth: Truth) -> list[WorldQuery]:
    """For every scene of one thing with a sound, in intact videos that have both, what it shows."""
    videos = [video for video in truth.videos if not video.fault and video.film.has_picture and video.film.has_sound]
    shots = {span.scene.shot for video in videos for span in video.spans if len(span.scene.things) == 1}
    shown = sorted((shot for shot in shots if shot.sounds), key=repr)
    return [WorldQuery(plain_caption((shot,)).text, shot, "full") for shot in shown]


def is_right(query: WorldQuery, hit: Hit, truth: Truth) -> bool:
    return agrees(query, hit.video_uri, hit.start_us, hit.end_us, truth)


def share(right: Iterable[bool]) -> float:
    answers = list(right)
    return sum(answers) / len(answers)


def ask(search: LakeSearch, *terms: Term, **more) -> SearchResult:
    return search.answer(SearchRequest(terms, **{"limit": 5, **more}))


def unmerged(config: Config) -> Config:
    """Every segment is a moment."""
    return config.model_copy(update={"query": config.query.model_copy(update={"merge_drop": 0.0})})


def text(words: str, weight: float = 1.0) -> Term:
    return Term("text", words, weight)


def test_a_vector_asks_as_its_text_does(search, queries):
    for query in queries[:5]:
        vector = tuple(search.encoder.embed_text([query.text])["fused"][0].tolist())
        asked, given = ask(search, text(query.text)).hits, ask(search, Term("vector", vector)).hits
        assert [hit.segment_ids for hit in given] == [hit.segment_ids for hit in asked]


def test_a_segment_finds_another_of_what_it_shows(search, queries, demo_lake):
    """Of the scenes that last so long that the first hit is right and the second is another moment."""
    right = []
    for query in queries:
        best = ask(search, text(query.text), limit=1).hits[0]
        if is_right(query, best, demo_lake.truth):
            found = ask(search, Term("segment", best.segment_ids[0]), limit=1).hits[0]
            assert best.segment_ids[0] not in found.segment_ids
            shown = WorldQuery("", Shot(query.wanted.things), "part")
            right.append(is_right(shown, found, demo_lake.truth))
    assert len(right) >= 8 and share(right) >= 0.7


def test_a_mixture_of_picture_and_sound_is_the_whole(search, queries, demo_lake):
    right = []
    for query in queries:
        seen, heard = (
            plain_caption((shot,)).text for shot in (Shot(query.wanted.things), Shot((), query.wanted.sounds))
        )
        right.append(is_right(query, ask(search, text(seen), text(heard)).hits[0], demo_lake.truth))
    assert share(right) >= 0.8


@pytest.mark.parametrize("weights", [(4, 1), (1, 4)])
def test_of_a_mixture_the_heavier_part_decides(weights, search, queries, demo_lake):
    right = []
    for query, other in pairwise(queries):
        first = ask(search, text(query.text, weights[0]), text(other.text, weights[1]), limit=1).hits[0]
        right.append(is_right(query if weights[0] > weights[1] else other, first, demo_lake.truth))
    assert share(right) >= 0.8


@pytest.mark.parametrize("space", ["visual", "audio", "fused", "auto"])
def test_each_space_finds_what_it_holds(space, heard_config, search, demo_lake):
    """Pictures alone, sounds alone, and both; `auto` takes the space itself."""
    found = LakeSearch.open(heard_config.lake, search.encoder, heard_config)
    right = []
    for query in ask_for(demo_lake.truth):
        wanted = query.wanted
        if space in ("visual", "audio"):
            wanted = Shot(wanted.things) if space == "visual" else Shot((), wanted.sounds)
        asked = WorldQuery(plain_caption((wanted,)).text, wanted, "part")
        right.append(is_right(asked, ask(found, text(asked.text), space=space).hits[0], demo_lake.truth))
    assert share(right) >= 0.8


def test_what_is_negative_or_excluded_is_not_heard(search, queries, demo_lake):
    kept = []
    for query in queries:
        sound = text(plain_caption((Shot((), query.wanted.sounds),)).text)
        heard = WorldQuery("", Shot((), query.wanted.sounds), "sound")
        for more in ({"negative": (sound,)}, {"excluded": (Exclusion(sound, 0.3),)}):
            found = ask(search, text(query.text), limit=1, **more).hits
            kept.append(bool(found) and is_right(heard, found[0], demo_lake.truth))
    assert share(kept) <= 0.4


def test_filters_are_those_of_the_truth(search, queries, demo_lake):
    def uris(filter_: str) -> set[str]:
        hits = search.answer(SearchRequest((text(queries[0].text),), filter=filter_, limit=1000)).hits
        return {hit.video_uri for hit in hits}

    def those(wanted) -> set[str]:
        files = [video for video in demo_lake.truth.videos if video.fault != "not_media" and wanted(video)]
        return {str(demo_lake.archive / video.path) for video in files}

    def silent(video: VideoTruth) -> bool:
        return not video.film.has_sound

    assert uris("not has_audio") == those(silent)
    assert uris('uri ~ "*/morning/*"') == those(lambda video: video.path.startswith("morning/"))
    assert uris("duration_s > 20") == those(lambda v: not v.fault and v.duration_us > 20e6) | (
        uris("duration_s > 20") & those(lambda video: bool(video.fault))
    )
    assert uris('has_audio and not uri ~ "*/morning/*"') == those(
        lambda video: video.film.has_sound and not video.path.startswith("morning/")
    )


def test_groups_caps_and_dedupe(search, queries, demo_lake):
    query = text(queries[0].text)
    grouped = ask(search, query, group_by="video", group_size=2, limit=4).hits
    best = search.answer(SearchRequest((query,), per_video=1, limit=4)).hits
    assert list(dict.fromkeys(hit.video_uri for hit in grouped)) == [hit.video_uri for hit in best]
    unlike = replace(search, config=unmerged(search.config)).answer(SearchRequest((query,), dedupe=0.9, limit=20)).hits
    rows = search.rows.find("segment_id", [hit.segment_ids[0] for hit in unlike if len(hit.segment_ids) == 1])
    vectors = search.rows.vectors("fused", rows)
    assert len(rows) >= 3 and np.triu(vectors @ vectors.T, 1).max() < 0.9


@dataclass(frozen=True)
class Grown:
    """A copy of the lake with videos of another archive that its generation has not. `told`: what a table says of
    them, and what the subtitles of the first say; `newer`: a snapshot from before they were indexed.
    """

    config: Config
    archive: Path
    truth: Truth
    written: int
    told: dict[str, dict[str, str]]
    newer: LakeSearch

    def now(self) -> LakeSearch:
        return LakeSearch.open(self.config.lake, self.newer.encoder, self.config)

    def added(self, found: LakeSearch, **more) -> list[Hit]:
        """Hits of the other archive among those of what it shows."""
        answers = [ask(found, text(query.text), limit=20, **more) for query in ask_for(self.truth)]
        return [hit for result in answers for hit in result.hits if hit.video_uri.startswith(str(self.archive))]

    def right(self, found: LakeSearch) -> float:
        wanted = [(q, ask(found, text(q.text), filter=f'uri ~ "{self.archive}/*"').hits) for q in ask_for(self.truth)]
        return share(is_right(query, hits[0], self.truth) for query, hits in wanted)


@pytest.fixture(scope="module")
def grown(demo_lake, search, tmp_path_factory) -> Grown:
    root = tmp_path_factory.mktemp("grown")
    shutil.copytree(demo_lake.config.lake, root / "lake")
    truth = paint_archive(root / "more", seed=31, n_videos=5)
    told = {
        video.path: {
            "collection": ("news", "sport")[k % 2],
            "recorded_at": f"2026-01-{10 + k}T{(5 * k) % 24:02}:59:50",
            "season": str(k),
        }
        for k, video in enumerate(truth.videos)
    }
    rows = [f"{root / 'more' / path},{','.join(said.values())}" for path, said in told.items()]
    (root / "told.csv").write_text("\n".join(["uri,collection,recorded_at,season", *rows]))
    subtitles = (root / "more" / truth.videos[0].path).with_suffix(".srt")
    subtitles.write_text("1\n00:00:00,500 --> 00:00:03,500\nGood evening\n")
    catalog = demo_lake.config.catalog.model_copy(update={"metadata": str(root / "told.csv")})
    config = demo_lake.config.model_copy(update={"lake": str(root / "lake"), "catalog": catalog})
    report = backfill([str(root / "more")], config, lambda *_: None, build=False)
    newer = LakeSearch.open(config.lake, search.encoder, config)
    return Grown(config, root / "more", truth, report.ledger.cells["written"], told, newer)


@pytest.fixture(scope="module")
def indexed(grown) -> LakeSearch:
    """A snapshot of the lake once everything is indexed."""
    build_index(grown.config)
    return grown.now()


def begins(said: dict[str, str], hit: Hit) -> datetime:
    return datetime.fromisoformat(said["recorded_at"]) + timedelta(microseconds=hit.start_us)


Asked = Callable[[VideoTruth, dict[str, str], Hit], bool]
FIELDS: dict[str, Asked] = {
    "collection = news": lambda video, said, hit: said["collection"] == "news",
    'collection in (sport, "archive") and not collection = archive': lambda v, said, hit: said["collection"] == "sport",
    "date = 2026-01-11": lambda v, said, hit: begins(said, hit).date() == date(2026, 1, 11),
    "date >= 2026-01-11 and date < 2026-01-13": lambda v, said, hit: 11 <= begins(said, hit).day < 13,
    "time < 01:00 or time >= 10:00": lambda v, said, hit: not 1 <= begins(said, hit).hour < 10,
    "recorded_at <= 2026-01-11T05:59:50": lambda v, said, hit: said["season"] in "01",
    "meta.season >= 2": lambda v, said, hit: int(said["season"]) >= 2,
    'text contains "good evening"': lambda v, said, hit: said["season"] == "0" and 0 <= hit.start_us < 3_500_000,
    "codec = h264 and recorded_at > 2026-01-01": lambda v, said, hit: v.film.has_picture,
    "codec = aac and recorded_at > 2026-01-01": lambda v, said, hit: not v.film.has_picture,
    "not has_audio and recorded_at > 2026-01-01": lambda v, said, hit: not v.film.has_sound,
    "duration_s >= 28 and recorded_at > 2026-01-01": lambda v, said, hit: v.duration_us >= 28e6,
    "start_s >= 4 and end_s <= 10 and run = RUN": lambda v, said, hit: hit.start_us >= 4e6 and hit.end_us <= 10e6,
    "run = RUN": lambda v, said, hit: True,
    'uri ~ "ARCHIVE/*"': lambda v, said, hit: True,
    'uri ~ "ARCHIVE/*/east/tape-00?.mkv"': lambda v, said, hit: v.path.startswith("afternoon/east/"),
}


@pytest.mark.parametrize("state", ["newer", "indexed"])
def test_every_field_keeps_what_the_truth_says_and_nothing_else(state, grown, request):
    """Of rows that no generation has, and of the same rows once they are indexed; the other archive has none of it."""
    found = grown.newer if state == "newer" else request.getfixturevalue("indexed")
    found = replace(found, config=unmerged(found.config))
    videos = {str(grown.archive / video.path): video for video in grown.truth.videos if not video.fault}
    run = Lake.open(grown.config.lake).read("segments", ["run_id"], pc.field("uri").isin(list(videos)))["run_id"][0]

    def hits(filter_: str) -> dict[tuple[str, ...], Hit]:
        words = filter_.replace("ARCHIVE", str(grown.archive)).replace("RUN", run.as_py())
        shown = found.answer(SearchRequest((text("a red circle"),), filter=words, limit=1000)).hits
        return {hit.segment_ids: hit for hit in shown}

    every = hits("meta.season >= 0")
    assert len(every) == grown.written
    for filter_, wanted in FIELDS.items():
        right = {
            ids
            for ids, hit in every.items()
            if wanted(videos[hit.video_uri], grown.told[videos[hit.video_uri].path], hit)
        }
        assert right and hits(filter_).keys() == right, filter_


def test_newer_rows_are_found_before_and_after_they_are_indexed(grown, indexed, queries):
    first = grown.newer
    assert ask(first, text(queries[0].text)).unindexed_rows == grown.written > 0
    assert grown.right(first) >= 0.8
    assert indexed.manifest.generation != first.manifest.generation
    assert ask(indexed, text(queries[0].text)).unindexed_rows == 0
    assert grown.right(indexed) >= 0.8
    assert grown.added(indexed) and not grown.added(indexed, generation=first.manifest.generation)


@dataclass(frozen=True)
class Changed:
    """One file of the other archive is another film now. `old_ids`: segments of what it was; `found`: a snapshot from
    before that was indexed.
    """

    uri: str
    truth: Truth
    old_ids: frozenset[str]
    found: LakeSearch


@pytest.fixture(scope="module")
def changed(grown, indexed) -> Changed:
    video = next(video for video in grown.truth.videos if video.film.has_picture and video.film.has_sound)
    path = grown.archive / video.path
    old = indexed.rows.columns(indexed.rows.find("uri", [str(path)]), ["segment_id"])["segment_id"].to_pylist()
    other = replace(video, spans=plan_archive(seed=77, n_videos=1).videos[0].spans)
    paint_video(path, other.spans, other.film)
    backfill([str(grown.archive)], grown.config, lambda *_: None, build=False)
    return Changed(str(path), Truth(77, (other,)), frozenset(old), grown.now())


def assert_is_the_new_film(changed: Changed, found: LakeSearch) -> None:
    """Its scenes are found, and nothing of what it was: not by words, by any filter or as a query."""
    shown = ask_for(changed.truth)
    right = [ask(found, text(q.text), filter=f'uri = "{changed.uri}"').hits[0] for q in shown]
    assert share(is_right(query, hit, changed.truth) for query, hit in zip(shown, right)) >= 0.75
    everything = ask(found, text(shown[0].text), limit=1000).hits
    ids = {segment for hit in everything for segment in hit.segment_ids}
    assert changed.old_ids and not ids & changed.old_ids
    assert {segment for hit in everything if hit.video_uri == changed.uri for segment in hit.segment_ids}
    with pytest.raises(QueryError, match="no segment"):
        ask(found, Term("segment", min(changed.old_ids)))


def test_what_a_changed_file_was_is_never_found_before_and_after_an_update(changed, grown, indexed):
    assert_is_the_new_film(changed, changed.found)
    assert changed.old_ids & {i for hit in ask(indexed, text("a circle"), limit=1000).hits for i in hit.segment_ids}
    pinned = ask(changed.found, text("a circle"), limit=1000, generation=indexed.manifest.generation)
    assert pinned.hits and changed.uri not in {hit.video_uri for hit in pinned.hits}, (
        "no retired row, none that is newer"
    )
    updated = build_index(grown.config, action="update")
    assert updated.parent == indexed.manifest.generation and updated.tombstones
    found = grown.now()
    assert found.manifest.generation == updated.generation
    assert_is_the_new_film(changed, found)
    assert found.rows.fresh.counted == 0


def test_rollback_gives_the_earlier_answers_and_what_is_erased_is_gone(grown, indexed, changed, queries):
    first = grown.newer
    before = [ask(first, text(query.text), generation=first.manifest.generation).hits for query in queries]
    roll_back(grown.config, first.manifest.generation)
    back = grown.now()
    assert back.manifest.generation == first.manifest.generation
    assert_is_the_new_film(changed, back)
    after = [ask(back, text(query.text), filter=f'not uri ~ "{grown.archive}/*"').hits for query in queries]
    assert [[hit.segment_ids for hit in hits] for hits in after] == [[h.segment_ids for h in hits] for hits in before]

    victim = grown.added(back)[0].video_uri
    erase_videos(victim, None, "a test", grown.config)
    left = grown.now()
    assert victim not in {hit.video_uri for hit in grown.added(left)}
    assert not ask(left, text(queries[0].text), filter=f'uri = "{victim}"').hits
