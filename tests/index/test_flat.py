"""A scan of 4-bit codes finds what an exact scan finds, once its candidates are scored exactly."""

from __future__ import annotations

import numpy as np
import pytest
from toy_vectors import clustered

from shotlake.index.flat import FlatCodes


@pytest.mark.parametrize(("n", "dim"), [(500, 8), (300, 100), (6000, 128)])
def test_the_best_rows_are_among_the_candidates(n, dim):
    vectors = clustered(n, dim, seed=3, n_clusters=200)
    queries = clustered(50, dim, seed=4, n_clusters=200)
    codes = FlatCodes(vectors)
    found = [codes.candidates(query, 200) for query in queries]
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert all(len(rows) == min(n, 200) and len(set(rows)) == len(rows) for rows in found)
    assert np.mean([np.isin(wanted, rows).mean() for wanted, rows in zip(best, found)]) >= 0.99
