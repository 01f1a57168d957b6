"""The curve of a tuning: it is followed until the target is reached, and not where more lists give nothing more; and
the recall that is stated of the chosen point holds for queries that neither chose it nor state it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from toy_vectors import IVF, build, clustered, rows_of, text_queries

from shotlake.index import tuning
from shotlake.index.manifest import Tuning
from shotlake.index.searcher import Searcher
from shotlake.index.truth import Truth


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


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[Searcher, Truth]:
    """An index, and many texts with what exact search finds for them."""
    root = str(tmp_path_factory.mktemp("pool") / "index")
    rows = clustered(3000, 60, seed=1)
    searcher = Searcher.load(root, build(root, rows_of(rows), IVF))
    truth = Truth(text_queries(60, 4000).vectors["fused"])
    truth.add(0, pa.array([""] * len(rows)), rows.astype(np.float16).astype(np.float32))
    return searcher, truth


def some(truth: Truth, wanted: np.ndarray) -> tuning.Asked:
    """A draw of the queries, with their answers."""
    drawn = Truth(truth.queries[wanted])
    drawn.set_answers({name: answer[wanted] for name, answer in truth.answers().items()})
    return tuning.Asked(drawn, "a draw", 0.95, np.full(len(wanted), None, np.object_))


@pytest.mark.long
def test_the_stated_bound_holds_for_most_draws_of_the_queries(pool: tuple[Searcher, Truth]) -> None:
    """Of 300 at most 22, where 15 are meant to fail: the same queries that choose a point would flatter it."""
    searcher, truth = pool
    space, rng, true, failed = searcher.spaces["fused"], np.random.default_rng(9), {}, 0
    for _ in range(300):
        point = tuning.tune(space, some(truth, rng.choice(len(truth.queries), 500, replace=False))).chosen
        if (at := (point.nprobe, point.rerank)) not in true:
            found = space.candidates(truth.queries, *at)
            true[at] = float(truth.recall(found.rows, space.scores)[:, -1].mean())
        failed += true[at] < point.lower_bound
    assert failed <= 22


def test_one_half_of_the_queries_chooses_and_the_other_states(pool: tuple[Searcher, Truth]) -> None:
    searcher, truth = pool
    space, asked = searcher.spaces["fused"], some(truth, np.arange(400))
    chosen = tuning.tune(space, asked).chosen
    found = space.candidates(asked.truth.queries, chosen.nprobe, chosen.rerank)
    recalls = asked.truth.recall(found.rows, space.scores)[:, -1]
    assert chosen.recall == pytest.approx(recalls[1::2].mean(), abs=1e-5)
    assert chosen.recall != pytest.approx(recalls[::2].mean(), abs=1e-5)
    assert chosen.reaches(0.95) and chosen.chosen_by < recalls[::2].mean()


def test_queries_count_once_however_they_are_halved(pool: tuple[Searcher, Truth]) -> None:
    assert tuning.tune(pool[0].spaces["fused"], some(pool[1], np.arange(401))).n_queries == 401
    alone = tuning.tune(pool[0].spaces["fused"], some(pool[1], np.arange(1)))
    assert alone.n_queries == 1 and alone.chosen.lower_bound == alone.chosen.chosen_by
