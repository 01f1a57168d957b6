"""Painted frames show the colour, the place and the motion that the scene names, at any size."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shotlake.world.paint import render_frames
from shotlake.world.scenes import COLOURS, MOTIONS, REVERSE, SHAPES, Scene

TIMES_S = np.arange(16) / 8


def render(motion: str, seed: int = 1, shape: str = "circle", colour: str = "yellow") -> NDArray[np.uint8]:
    return render_frames(Scene(colour, shape, motion, None, seed), TIMES_S, 48, 48)


def shape_mask(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that are not the nearly grey background."""
    return np.ptp(frames.astype(int), axis=-1) > 60


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


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("motion", "way"), [("left", -1), ("right", 1), ("up", -1j), ("down", 1j)])
def test_directions(motion: str, way: complex, seed: int) -> None:
    moved = drift(render(motion, seed)) / way
    assert moved.real > 0.1 and abs(moved.imag) < 0.02


@pytest.mark.parametrize(("motion", "sign"), [("circling clockwise", 1), ("circling counterclockwise", -1)])
def test_circling_turns_the_right_way_round(motion: str, sign: int) -> None:
    steps = np.diff(centres(render(motion)))
    turns = np.angle(steps[1:] / steps[:-1])  # y points down, so clockwise is positive
    assert np.sign(np.median(turns)) == sign


@pytest.mark.parametrize(("motion", "sign"), [("growing", 1), ("shrinking", -1)])
def test_sizes_change_the_right_way(motion: str, sign: int) -> None:
    steps = np.diff(shape_mask(render(motion)).sum((1, 2)))
    assert (np.sign(steps) == sign).mean() > 0.7


def test_still_is_still_and_spinning_stays_in_its_place() -> None:
    assert (render("still") == render("still")[0]).all()
    spinning = render("spinning clockwise")
    assert (spinning[0] != spinning[4]).any() and abs(drift(spinning)) < 0.02


@pytest.mark.parametrize("motion", sorted(REVERSE))
def test_a_film_run_backwards_is_not_the_same_film(motion: str) -> None:
    frames = render(motion)
    assert (frames[::-1] != frames).any()


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_moment_depends_on_its_time_only(motion: str) -> None:
    scene = Scene("red", "star", motion, None, 4)
    late = render_frames(scene, np.array([6.25, 7.5]), 48, 48)
    assert (render_frames(scene, np.array([7.5]), 48, 48)[0] == late[1]).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_the_brightest_part_of_a_shape_has_its_colour(colour: str, shape: str) -> None:
    frame = render("still", shape=shape, colour=colour)[0].astype(float)
    background = render("still", shape=shape, colour="white")[0].astype(float)
    changed = np.abs(frame - background).sum(-1) if colour != "white" else frame.sum(-1)
    pixels = frame[changed > 0.8 * changed.max()]
    pixels = pixels[pixels.sum(-1) > 0.9 * pixels.sum(-1).max()]
    names = list(COLOURS)
    near = np.array([np.linalg.norm(pixels.mean(0) / 255 - COLOURS[name]) for name in names])
    assert names[int(near.argmin())] == colour


def test_shapes_differ_and_the_world_stretches_with_the_frame() -> None:
    areas = {shape: shape_mask(render("still", shape=shape))[0].sum() for shape in SHAPES}
    assert len(set(areas.values())) == len(SHAPES)
    scene = Scene("red", "square", "right", None, 2)
    wide, tall = (render_frames(scene, TIMES_S, *size) for size in ((96, 48), (48, 96)))
    assert wide.shape == (16, 48, 96, 3) and tall.shape == (16, 96, 48, 3)
    shrunk = wide.reshape(16, 48, 48, 2, 3).mean(3), tall.reshape(16, 48, 2, 48, 3).mean(2)
    assert np.abs(shrunk[0] - shrunk[1]).mean() < 3


@pytest.mark.parametrize(("motion", "shape"), [("flying", "circle"), ("left", "blob")])
def test_unknown_names_are_refused(motion: str, shape: str) -> None:
    with pytest.raises(ValueError, match="is called"):
        render(motion, shape=shape)
