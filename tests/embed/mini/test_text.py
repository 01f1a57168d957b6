"""Words to ids of their pieces."""

import numpy as np

from shotlake.embed.mini.text import Tokenizer, pieces

TOKENIZER = Tokenizer(["a", "circle", "red", "circling"], max_words=4)


def test_pieces_are_the_word_and_its_runs() -> None:
    assert pieces("red") == ["<red>", "<re", "red", "ed>", "<red", "red>"]
    assert len(pieces("circle")) == len(set(pieces("circle")))


def test_texts_pad_cut_and_leave_out() -> None:
    table, rows = TOKENIZER.ids(["A red Circle!", "red, dog", "a a a a a a", ""])
    assert rows.tolist() == [[1, 2, 3, 0], [2, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert not table[0].any() and (table[1:, 0] > 0).all() and table.max() <= TOKENIZER.n_pieces


def test_words_share_what_they_share() -> None:
    table, _ = TOKENIZER.ids(["circle circling red"])
    circle, circling, red = (set(row[row > 0].tolist()) for row in table[1:])
    assert len(circle & circling) >= 6 and not circle & red


def test_an_empty_list_has_one_column() -> None:
    assert TOKENIZER.ids([])[1].shape == (0, 1)


def test_a_word_is_read_the_same_beside_any_other() -> None:
    alone, beside = TOKENIZER.ids(["red"]), TOKENIZER.ids(["a circle", "red"])
    width = alone[0].shape[1]
    assert (alone[0][1] == np.trim_zeros(beside[0][3])[:width]).all()


def test_unknown_words_keep_their_order_and_some_are_read() -> None:
    assert TOKENIZER.unknown("The red dog, a CAT circels") == ["the", "dog", "cat", "circels"]
    assert TOKENIZER.is_read("circels") and TOKENIZER.is_read("red")
    assert not TOKENIZER.is_read("dog") and not TOKENIZER.is_read("zeppelin")
