"""Segments to ask for among the rows that an update adds: the recall of a generation is that of all of its rows.

New rows join the drawn queries where their ids are as large as those of the rows that were drawn before, so that they
stay a sample; and the queries of a collection that has too few, such as a camera that is new.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from shotlake.index.columns import RowColumns
from shotlake.index.exact import Rows, Scores
from shotlake.index.manifest import Tuning
from shotlake.index.rows import MOST_SEGMENT_QUERIES, SEGMENT_QUERIES, SegmentQueries
from shotlake.index.scan import SpaceVectors
from shotlake.index.strata import QUERIES
from shotlake.index.truth import KEPT, Truth

EXACT_ROWS = 2_000_000  # up to so many older rows all are compared with the new queries; of more, those that are found
MOST_QUERIES = 2 * MOST_SEGMENT_QUERIES  # with those of earlier updates: more would say little more


def with_fresh(truth: Truth, new: SegmentQueries, columns: RowColumns, older: SpaceVectors, deep: Tuning) -> Truth:
    """The truth of older rows, with queries from the `new` ones behind its own.

    `columns`: of the older rows. `deep`: how the older rows are searched, where they are too many to be compared.
    """
    ids, vectors = new.result()
    least = _least_drawn(truth, columns) if older.n_rows > SEGMENT_QUERIES else ""
    asked = Counter(columns.collections(truth.own_rows).tolist())
    names = new.names()
    drawn = np.array([name >= least for name in ids.to_pylist()], dtype=np.bool_)
    few = [name in names and asked[names[name]] < QUERIES for name in ids.to_pylist()]
    chosen = np.flatnonzero(drawn | np.array(few, dtype=np.bool_))[: max(0, MOST_QUERIES - len(truth.queries))]
    if not len(chosen):
        return truth
    added = Truth(vectors[chosen].astype(np.float32), ids.take(pa.array(chosen)), drawn[chosen])
    added.scores, added.rows = _among_older(added.queries, older, deep)
    return truth.followed_by(added)


def _least_drawn(truth: Truth, columns: RowColumns) -> str:
    """The smallest id of the drawn rows, from which on rows are drawn; "" where none is left, so that all are."""
    rows = truth.own_rows[truth.drawn & (truth.own_rows >= 0)]
    return str(min(columns.take(rows, ["segment_id"])["segment_id"].to_pylist(), default=""))


def _among_older(queries: Scores, older: SpaceVectors, deep: Tuning) -> tuple[Scores, Rows]:
    """The best KEPT of the older rows [Q, KEPT]."""
    if older.n_rows <= EXACT_ROWS:
        first = older.shards[0].first_row
        return older.exactly(queries, KEPT, older.live(np.arange(first, first + older.n_rows)))
    deepest = max(deep.curve, key=lambda point: (point.lower_bound, point.nprobe))
    return older.search(queries, KEPT, deepest.nprobe, deepest.rerank)
