"""Lists in which many rows stand far closer together than elsewhere: a camera that looks at one wall, a test card.

The codes of such rows are alike, so that the best of them would be found by chance. Their lists are few and full, and
all rows of one are scored where it is probed, or where its rows may be better than what was found. Rows that are equal
need none of this: whichever is found is as good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from shotlake.index.exact import ExactRows, Rows, Scores, joined, nothing
from shotlake.index.manifest import DenseList


class DenseLists:
    """The dense lists of a space, M of them."""

    def __init__(self, found: Sequence[DenseList], quantiser: faiss.Index) -> None:
        self.found = tuple(found)
        self._numbers = np.array([each.number for each in found], np.int64)
        self._radii = np.array([each.radius for each in found], np.float32)
        centroids = [quantiser.reconstruct(each.number) for each in found]
        self._centroids = np.array(centroids, np.float32).reshape(-1, quantiser.d)

    def __bool__(self) -> bool:
        return bool(self.found)

    def among(self, lists: Rows) -> NDArray[np.bool_]:
        """Which lists of any shape are dense."""
        return np.isin(lists, self._numbers)

    def better(
        self, queries: Scores, probed: Rows, best: tuple[Scores, Rows], asked: AskedLists
    ) -> tuple[Scores, Rows]:
        """What was found elsewhere, `best` [Q, k], with the rows of the dense lists that are better.

        `queries` [Q, d], `probed`: the lists [Q, L] that each meets. A query looks at its nearest dense list first, and
        only then at those that can still have better rows.
        """
        nearness = queries @ self._centroids.T
        first = nearness.argmax(axis=1)
        meets = np.stack([(probed == number).any(axis=1) for number in self._numbers], axis=1)
        for turn in range(2):
            wanted = meets | (nearness + self._radii >= best[0][:, -1:])
            wanted &= (np.arange(len(self._numbers)) == first[:, None]) == (turn == 0)
            for number in np.flatnonzero(wanted.any(axis=0)).tolist():
                asking = np.flatnonzero(wanted[:, number])
                found = asked.best(int(self._numbers[number]), asking)
                before = best[0][asking], best[1][asking]
                best[0][asking], best[1][asking] = joined(before, found, before[0].shape[1])
        return best


class AskedLists:
    """The best rows of lists for some queries [Q, D], every row of a list scored, once a query however often it asks.

    `rows_of(number)`: which rows of a list may be found.
    """

    def __init__(self, space: ExactRows, queries: Scores, k: int, rows_of: Callable[[int], Rows]) -> None:
        self._space, self._queries, self._k, self._rows_of = space, queries, k, rows_of
        self._found: dict[int, tuple[Scores, Rows]] = {}
        self._known: dict[int, NDArray[np.bool_]] = {}

    def best(self, number: int, asking: NDArray[np.int64]) -> tuple[Scores, Rows]:
        """The k best [A, k] in a list for those queries that ask."""
        if number not in self._found:
            self._found[number] = nothing(len(self._queries), self._k)
            self._known[number] = np.zeros(len(self._queries), np.bool_)
        scores, rows = self._found[number]
        new = asking[~self._known[number][asking]]
        if len(new):
            scores[new], rows[new] = self._space.exactly(self._queries[new], self._k, self._rows_of(number))
            self._known[number][new] = True
        return scores[asking], rows[asking]
