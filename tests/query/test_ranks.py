"""Lists joined by rank: arithmetic by hand, and on a lake whose vectors are known."""

from __future__ import annotations

import numpy as np
import pytest
from toy_lake import CONFIG, WORLD, ToyEncoder, index_lake, make_lake

from shotlake.errors import QueryError
from shotlake.query.ranks import join_ranks
from shotlake.query.search import LakeSearch
from shotlake.records import QueryVectors, stable_id


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_first_in_all_lists_scores_one() -> None:
    scores, found = join_ranks([rows(7, 3, 9), rows(7, 9, 3)], 3)
    assert list(found) == [7, 3, 9]  # 3 and 9 are alike: the smaller number first
    np.testing.assert_allclose(scores, [1, (61 / 62 + 61 / 63) / 2, (61 / 62 + 61 / 63) / 2], rtol=1e-6)


def test_a_row_of_one_list_counts_half() -> None:
    scores, found = join_ranks([rows(1, 2), rows(3, 2)], 2)
    assert list(found) == [2, 1]
    np.testing.assert_allclose(scores, [61 / 62, 0.5], rtol=1e-6)


def test_empty_lists() -> None:
    assert [len(part) for part in join_ranks([rows(), rows()], 5)] == [0, 0]
    assert list(join_ranks([rows(4), rows()], 5)[1]) == [4]


class TwoMindedEncoder(ToyEncoder):
    """What is asked is one segment in the fused space and another one in the visual space."""

    def embed_text(self, texts: list[str]) -> QueryVectors:
        numbers = [[int(word) for word in text.split() if word.isdigit()] for text in texts]
        fused = np.stack([WORLD[named[0]] for named in numbers])
        visual = np.stack([WORLD[named[-1]][::-1] for named in numbers])
        return {"fused": fused, "visual": np.ascontiguousarray(visual)}


def test_both_lists_are_heard(tmp_path) -> None:
    lake = make_lake(tmp_path)
    index_lake(lake)
    config = CONFIG.model_copy(
        update={"query": CONFIG.query.model_copy(update={"rank_spaces": ("fused", "visual"), "merge_drop": 0})}
    )
    joined = LakeSearch.open(lake.root, TwoMindedEncoder(), config, tmp_path / "cache")
    # a row that both lists have in their middle comes before one that is first in one of them only
    found = {i for hit in joined.search("segment 17 or 102", limit=20).hits for i in hit.segment_ids}
    assert {stable_id(17), stable_id(102)} <= found
    both = joined.search("segment 55", limit=2).hits[0]
    assert both.segment_ids == (stable_id(55),) and both.score == 1
    plain = LakeSearch.open(lake.root, TwoMindedEncoder(), CONFIG, tmp_path / "cache")
    assert plain.search("segment 17 or 102", limit=1).hits[0].segment_ids == (stable_id(17),)


def test_a_space_that_is_not_indexed_is_named(tmp_path) -> None:
    lake = make_lake(tmp_path)
    index_lake(lake)
    config = CONFIG.model_copy(update={"query": CONFIG.query.model_copy(update={"rank_spaces": ("visual", "audio")})})
    with pytest.raises(QueryError, match="the space 'audio'; it can in fused, visual"):
        LakeSearch.open(lake.root, ToyEncoder(), config, tmp_path / "cache").search("segment 1")
