"""Words to ids."""

from shotlake.embed.mini.text import Tokenizer

TOKENIZER = Tokenizer(["a", "circle", "red"], max_words=4)


def test_ids_pad_cut_and_leave_out() -> None:
    ids = TOKENIZER.ids(["A red Circle!", "red, dog", "a a a a a a", ""])
    assert ids.tolist() == [[1, 3, 2, 0], [3, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]


def test_an_empty_list_has_one_column() -> None:
    assert TOKENIZER.ids([]).shape == (0, 1)


def test_unknown_words_keep_their_order() -> None:
    assert TOKENIZER.unknown("The red dog, a CAT") == ["the", "dog", "cat"]
