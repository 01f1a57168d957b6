"""Labels are the truth in numbers."""

import numpy as np

from shotlake.embed.mini.examples import draw_training
from shotlake.embed.mini.labels import QUESTIONS, Question, matches, right_answers
from shotlake.embed.mini.losses import write_captions
from shotlake.embed.mini.split import drawer
from shotlake.world.scenes import COUNTS, Shot, Thing, holds

STAR, BARS = Thing("red", "plain", "star", "left", 1), Thing("blue", "dotted", "bar", "up", 2)
CLIPS = [
    (Shot((STAR, BARS), ("hiss", "bell")),),
    (Shot((STAR,), ("hiss",)), Shot((BARS,), ("bell",))),
    (Shot((Thing("red", "plain", "star", None, 1),)),),
    (Shot(),),
]


def test_matches_are_what_holds() -> None:
    rng = np.random.default_rng(3)
    shown = draw_training(drawer("train"), 48, rng).shown
    whole, partial, foils, prompts = write_captions(shown, rng, hard=True)
    claims = [caption.claims for caption in (*whole, *partial, *foils.values(), *prompts)]
    expected = [[holds(claim, clip) for claim in claims] for clip in shown]
    assert matches(shown, claims).tolist() == expected


def answers(question: Question) -> list[set[object]]:
    right = right_answers(question, CLIPS)
    return [{question.answers[place] for place in np.flatnonzero(row)} for row in right]


def test_answers_are_those_of_the_first_and_the_last_shot() -> None:
    assert answers(Question(("colour",), 0)) == [{("red",), ("blue",)}, {("red",)}, {("red",)}, set()]
    assert answers(Question(("colour",), -1)) == [{("red",), ("blue",)}, {("blue",)}, {("red",)}, set()]
    assert answers(Question(("shape", "motion"), 0)) == [
        {("star", "left"), ("bar", "up")},
        {("star", "left")},
        set(),
        set(),
    ]
    assert answers(Question(("sound",), -1)) == [{("hiss",), ("bell",)}, {("bell",)}, set(), set()]
    assert answers(Question(("count",), None)) == [{(1,), (2,)}, {(1,), (2,)}, {(1,)}, set()]


def test_every_question_has_its_answers() -> None:
    assert len(QUESTIONS) == 20
    assert [len(question.answers) for question in QUESTIONS[:7]] == [12, 4, 10, 14, len(COUNTS), 12, 120]
