"""Rows that are assigned beforehand, as on a GPU, are encoded as those that the index assigns itself."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from toy_vectors import IVF, clustered

from shotlake.index import training
from shotlake.index.gpu import n_gpus
from shotlake.index.shard import add_rows, assigner, flat_centroids
from shotlake.index.sizing import plan_index
from shotlake.index.training import train_space, wide_quantiser


@pytest.mark.parametrize("hnsw_from", [1, 1 << 30])
def test_assigned_rows_have_the_codes_of_those_that_the_index_assigns(hnsw_from, monkeypatch) -> None:
    monkeypatch.setattr(training, "HNSW_FROM_LISTS", hnsw_from)
    rows, ids = clustered(3_000, 32, seed=1), np.arange(5, 3_005)
    written = []
    for assigned in (False, True):
        index = train_space(rows, plan_index(len(rows), 32, IVF))
        wide = wide_quantiser(index.quantizer)
        index.own_fields, index.quantizer = False, wide
        for block in np.array_split(np.arange(len(rows)), 4):
            add_rows(index, rows[block], ids[block], flat_centroids(index) if assigned else None)
        written.append(faiss.serialize_index(index).tobytes())
    assert written[0] == written[1]


def test_without_a_gpu_an_index_assigns_its_rows_itself() -> None:
    if n_gpus():
        pytest.skip("faiss sees a GPU")
    rows = clustered(3_000, 32, seed=1)
    assert assigner(train_space(rows, plan_index(len(rows), 32, IVF))) is None


@pytest.mark.gpu
def test_a_gpu_finds_the_lists_that_the_index_finds() -> None:
    if not n_gpus():
        pytest.skip("faiss sees no GPU")
    rows = clustered(3_000, 32, seed=1)
    index = train_space(rows, plan_index(len(rows), 32, IVF))
    found = assigner(index)
    assert found is not None
    assert (found.search(rows, 1)[1] == flat_centroids(index).search(rows, 1)[1]).mean() > 0.999
