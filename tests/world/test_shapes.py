"""Maps of shapes and textures."""

import numpy as np
import pytest

from shotlake.world.scenes import SHAPES, TEXTURES
from shotlake.world.shapes import MAP_PX, REACH, distances, ink


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_lies_inside_its_map_and_its_distances_are_distances(shape: str) -> None:
    distance = distances(shape)
    assert (distance < 0).mean() > 0.05
    assert min(distance[0].min(), distance[-1].min(), distance[:, 0].min(), distance[:, -1].min()) > 0.05
    steps = np.abs(np.diff(distance, axis=0)).max(), np.abs(np.diff(distance, axis=1)).max()
    assert max(steps) <= 2 * REACH / MAP_PX * 1.01


def test_shapes_and_textures_differ() -> None:
    areas = {shape: int((distances(shape) < 0).sum()) for shape in SHAPES}
    assert len(set(areas.values())) == len(SHAPES)
    shares = {texture: float(ink(texture).mean()) for texture in TEXTURES}
    assert shares["plain"] == 0 and all(0.2 < shares[texture] < 0.7 for texture in TEXTURES[1:])
    stripes, checks = ink("striped"), ink("checked")
    assert (stripes == stripes[0]).all() and not (checks == checks[0]).all()


@pytest.mark.parametrize("name", ["blob", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is called"):
        distances(name)
    with pytest.raises(ValueError, match="is called"):
        ink(name)
