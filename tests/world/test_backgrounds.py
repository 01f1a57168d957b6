"""Backgrounds: seamless, seeded, another world has others."""

import numpy as np

from shotlake.world.backgrounds import sample_background

ZERO = np.zeros(1, np.float32)


def sample(x: float, y: float, seed: tuple[int, int] = (1, 5), size: tuple[int, int] = (48, 48)) -> np.ndarray:
    return sample_background(ZERO + np.float32(x), ZERO + np.float32(y), *size, seed)[0, ..., :3].astype(int)


def test_a_camera_moves_over_the_same_place() -> None:
    moved = sample(6 / 48, 0)
    assert np.abs(moved[:, :-6] - sample(0, 0)[:, 6:]).mean() < 3
    moved = sample(0, 6 / 48)
    assert np.abs(moved[:-6] - sample(0, 0)[6:]).mean() < 3


def test_backgrounds_have_no_seam_and_are_not_bright() -> None:
    for number in range(30):
        place = sample(0, 0, (1, number), (512, 512))
        steps = np.abs(np.diff(place, axis=0)).max(), np.abs(np.diff(place, axis=1)).max()
        assert max(steps) < 60
        assert 20 < place.mean() < 210 and np.ptp(place.reshape(-1, 3).mean(1)) < 90


def test_seeds_and_worlds_differ() -> None:
    places = [sample(0, 0, (world, number)) for world in (1, 2) for number in range(8)]
    assert all((a != b).any() for n, a in enumerate(places) for b in places[:n])
    assert (sample(0, 0) == sample(0, 0)).all()
