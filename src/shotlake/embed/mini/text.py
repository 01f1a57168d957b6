"""Words of a query to ids of their pieces: a word is itself and its runs of three and four letters.

So a word that training never saw is still read where it is spelt like others ('circels', 'spinner'); it is counted as
unknown all the same, and one that shares too few pieces is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shotlake.world.captions import words

_LEAST_SHARED = 0.35  # of the pieces of an unknown word that is read


def pieces(word: str) -> list[str]:
    """The word between its ends, and its runs of three and four letters."""
    whole = f"<{word}>"
    runs = [whole[start : start + length] for length in (3, 4) for start in range(len(whole) - length + 1)]
    return list(dict.fromkeys([whole, *runs]))


class Tokenizer:
    """Texts to places in a table of words, each a set of piece ids; 0 pads. The word list is all there is to know."""

    def __init__(self, vocabulary: Sequence[str], max_words: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.max_words = max_words
        self._known = frozenset(vocabulary)

    @cached_property
    def _ids(self) -> dict[str, int]:
        every = dict.fromkeys(piece for word in self.vocabulary for piece in pieces(word))
        return {piece: number for number, piece in enumerate(every, start=1)}

    @property
    def n_pieces(self) -> int:
        """Ids go from 1 to this."""
        return len(self._ids)

    def ids(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[W, P] piece ids of the W - 1 different words after a row of zeros, and [Q, L] the words of each text.

        Unknown words that share too few pieces are left out; a text is cut at `max_words`.
        """
        places: dict[str, int] = {}
        rows = []
        for text in texts:
            read = [word for word in words(text) if self.is_read(word)][: self.max_words]
            rows.append([places.setdefault(word, len(places) + 1) for word in read])
        known = [[self._ids[piece] for piece in pieces(word) if piece in self._ids] for word in places]
        return _table([[], *known]), _table(rows)

    def unknown(self, text: str) -> list[str]:
        """Words of the text that are not in the list, in their order."""
        return [word for word in words(text) if word not in self._known]

    def is_read(self, word: str) -> bool:
        """True for known words and for those spelt much like them, the beginning too ('earnings' is no turning)."""
        if word in self._known:
            return True
        parts = pieces(word)
        begins_alike = len(parts) > 1 and parts[1] in self._ids
        return begins_alike and sum(part in self._ids for part in parts) >= _LEAST_SHARED * len(parts)


def _table(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    table = np.zeros((len(rows), max((len(row) for row in rows), default=0) or 1), np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table
