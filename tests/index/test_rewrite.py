"""Generations made of others: erased rows are in no file, shards are joined, answers and the measured recall stay."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_vectors import EXACT, FINGERPRINT, IVF, KEY, build, clustered, rows_of, update

from shotlake import storage
from shotlake.errors import IndexingError, NoQueries
from shotlake.index.build import GenerationTarget
from shotlake.index.depth import Depth
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current, publish
from shotlake.index.rewrite import Join, as_it_is, compacted, rewrite_generation, without_gone
from shotlake.index.searcher import Searcher
from shotlake.index.truth import Truth
from shotlake.records import stable_id

DIM = 32
TARGET = GenerationTarget("", KEY, FINGERPRINT, "/lake/tables/segments", 2)
QUERIES = clustered(60, DIM, seed=5)


def video(number: int) -> str:
    return stable_id("video", number)


@pytest.fixture(scope="module", params=["pq", "rabitq", "pqfs", "exact"])
def grown(request, tmp_path_factory):
    """(root, vectors, generation): two shards of a thousand, then three of a hundred, and two videos retired."""
    root = str(tmp_path_factory.mktemp(request.param) / "index")
    config = EXACT if request.param == "exact" else IVF.model_copy(update={"codec": request.param})
    config = config.model_copy(update={"rows_per_shard": 1000})
    vectors = clustered(2300, DIM, seed=21)
    manifest = build(root, rows_of(vectors[:2000]), config)
    for number in range(3):
        first = 2000 + 100 * number
        retired = [video(3), video(150)] if number == 2 else []
        manifest = update(root, manifest, vectors[first : first + 100], retired, 2, config)
    publish(root, manifest)
    return root, vectors, manifest


def rewritten(grown, plan, erased=(), config=IVF) -> Manifest:
    root, _, manifest = grown
    return rewrite_generation(manifest, replace(TARGET, index_root=root), plan, config, erased)


def answers(root: str, manifest: Manifest) -> list[list[tuple[str, float]]]:
    """Ids and scores of the best of every row, all lists probed."""
    searcher = Searcher.load(root, manifest)
    scores, rows = searcher.search_vectors(QUERIES, "fused", 20, Depth(recall=1.0))
    names = [searcher.columns(line, ["segment_id"])["segment_id"].to_pylist() for line in rows]
    return [list(zip(ids, line.round(5).tolist())) for ids, line in zip(names, scores)]


def exact(vectors: np.ndarray, live: np.ndarray, manifest: Manifest, root: str, space="fused") -> float:
    """Recall@10 of the tuned point, of the rows that are live, by their ids."""
    searcher = Searcher.load(root, manifest)
    half = vectors.astype(np.float16).astype(np.float32)
    truth = np.sort(QUERIES @ half[live].T, axis=1)[:, ::-1][:, 9:10]
    scores, rows = searcher.search_vectors(QUERIES, space, 10)
    ids = searcher.columns(rows.ravel(), ["segment_id"])["segment_id"].to_pylist()
    number = {stable_id(int(k)): k for k in range(len(vectors))}
    found = np.array([number[i] for i in ids]).reshape(rows.shape)
    np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", half[found], QUERIES), atol=1e-6)
    assert np.isin(found, live).all()
    return float((scores >= truth - 1e-6).mean())


def live_rows(n: int, *gone: int) -> np.ndarray:
    return np.array([k for k in range(n) if k // 10 not in gone])


def test_erased_rows_are_in_no_file_and_the_others_answer_as_before(grown):
    root, vectors, before = grown
    after = rewritten(grown, without_gone, [video(7), video(215)])
    assert after.n_rows == 2300 - 40 and (after.retired_rows, after.table_rows) == (0, 2260)
    publish(root, after)
    assert current(root, KEY) == after and after.table_version == before.table_version
    stays = [s.path for s in after.spaces["fused"].shards if s in before.spaces["fused"].shards]
    assert stays == [before.spaces["fused"].shards[k].path for k in (2, 4)], "shards without erased rows stay"
    assert [shard.first_row for shard in after.shards] == [0, 980, 1970, 2070, 2160]
    half = vectors.astype(np.float16)
    uri, ids = b"/archive/00007.mp4", [stable_id(k).encode() for k in range(70, 80)]
    for file in after.files:
        data = Path(root, KEY, file.path).read_bytes()
        assert uri not in data and not any(i in data for i in ids)
        assert not any(row.tobytes() in data for row in (*half[70:80], *half[30:40])), file.path
        assert not any(row.astype(np.float32).tobytes() in data for row in half[70:80]), file.path
    assert exact(vectors, live_rows(2300, 3, 150, 7, 215), after, root) >= 0.85


def test_codes_are_those_of_before(grown):
    root, _, before = grown
    after = rewritten(grown, without_gone)
    old, new = (Searcher.load(root, m) for m in (before, after))
    gone = old.tombstones
    for space in ("fused", "visual"):
        q = QUERIES if space == "fused" else np.ascontiguousarray(QUERIES[:, ::-1])
        (_, s1, r1), (_, s2, r2) = (s.spaces[space].candidates(q, 4, 50) for s in (old, new))
        np.testing.assert_allclose(s1, s2, atol=1e-5)
        same = np.where(np.diff(s1, append=-np.inf, axis=1) < -1e-4, r1 - np.searchsorted(gone, r1), -1)
        shared = (same >= 0) & (np.diff(s1, prepend=np.inf, axis=1) < -1e-4)
        assert shared.mean() > 0.5 and (same == r2)[shared].all()


def test_truth_and_tombstones_move_with_the_rows(grown):
    root = grown[0]
    after = rewritten(grown, lambda m, g: [Join(0, 1, False), *(Join(k, k + 1, True) for k in range(1, 5))])
    searcher = Searcher.load(root, after)
    assert searcher.tombstones.tolist() == list(range(1490, 1500)) and after.retired_rows == 10
    hidden = searcher.columns(searcher.tombstones, ["video_id"])["video_id"].to_pylist()
    assert set(hidden) == {video(150)}
    for kind in ("text", "segment"):
        truth = Truth.load(searcher.files[after.spaces["fused"].truths[kind]])
        kept = truth.rows >= 0
        vectors_of = searcher.vectors("fused", truth.rows[kept])
        owner = np.nonzero(kept)[0]
        scores = np.einsum("nd,nd->n", vectors_of, truth.queries[owner])
        np.testing.assert_allclose(scores, truth.scores[kept], atol=1e-4)
    assert after.spaces["fused"].first_shards == 2


def test_compaction_joins_small_shards_and_keeps_answers(grown):
    root, vectors, before = grown
    after = rewritten(grown, compacted(1000))
    assert [shard.n_rows for shard in after.shards] == [1000, 1000, 300], "those of the epoch stay, late ones are one"
    assert after.shards[:2] == before.shards[:2] and after.shards[2].name == "00002"
    assert after.spaces["fused"].first_shards == 2 and after.retired_rows == 20
    assert after.shards[2].recorded_from == before.shards[2].recorded_from
    assert after.shards[2].recorded_to == before.shards[4].recorded_to
    publish(root, after)
    assert [dict(line) for line in answers(root, after)] == [dict(line) for line in answers(root, before)]
    assert exact(vectors, live_rows(2300, 3, 150), after, root) >= 0.85
    entry = after.spaces["fused"].shards[2]
    assert entry.imbalance > 0 and entry.n_vectors == 300


def test_many_gone_rows_are_dropped_when_shards_are_compacted(grown):
    after = rewritten(grown, compacted(1000), [video(k) for k in range(25)])
    assert [shard.n_rows for shard in after.shards] == [750, 1000, 300] and after.retired_rows == 10


def test_an_epoch_whose_first_rows_are_all_gone_is_compacted(grown):
    """Its first shards leave nothing to join with."""
    root, vectors, _ = grown
    after = rewritten(grown, compacted(1000), [video(k) for k in range(100)])
    assert [shard.n_rows for shard in after.shards] == [1000, 300] and after.spaces["fused"].first_shards == 1
    assert exact(vectors, live_rows(2300, *range(100), 150), after, root) >= 0.85
    with pytest.raises(NoQueries, match="no query is left"):
        rewritten(grown, compacted(1000), [video(k) for k in range(200)])


def test_other_targets_are_tuned_without_a_file_of_rows_being_written(grown):
    _, _, before = grown
    asked = IVF.model_copy(update={"target_recall": 0.97})
    after = rewritten(grown, as_it_is, config=asked)
    tuning = after.spaces["fused"].tuning["text"]
    assert tuning.target == 0.97 and tuning.chosen.lower_bound >= 0.97
    assert after.shards == before.shards and after.retired_rows == before.retired_rows
    new = {file.path for file in after.files} - {file.path for file in before.files}
    assert {path.split("/")[-1] for path in new} == {"truth-text.npz", "truth-segment.npz", "tombstones.i64"}


def test_a_generation_of_which_nothing_is_left_is_refused(grown):
    with pytest.raises(IndexingError, match="no row of generation"):
        rewritten(grown, without_gone, [video(k) for k in range(230)])


def test_a_rewrite_that_was_killed_is_taken_up(grown, monkeypatch):
    root = grown[0]
    real, stored = storage.upload, []

    def dying(path, uri):
        if len(stored) == 9:  # eight files a shard
            raise OSError("no space left on device")
        stored.append(uri)
        real(path, uri)

    erased, now = [video(20), video(120)], current(root, KEY)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "upload", dying)
        with pytest.raises(OSError, match="no space"):
            rewritten(grown, without_gone, erased)
    assert current(root, KEY) == now and len(stored) == 9
    after = rewritten(grown, without_gone, erased)
    first = after.spaces["fused"].shards[0].path
    assert any(uri.endswith(f"{first}/rows.f16") for uri in stored), "the first shard is that of the killed one"
    publish(root, after)


def test_a_rewrite_needs_room_for_one_shard_and_not_for_the_generation(grown, monkeypatch):
    _, _, before = grown
    usage = shutil.disk_usage("/")

    def free_for(n_rows):
        needed = replace(before.plan, n_rows=n_rows, n_shards=1).scratch_bytes(2)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))

    free_for(1000)
    rewritten(grown, without_gone, [video(40), video(140)])
    free_for(900)
    with pytest.raises(IndexingError, match="set TMPDIR"):
        rewritten(grown, without_gone, [video(40), video(140)])


@pytest.mark.parametrize(
    ("sizes", "first", "gone", "wanted"),
    [
        ([1000], 1, 0, [(0, 1, True)]),
        ([300, 300, 300, 300], 4, 0, [(0, 3, False), (3, 4, True)]),
        ([1000, 200, 200], 1, 0, [(0, 1, True), (1, 3, False)]),
        ([200, 200, 200], 1, 0, [(0, 1, True), (1, 3, False)]),
        ([1000, 200, 900, 200, 200], 1, 0, [(0, 1, True), (1, 2, True), (2, 3, True), (3, 5, False)]),
        ([1000, 1000], 1, 300, [(0, 1, False), (1, 2, True)]),
        ([1000, 1000], 1, 100, [(0, 1, True), (1, 2, True)]),
    ],
)
def test_which_shards_are_joined(grown, sizes, first, gone, wanted):
    _, _, manifest = grown
    shard, entry = manifest.shards[0], manifest.spaces["fused"]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    made = manifest.model_copy(
        update={
            "shards": tuple(shard.model_copy(update={"first_row": int(s), "n_rows": n}) for s, n in zip(starts, sizes)),
            "spaces": {"fused": entry.model_copy(update={"first_shards": first})},
        }
    )
    assert compacted(1000)(made, np.arange(gone)) == [Join(*join) for join in wanted]
