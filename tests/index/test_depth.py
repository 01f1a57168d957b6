"""Which point of a curve answers: by the recall that is asked for, by the time, by both; and what recall is told."""

from __future__ import annotations

import pytest
from toy_vectors import EXACT, build, clustered, rows_of

from shotlake.index.depth import Depth, point_for, recall_at_10
from shotlake.index.manifest import Manifest, TunedPoint

# (nprobe, R): recall, lower bound, ms. The point (4, 100) is slower and worse than (8, 25).
CURVE = {
    (1, 25): (0.62, 0.60, 0.1),
    (2, 100): (0.82, 0.80, 0.4),
    (4, 100): (0.86, 0.84, 0.9),
    (8, 25): (0.92, 0.90, 0.8),
    (8, 200): (0.97, 0.96, 1.5),
    (16, 200): (0.99, 0.98, 3.0),
}
TUNED = (8, 200)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    """One of a real build, in which text queries in the fused space have the curve above."""
    built = build(str(tmp_path_factory.mktemp("index")), rows_of(clustered(300, 16, seed=2)), EXACT)
    curve = tuple(
        TunedPoint(nprobe=nprobe, rerank=rerank, recall=recall, lower_bound=bound, ms=ms)
        for (nprobe, rerank), (recall, bound, ms) in CURVE.items()
    )
    chosen = next(point for point in curve if (point.nprobe, point.rerank) == TUNED)
    entry = built.spaces["fused"]
    text = entry.tuning["text"].model_copy(update={"curve": curve, "chosen": chosen})
    tuned = entry.model_copy(update={"tuning": {**entry.tuning, "text": text}})
    return built.model_copy(update={"spaces": {**built.spaces, "fused": tuned}})


@pytest.mark.parametrize(
    ("recall", "time_limit_ms", "used"),
    [
        (None, None, TUNED),
        (0.70, None, (2, 100)),
        (0.85, None, (8, 25)),
        (0.995, None, (16, 200)),  # nothing reaches it
        (None, 100.0, (16, 200)),
        (None, 3.0, (16, 200)),
        (None, 2.9, (8, 200)),
        (None, 0.9, (8, 25)),  # not the slower one
        (None, 0.5, (2, 100)),
        (None, 0.01, (1, 25)),  # none is so quick: the quickest
        (0.70, 100.0, (2, 100)),  # no more than is asked for
        (0.97, 2.0, (8, 200)),  # in vain: the best that there is time for
        (0.85, 0.5, (2, 100)),
        (0.995, 100.0, (16, 200)),
        (0.995, 0.01, (1, 25)),
    ],
)
def test_the_point_that_answers(manifest, recall, time_limit_ms, used):
    depth = Depth("text", recall, time_limit_ms)
    point = point_for(manifest, "fused", depth)
    assert (point.nprobe, point.rerank) == used
    assert recall_at_10(manifest, "fused", depth) == {"text": CURVE[used][0], "segment": 1.0}


def test_of_equal_bounds_the_quickest(manifest):
    entry = manifest.spaces["fused"]
    text = entry.tuning["text"]
    twice = (*text.curve, text.curve[-1].model_copy(update={"nprobe": 32, "ms": 2.0}))
    slow_first = text.model_copy(update={"curve": twice})
    tuned = entry.model_copy(update={"tuning": {**entry.tuning, "text": slow_first}})
    changed = manifest.model_copy(update={"spaces": {**manifest.spaces, "fused": tuned}})
    assert point_for(changed, "fused", Depth(time_limit_ms=5.0)).nprobe == 32
