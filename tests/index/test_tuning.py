"""The curve of a tuning: it is followed until the target is reached, and not where more lists give nothing more."""

from __future__ import annotations

from itertools import pairwise

import pytest
from toy_vectors import IVF, build, clustered, rows_of

from shotlake.index import tuning
from shotlake.index.manifest import Tuning


def bounds(found: Tuning) -> dict[int, float]:
    """The best lower bound at each nprobe."""
    return {point.nprobe: point.lower_bound for point in found.curve}


@pytest.mark.parametrize("target", [0.3, 1.0])
def test_a_curve_ends_where_the_codes_have_no_more_to_say(
    target: float, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """Of twelve candidates codes lose some right rows however many lists are read."""
    monkeypatch.setattr(tuning, "RERANKS", (12,))
    config = IVF.model_copy(update={"target_recall": target, "target_recall_segment": target})
    manifest = build(str(tmp_path / "index"), rows_of(clustered(3000, 60, seed=1)), config)
    for kind in ("text", "segment"):
        found = manifest.spaces["fused"].tuning[kind]
        curve = bounds(found)
        steps = list(curve)
        gains = [curve[after] - curve[before] for before, after in pairwise(steps)]
        reached = [curve[step] >= target for step in steps]
        assert max(curve.values()) < tuning.ENOUGH
        if target == 1.0:
            assert steps[-1] == manifest.plan.nlist and not any(reached)
        else:
            assert steps[-1] < manifest.plan.nlist and reached[-1] and gains[-1] < tuning.LEAST_GAIN
            assert all(gain >= tuning.LEAST_GAIN for gain, there in zip(gains, reached[1:-1], strict=False) if there)
