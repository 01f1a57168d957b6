"""Painted frames show colour, texture, number, place and motion as the scene names them, at any size."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shotlake.world.paint import render_frames
from shotlake.world.scenes import CAMERAS, COLOURS, MOTIONS, REVERSE, TEXTURES, Scene, Thing

TIMES_S = np.arange(16) / 8
YELLOW = Thing("yellow", "plain", "circle", "still", 1)


def paint(*things: Thing, seed: int = 1, camera: str = "still", size_px: int = 48) -> NDArray[np.uint8]:
    return render_frames(Scene(things, (), seed, camera), TIMES_S, size_px, size_px)


def render(motion: str, seed: int = 1, shape: str = "circle", colour: str = "yellow") -> NDArray[np.uint8]:
    return paint(Thing(colour, "plain", shape, motion, 1), seed=seed)


def shape_mask(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that are not the nearly grey background."""
    return np.ptp(frames.astype(int), axis=-1) > 70


def centres(frames: NDArray[np.uint8]) -> NDArray[np.complex128]:
    """Circular mean of the shape's pixels, so that wrapping around does not matter: x + iy as angles."""
    mask = shape_mask(frames)
    turn = np.exp(2j * np.pi * (np.arange(48) + 0.5) / 48)
    x, y = (np.angle((mask.sum(axis) * turn).sum(1)) % (2 * np.pi) for axis in (1, 2))
    return x + 1j * y


def drift(frames: NDArray[np.uint8]) -> complex:
    steps = np.diff(centres(frames))
    wrapped = np.angle(np.exp(1j * steps.real)) + 1j * np.angle(np.exp(1j * steps.imag))
    return complex(wrapped.mean())


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("motion", "way"), [("left", -1), ("right", 1), ("up", -1j), ("down", 1j)])
def test_directions_under_any_camera(motion: str, way: complex, seed: int, camera: str) -> None:
    moved = drift(paint(replace(YELLOW, motion=motion), seed=seed, camera=camera)) / way
    assert moved.real > 0.1 and abs(moved.imag) < (0.02 if camera == "still" else 0.09)


def test_a_camera_moves_what_is_still_more_slowly_than_anything_moves() -> None:
    for seed in range(20):
        assert abs(drift(paint(YELLOW, seed=seed, camera="panning"))) < 0.09
        assert abs(drift(paint(YELLOW, seed=seed, camera="still"))) < 0.01


@pytest.mark.parametrize(("motion", "sign"), [("circling clockwise", 1), ("circling counterclockwise", -1)])
def test_circling_turns_the_right_way_round(motion: str, sign: int) -> None:
    steps = np.diff(centres(render(motion)))
    turns = np.angle(steps[1:] / steps[:-1])  # y points down, so clockwise is positive
    assert np.sign(np.median(turns)) == sign


@pytest.mark.parametrize(("motion", "sign"), [("growing", 1), ("shrinking", -1)])
def test_sizes_change_the_right_way(motion: str, sign: int) -> None:
    steps = np.diff(shape_mask(render(motion)).sum((1, 2)))
    assert (np.sign(steps) == sign).mean() > 0.7


def test_spinning_stays_in_its_place_and_a_blink_goes_out() -> None:
    spinning = render("spinning clockwise")
    assert (spinning[0] != spinning[4]).any() and abs(drift(spinning)) < 0.02
    seen = shape_mask(render("blinking")).sum((1, 2))
    assert seen.min() == 0 and (seen > 0.8 * seen.max()).sum() >= 4


@pytest.mark.parametrize(("motion", "axis"), [("swinging", 0), ("bouncing", 1)])
def test_swings_go_from_side_to_side_and_bounces_up_and_down(motion: str, axis: int) -> None:
    path = centres(render(motion))
    reach = np.ptp(path.real), np.ptp(path.imag)
    assert reach[axis] > 1 and reach[1 - axis] < 0.1


