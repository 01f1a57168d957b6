"""Questions are decided by what they say they are, and truth judges hits by overlap."""

from collections import Counter

import pytest

from shotlake.world.archive import Truth, VideoTruth, plan_archive
from shotlake.world.captions import words
from shotlake.world.film import Film, Span
from shotlake.world.queries import WorldQuery, agrees, draw_absent, draw_queries, reversed_query
from shotlake.world.scenes import COLOURS, REVERSE, SHAPES, Scene, Shot, Thing, holds

LEFT = Scene((Thing("red", "plain", "circle", "left", 1),), ("hiss",), 1)
RIGHT = Scene((Thing("red", "plain", "circle", "right", 1),), ("hiss",), 2)
TAPE = VideoTruth("a/tape.mp4", Film(), (Span(0, 5_000_000, LEFT), Span(5_000_000, 9_000_000, RIGHT)))
SILENT = VideoTruth("b/tape.mp4", Film(has_sound=False), (Span(0, 4_000_000, LEFT),))
TRUTH = Truth(1, (TAPE, SILENT))


def query(sound: str = "", **wanted: str) -> WorldQuery:
    return WorldQuery("...", Shot((Thing(**wanted),) if wanted else (), (sound,) if sound else ()), "part")


@pytest.mark.parametrize(
    ("start_s", "end_s", "right"), [(0, 2, True), (4, 6, True), (4.1, 6.1, False), (4.5, 5.5, True), (3, 12, True)]
)
def test_half_of_the_hit_or_a_second_of_it(start_s: float, end_s: float, right: bool) -> None:
    hit = (int(start_s * 1e6), int(end_s * 1e6))
    assert agrees(query(motion="left", colour="red"), "a/tape.mp4", *hit, TRUTH) is right


def test_uris_are_matched_by_their_whole_path() -> None:
    hit = (0, 2_000_000)
    assert agrees(query(motion="left"), "s3://bucket/archive/a/tape.mp4", *hit, TRUTH)
    assert agrees(query(motion="left"), "/some/where/b/tape.mp4", *hit, TRUTH)
    assert not agrees(query(motion="left"), "/some/where/ba/tape.mp4", *hit, TRUTH)
    assert not agrees(query(motion="left"), "a/tape.mp4", 2_000_000, 2_000_000, TRUTH)


def test_a_silent_film_does_not_answer_for_its_sound() -> None:
    assert agrees(query(sound="hiss"), "a/tape.mp4", 0, 2_000_000, TRUTH)
    assert not agrees(query(sound="hiss"), "b/tape.mp4", 0, 2_000_000, TRUTH)


@pytest.mark.parametrize("seed", range(3))
def test_forty_questions_of_an_archive(seed: int) -> None:
    truth = plan_archive(seed, 60)
    queries = draw_queries(truth, seed, 40)
    kinds = Counter(q.kind for q in queries)
    assert len({q.wanted for q in queries}) == len({q.text for q in queries}) == 40 and queries == draw_queries(
        truth, seed, 40
    )
    assert kinds["motion"] >= 10 and kinds["sound"] >= 8
    intact = [video for video in truth.videos if not video.fault]
    shown = [(video.shown(span.scene),) for video in intact for span in video.spans]
    for q in queries:
        assert any(holds((q.wanted,), shot) for shot in shown)
        if q.kind == "motion":
            opposite = reversed_query(q)
            assert opposite.wanted.things[0].motion == REVERSE[q.wanted.things[0].motion]
            assert any(holds((opposite.wanted,), shot) for shot in shown)
        if q.kind == "sound" and not q.wanted.things:
            assert not {*COLOURS, *SHAPES} & set(words(q.text.replace("white noise", "")))
    first_eight = Counter(q.kind for q in queries[:8])
    assert first_eight["motion"] >= 2 and first_eight["sound"] >= 2


def test_an_archive_that_is_too_small_says_so() -> None:
    with pytest.raises(ValueError, match="paint more videos"):
        draw_queries(TRUTH, 0, 500)


def test_a_motion_without_reverse_has_no_reversed_question() -> None:
    with pytest.raises(ValueError, match="no motion that has a reverse"):
        reversed_query(query(motion="still"))


def test_what_is_absent_is_shown_nowhere_and_asked_like_what_is_there() -> None:
    truth = plan_archive(3, 60)
    asked, absent = draw_queries(truth, 4, 40), draw_absent(truth, 4, 40)
    assert len(absent) >= 30 and len({query.wanted for query in absent}) == len(absent)
    shots = [video.shown(span.scene) for video in truth.videos if video.fault != "not_media" for span in video.spans]
    assert not any(holds((query.wanted,), (shot,)) for query in absent for shot in shots)

    def form(query: WorldQuery) -> tuple[int, int]:
        return len(query.wanted.things), len(query.wanted.sounds)

    assert Counter(map(form, absent)) <= Counter(map(form, asked))
    assert draw_absent(truth, 4, 40) == absent != draw_absent(truth, 5, 40)


def test_what_is_heard_on_both_sides_of_a_cut_is_not_absent() -> None:
    bell, siren = (Scene(LEFT.things, (sound,), 3) for sound in ("bell", "siren"))
    tape = VideoTruth("tape.mp4", Film(), (Span(0, 5_000_000, bell), Span(5_000_000, 9_000_000, siren)))
    truth = Truth(1, (tape,) * 2 + (TAPE,))
    both = {frozenset(query.wanted.sounds) for seed in range(40) for query in draw_absent(truth, seed, 4)}
    assert frozenset(("bell", "siren")) not in both
