"""The moments of a query in one fixed order, found in rounds: each looks four times as far as the one before.

The first round looks at `query.candidates` rows, whatever the page. Later ones look at what no earlier moment holds, so
every segment is in one moment at the most, and none is given twice, however the order is cut into pages. A round begins
only if the budget of the query allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from shotlake.query.budget import Budget
from shotlake.query.find import Found
from shotlake.query.live import Rows, Vector
from shotlake.query.moments import Moment

GROWTH = 4

Find = Callable[[int], Found]
Grow = Callable[[Vector, Rows], Iterator[list[Moment]]]


def moments_in_rounds(find: Find, grow: Grow, first: int, budget: Budget) -> Iterator[list[Moment]]:
    """The moments, best first in each round, in lists of a few; the first round looks at `first` rows."""
    seen: list[Rows] = []
    k, is_last = min(first, budget.candidates), False
    while not is_last and (not seen or budget.allows(k)):
        scores, rows, is_last = find(k)
        new = ~np.isin(rows, np.concatenate([np.empty(0, np.int64), *seen]))
        seen.append(rows[new])
        for moments in grow(scores[new], rows[new]):
            seen += [moment.rows for moment in moments]
            yield moments
            if not budget.allows():
                return
        k *= GROWTH
