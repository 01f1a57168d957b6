"""Rows that no index holds yet: few are all scored, many are found by their codes, and both give exact scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from toy_lake import unit_vectors

from shotlake.index.columns import COLUMNS
from shotlake.query import fresh as fresh_module
from shotlake.query.fresh import FreshRows


def make(n: int) -> tuple[FreshRows, np.ndarray]:
    vectors = unit_vectors(n, seed=8)
    vectors[::7] = 0  # segments without a vector in this space
    columns = pa.table({f.name: pa.nulls(n, f.type) for f in COLUMNS}, schema=COLUMNS)
    return FreshRows(n, columns, {"fused": vectors}), vectors


@pytest.mark.parametrize("exact_rows", [0, 10_000])
def test_the_best_rows_come_first_with_exact_scores(exact_rows, monkeypatch):
    monkeypatch.setattr(fresh_module, "EXACT_ROWS", exact_rows)
    rows, vectors = make(5_000)
    queries, agree = unit_vectors(50, seed=9), []
    for query in queries:
        scores, found = rows.nearest(query, "fused", 10, None)
        np.testing.assert_allclose(scores, vectors[found] @ query, atol=1e-6)
        assert (np.diff(scores) <= 0).all() and (found % 7 != 0).all()
        agree.append(np.isin(np.argsort(-(vectors @ query))[:10], found).mean())
    assert np.mean(agree) >= (0.97 if exact_rows == 0 else 1)


def test_allowed_rows_and_rows_without_a_vector():
    rows, _ = make(5_000)
    query = unit_vectors(1, seed=9)[0]
    allowed = np.array([7, 8, 14, 20])
    scores, found = rows.nearest(query, "fused", 3, allowed)
    assert set(found[np.isfinite(scores)]) == {8, 20} and len(found) == 3
    np.testing.assert_array_equal(rows.scores(query, "fused", np.array([14, 20]))[0], -np.inf)
    assert rows.nearest(query, "fused", 3, np.array([], np.int64))[1].tolist() == []
    none, _ = make(0)
    assert len(none.nearest(query, "fused", 3, None)[1]) == 0
