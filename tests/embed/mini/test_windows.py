"""Windows are of their kind, cut where they say, and damaged as they say."""

from dataclasses import replace

import numpy as np
import pytest

from shotlake.embed.mini.split import drawer
from shotlake.embed.mini.windows import (
    KIND_SHARES,
    WINDOW_S,
    Damage,
    Kind,
    add_sliver,
    draw_window,
    foil_window,
    render_window,
    shown_in,
)
from shotlake.world.scenes import Scene, Thing, holds

DRAW = drawer("train")
STAR = Scene((Thing("red", "plain", "star", "left", 1),), ("hiss",), 7)
HEART = Scene((Thing("blue", "plain", "heart", "up", 1),), ("low tone",), 8)


@pytest.mark.parametrize("kind", KIND_SHARES)
def test_windows_are_of_their_kind(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        window = draw_window(kind, DRAW, rng)
        assert sum(seconds for _, seconds in window) == pytest.approx(WINDOW_S)
        assert len(window) == (2 if kind == "then" else 1)
        things = window[0][0].things
        assert len(things) == (2 if kind == "pair" else 1) and sum(thing.count for thing in things) <= 3
        assert (things[0].count > 1) == (kind == "several")
        if kind in ("pair", "then"):
            shots = shown_in(window)
            assert len(set(things if kind == "pair" else shots)) == 2


def test_a_cut_is_where_it_is_said_to_be() -> None:
    frames, samples = render_window(((STAR, 1.5), (HEART, 0.5)), np.random.default_rng(0))
    blue = (frames[..., 2].astype(int) - frames[..., 0] > 80).sum((1, 2))
    assert not blue[:12].any() and (blue[12:] > 40).all()
    spectrum = [np.abs(np.fft.rfft(part)) for part in (samples[:8000], samples[-8000:])]
    assert [int(s.argmax()) * 2 < 300 for s in spectrum] == [False, True]


def test_a_sliver_of_another_scene_is_in_the_picture_and_not_told() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        window = add_sliver(((STAR, WINDOW_S),), DRAW, rng)
        assert len(window) == 2 and sum(seconds for _, seconds in window) == pytest.approx(WINDOW_S)
        assert min(seconds for _, seconds in window) < 0.15 and shown_in(window) == (STAR.shot,)


def test_one_thing_that_changes_its_motion_stays_in_its_world() -> None:
    up = replace(STAR, things=(replace(STAR.things[0], motion="up"),))
    frames, _ = render_window(((STAR, 1.0), (up, 1.0)), np.random.default_rng(0))
    same = (np.abs(frames[7].astype(int) - frames[8]).max(-1) < 25).mean()
    assert same > 0.7


def test_damage_leaves_the_same_clip() -> None:
    clean, coded, barred = (
        render_window(((STAR, WINDOW_S),), np.random.default_rng(0), damage)
        for damage in (Damage(), Damage(crf=35, bit_rate=64_000), Damage(bars=0.3))
    )
    assert 0 < np.abs(clean[0].astype(int) - coded[0]).mean() < 12
    assert coded[1].shape == clean[1].shape and (coded[1] != clean[1]).any()
    black = (barred[0] == 0).all((0, 3))
    rows, columns = black.all(1).sum(), black.all(0).sum()
    assert sorted((rows, columns)) == [0, 14]
    assert (clean[1] == barred[1]).all()


def test_a_film_is_the_same_clip_at_its_full_rate() -> None:
    clean, film = (
        render_window(((STAR, 1.0), (HEART, 1.0)), np.random.default_rng(0), damage)[0].astype(int)
        for damage in (Damage(), Damage(crf=20, film=True))
    )
    assert film.shape == clean.shape
    assert np.abs(clean - film).mean() < 6 and np.abs(clean - film[::-1]).mean() > 2 * np.abs(clean - film).mean()


def test_a_foil_of_a_clip_is_another_clip() -> None:
    rng = np.random.default_rng(2)
    foils = 0
    for _ in range(60):
        window = draw_window("pair", DRAW, rng)
        foil = foil_window(window, rng)
        if foil:
            foils += 1
            assert not holds(shown_in(foil), shown_in(window)) and foil[0][0].seed != window[0][0].seed
    assert foils > 40