@pytest.mark.parametrize("motion", sorted(REVERSE))
def test_a_film_run_backwards_is_not_the_same_film(motion: str) -> None:
    frames = render(motion)
    assert (frames[::-1] != frames).any()


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_moment_depends_on_its_time_only(motion: str) -> None:
    scene = Scene((Thing("red", "striped", "star", motion, 2),), (), 4, "swaying")
    late = render_frames(scene, np.array([6.25, 7.5]), 48, 48)
    assert (render_frames(scene, np.array([7.5]), 48, 48)[0] == late[1]).all()


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("colour", COLOURS)
def test_a_thing_has_its_colour(colour: str, texture: str) -> None:
    with_it, other = (paint(Thing(c, texture, "square", "still", 1), seed=2)[0] for c in (colour, "red"))
    without = paint(seed=2, size_px=48)[0] if colour == "red" else other
    pixels = with_it[np.abs(with_it.astype(int) - without).sum(-1) > 90].astype(float)
    brightest = pixels[pixels.sum(-1) >= np.quantile(pixels.sum(-1), 0.75)].mean(0)
    if colour == "black":
        assert np.quantile(pixels.sum(-1), 0.2) < 150
        return
    names = [name for name in COLOURS if name != "black"]
    direction = {name: np.array(COLOURS[name]) / np.linalg.norm(COLOURS[name]) for name in names}
    near = sorted(names, key=lambda name: -float(brightest @ direction[name]))
    alike = {"white": {"grey"}, "grey": {"white"}, "brown": {"orange"}, "orange": {"brown"}}
    assert near[0] in {colour} | alike.get(colour, set())


def test_textures_look_different() -> None:
    frames = [paint(replace(YELLOW, texture=texture))[0].astype(int) for texture in TEXTURES]
    assert all(np.abs(a - b).sum() > 5_000 for n, a in enumerate(frames) for b in frames[:n])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_as_are_counted_and_none_hides_another(count: int, seed: int) -> None:
    disc = replace(YELLOW, count=count)
    areas = shape_mask(paint(disc, seed=seed, size_px=96)).sum((1, 2))
    one = np.pi * 0.9**2 * 96**2
    radii = {1: (0.16, 0.24), 2: (0.14, 0.19), 3: (0.12, 0.16)}[count]
    assert count * one * radii[0] ** 2 * 0.9 < areas.mean() < count * one * radii[1] ** 2 * 1.1


def test_later_things_hide_earlier_ones() -> None:
    first, second = Thing("red", "plain", "square", "up", 1), Thing("cyan", "plain", "square", "right", 1)
    together = [paint(first, second, seed=seed).astype(int) for seed in range(24)]
    cyan = [((f[..., 1] > 110) & (f[..., 0] < 80)).sum((1, 2)) for f in together]
    red = [((f[..., 0] > 110) & (f[..., 1] < 80)).sum((1, 2)) for f in together]
    assert all(areas.min() > 0.8 * areas.max() for areas in cyan)
    assert any(areas.min() < 0.7 * areas.max() for areas in red)


def test_light_changes_slowly_and_not_much() -> None:
    for seed in range(10):
        brightness = paint(seed=seed).astype(float).mean((1, 2, 3))
        assert brightness.max() < 1.35 * brightness.min()
        assert np.abs(np.diff(brightness)).max() < 0.1 * brightness.mean()
    assert any(np.ptp(paint(seed=seed).astype(float).mean((1, 2, 3))) > 3 for seed in range(10))


def test_the_world_stretches_with_the_frame() -> None:
    scene = Scene((Thing("red", "plain", "square", "right", 1),), (), 2)
    wide, tall = (render_frames(scene, TIMES_S, *size) for size in ((192, 48), (48, 192)))
    assert wide.shape == (16, 48, 192, 3) and tall.shape == (16, 192, 48, 3)
    shrunk = wide.reshape(16, 48, 48, 4, 3).mean(3), tall.reshape(16, 48, 4, 48, 3).mean(2)
    assert np.abs(shrunk[0] - shrunk[1]).mean() < 5


@pytest.mark.parametrize(
    ("thing", "camera"),
    [(replace(YELLOW, motion="flying"), "still"), (replace(YELLOW, shape="blob"), "still"), (YELLOW, "drunk")],
)
def test_unknown_names_are_refused(thing: Thing, camera: str) -> None:
    with pytest.raises(ValueError, match="is called"):
        paint(thing, camera=camera)
