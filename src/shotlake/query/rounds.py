"""The moments of a query in one fixed order, found in rounds: each looks four times as far as the one before.

The first round looks so far that its moments fill the first page. Later ones look at what no earlier one has seen, so
every candidate is in exactly one moment, and none is given twice, however the order is cut into pages. A round begins
only if the budget of the query allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from shotlake.query.budget import Budget
from shotlake.query.moments import Candidate, Moment, merge_moments

GROWTH = 4

Find = Callable[[int], tuple[list[Candidate], bool]]  # the k best candidates, and whether there are no more
Choose = Callable[[Iterable[Sequence[Moment]]], Iterator[Moment]]


def first_round(find: Find, choose: Choose, start: int, wanted: int, drop: float, budget: Budget) -> int:
    """How many candidates, `start` or more, give `wanted` moments that are chosen, or are all that there are."""
    k = min(start, budget.candidates)
    while True:
        candidates, is_last = find(k)
        found = sum(1 for _ in islice(choose([merge_moments(candidates, drop)]), wanted))
        if is_last or found == wanted or not budget.allows(k * GROWTH):
            return k
        k *= GROWTH


def moments_in_rounds(find: Find, first: int, drop: float, budget: Budget) -> Iterator[list[Moment]]:
    """The new moments of each round, best first; the first one looks at `first` candidates."""
    seen: set[int] = set()
    k, is_last = first, False
    while not is_last and (k == first or budget.allows(k)):
        candidates, is_last = find(k)
        new = [candidate for candidate in candidates if candidate.row not in seen]
        yield merge_moments(new, drop)
        seen.update(candidate.row for candidate in new)
        k *= GROWTH
