"""Each kind of query on painted video whose truth is known; then the lake grows, is indexed, rolled back and erased.

Text queries and absent ones are measured in tests/test_demo.py, files in tests/serve/test_files.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from shotlake.config import Config
from shotlake.embed.load import load_encoder
from shotlake.flow.backfill import backfill
from shotlake.flow.build_index import build_index
from shotlake.flow.generations import roll_back
from shotlake.flow.upkeep import erase_videos
from shotlake.query.request import Exclusion, SearchRequest, Term
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.records import Hit
from shotlake.world.archive import Truth, VideoTruth, paint_archive
from shotlake.world.captions import plain_caption
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
    apart = search.config.model_copy(update={"query": search.config.query.model_copy(update={"merge_drop": 0.0})})
    unlike = replace(search, config=apart).answer(SearchRequest((query,), dedupe=0.9, limit=20)).hits
    rows = search.rows.find("segment_id", [hit.segment_ids[0] for hit in unlike if len(hit.segment_ids) == 1])
    vectors = search.rows.vectors("fused", rows)
    assert len(rows) >= 3 and np.triu(vectors @ vectors.T, 1).max() < 0.9


@dataclass(frozen=True)
class Grown:
    """A copy of the lake with videos of another archive that its generation has not."""

    config: Config
    archive: Path
    truth: Truth
    written: int


@pytest.fixture(scope="module")
def grown(demo_lake, tmp_path_factory) -> Grown:
    root = tmp_path_factory.mktemp("grown")
    shutil.copytree(demo_lake.config.lake, root / "lake")
    truth = paint_archive(root / "more", seed=31, n_videos=5)
    config = demo_lake.config.model_copy(update={"lake": str(root / "lake")})
    report = backfill([str(root / "more")], config, lambda *_: None, build=False)
    return Grown(config, root / "more", truth, report.ledger.cells["written"])


def test_newer_rows_generations_rollback_and_erasure(grown, queries, search):
    """One life of a lake: what was added is found, before and after it is indexed; what is erased is gone from all."""
    encoder = search.encoder

    def now() -> LakeSearch:
        return LakeSearch.open(grown.config.lake, encoder, grown.config)

    def added(found: LakeSearch, **more) -> list[Hit]:
        answers = [ask(found, text(query.text), limit=20, **more) for query in ask_for(grown.truth)]
        return [hit for result in answers for hit in result.hits if hit.video_uri.startswith(str(grown.archive))]

    def right(found: LakeSearch) -> float:
        wanted = [(q, ask(found, text(q.text), filter=f'uri ~ "{grown.archive}*"').hits) for q in ask_for(grown.truth)]
        return share(is_right(query, hits[0], grown.truth) for query, hits in wanted)

    first = now()
    assert ask(first, text(queries[0].text)).unindexed_rows == grown.written > 0
    assert right(first) >= 0.8
    before = [ask(first, text(query.text)).hits for query in queries]

    build_index(grown.config)
    second = now()
    assert second.manifest.generation != first.manifest.generation
    assert ask(second, text(queries[0].text)).unindexed_rows == 0
    assert right(second) >= 0.8
    assert added(second) and not added(second, generation=first.manifest.generation)

    roll_back(grown.config, first.manifest.generation)
    back = now()
    assert back.manifest.generation == first.manifest.generation
    after = [ask(back, text(query.text)).hits for query in queries]
    assert [[hit.segment_ids for hit in hits] for hits in after] == [[h.segment_ids for h in hits] for hits in before]

    victim = added(back)[0].video_uri
    erase_videos(victim, None, "a test", grown.config)
    assert victim not in {hit.video_uri for hit in added(now())}
