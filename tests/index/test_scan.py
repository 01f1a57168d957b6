"""Exact scores of stored rows are those of float32 arithmetic, whatever the numbers, blocks and gaps."""

from __future__ import annotations

import faiss
import numpy as np

from shotlake.index.exact import BLOCK_ROWS, CACHED_ROWS, ShardVectors
from shotlake.index.scan import SpaceVectors
from shotlake.index.stored import widened


def test_every_finite_number_is_widened_to_itself() -> None:
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    numbers = numbers[np.isfinite(numbers)]
    np.testing.assert_array_equal(widened(numbers), numbers.astype(np.float32))
    assert (np.signbit(widened(numbers)) == np.signbit(numbers)).all()


def test_allowed_rows_are_scored_exactly_across_blocks_and_shards() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2 * BLOCK_ROWS + CACHED_ROWS // 2, 8)).astype(np.float16)
    rows[7] = 0  # no vector in this space
    queries = rng.standard_normal((3, 8)).astype(np.float32)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(8), 8, 1, faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:10].astype(np.float32))
    cut = BLOCK_ROWS + 100
    shards = [
        ShardVectors(faiss.clone_index(index), part, first) for part, first in ((rows[:cut], 0), (rows[cut:], cut))
    ]
    allowed = np.setdiff1d(np.arange(len(rows)), [3, cut + 5])
    found = SpaceVectors(index, shards).search(queries, 20, 1, 20, allowed)
    scores = queries @ rows.astype(np.float32).T
    scores[:, [3, 7, cut + 5]] = -np.inf
    wanted = np.argsort(-scores, axis=1)[:, :20]
    np.testing.assert_array_equal(found[1], wanted)
    np.testing.assert_allclose(found[0], np.take_along_axis(scores, wanted, 1), rtol=1e-5)
    alone = SpaceVectors(index, shards).search(queries, 2, 1, 2, np.array([7, 8]))
    assert alone[1].tolist() == [[8, -1]] * 3
