"""Words of a query to ids; a word list is all there is to know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shotlake.world.captions import words


class Tokenizer:
    """Word to id by place in a fixed list; 0 pads, unknown words are told apart and left out."""

    def __init__(self, vocabulary: Sequence[str], max_words: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.max_words = max_words
        self._ids = {word: place for place, word in enumerate(self.vocabulary, start=1)}

    def ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """[len(texts), L] ids of the known words, cut at `max_words`; L is as long as the longest text needs."""
        rows = [[self._ids[word] for word in words(text) if word in self._ids][: self.max_words] for text in texts]
        table = np.zeros((len(rows), max((len(row) for row in rows), default=0) or 1), np.int64)
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        return table

    def unknown(self, text: str) -> list[str]:
        """Words of the text that are not in the list, in their order."""
        return [word for word in words(text) if word not in self._ids]
