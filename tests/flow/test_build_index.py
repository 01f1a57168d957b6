"""Table to index: a first generation, fresh shards for what came later, and nothing for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import faiss
import pytest
from tests.flow.lakes import MadeOnce, local_config, run

from shotlake.embed.load import load_encoder
from shotlake.errors import ConfigError, CorruptGeneration, IndexingError, NoIndex
from shotlake.flow.build_index import build_index
from shotlake.flow.generations import differences, publish_stored, published, roll_back, standing
from shotlake.flow.index_plan import PlannedIndex, plan_build
from shotlake.query.search import LakeSearch
from shotlake.world.archive import Truth


@pytest.fixture(scope="module")
def begun(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeOnce, Path]:
    """A lake of two videos with an index, and a third video."""
    root, truth = demo_archive
    *two, third = [root / video.path for video in truth.videos if not video.fault][:3]
    return MadeOnce.of(two, tmp_path_factory.mktemp("growing"), build=True), third


@pytest.fixture
def growing(begun: tuple[MadeOnce, Path], tmp_path: Path):
    """The folder that the lake was made of, a third video, the lake, and the report of its run."""
    made, third = begun
    folder, config = made.put_back(tmp_path / "lake")
    return folder, third, config, made.report


def test_new_rows_go_to_fresh_shards_and_earlier_ones_are_kept(growing) -> None:
    folder, third, config, first = growing
    shutil.copy2(third, folder / third.name)
    second = run(folder, config, build=True)
    assert second.generation != first.generation
    rows = published(config)
    assert [row["current"] for row in rows] == ["", "*"]
    assert rows[1]["shards"] == rows[0]["shards"] + 1
    assert rows[1]["rows"] == rows[0]["rows"] + second.ledger.cells["written"]


def test_an_update_says_its_fresh_rows_before_it_adds_them(growing) -> None:
    folder, third, config, first = growing
    shutil.copy2(third, folder / third.name)
    written = run(folder, config, build=False).ledger.cells["written"]
    told: list[PlannedIndex] = []
    manifest = build_index(config, action="update", tell=told.append)
    assert manifest.parent == first.generation
    (planned,) = told
    assert (planned.action, planned.fresh_rows, planned.plan.n_rows) == ("update", written, manifest.n_rows)
    assert planned.effort.clustering_s == 0 and planned.usd > 0
    assert planned.build_bytes < plan_build(config, rows=10 * manifest.n_rows).build_bytes
    assert build_index(config, action="update", tell=told.append) == manifest and len(told) == 1


def test_an_update_over_its_budget_leaves_the_current_generation(growing) -> None:
    folder, third, config, first = growing
    shutil.copy2(third, folder / third.name)
    run(folder, config, build=False)
    tight = config.model_copy(update={"index": config.index.model_copy(update={"max_disk_bytes": 1_000})})
    with pytest.raises(IndexingError, match=r"index\.max_disk_bytes allows 1\.0 kB"):
        build_index(tight, action="update")
    assert [row["generation"] for row in published(config)] == [first.generation]


def test_a_run_without_news_leaves_the_index(growing) -> None:
    folder, _, config, _ = growing
    assert run(folder, config, build=True).generation == ""
    assert build_index(config, action="update").generation == published(config)[-1]["generation"]


def test_rows_that_are_not_indexed_yet_are_found(growing) -> None:
    folder, third, config, _ = growing
    shutil.copy2(third, folder / third.name)
    report = run(folder, config, build=False)
    result = LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle", limit=50)
    assert result.unindexed_rows == report.ledger.cells["written"]
    assert str(folder / third.name) in {hit.video_uri for hit in result.hits}
    assert run(folder, config, build=True).generation == ""  # nothing was written, so nothing is built


def test_content_that_comes_back_is_found_again(growing, tmp_path: Path) -> None:
    folder, third, config, _ = growing
    victim = sorted(folder.iterdir())[0]
    original = tmp_path / "original"
    shutil.copy2(victim, original)
    for content in (third, original):
        shutil.copy2(content, victim)
        report = run(folder, config, build=True)
        assert report.ledger.videos["indexed"] == 1
        assert report.ledger.balanced
    result = LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle", limit=50)
    assert str(victim) in {hit.video_uri for hit in result.hits}


def test_roll_back_and_a_plain_faiss_reads_a_shard(growing) -> None:
    folder, third, config, first = growing
    shutil.copy2(third, folder / third.name)
    run(folder, config, build=True)
    roll_back(config, first.generation)
    assert LakeSearch.open(config.lake, load_encoder(config.embed), config).search("noise").generation == (
        first.generation
    )
    shard = next(Path(config.lake).glob(f"index/*/{first.generation}/fused/shards/*/ivf.faiss"))
    assert faiss.read_index(str(shard)).ntotal == first.ledger.cells["written"]


def test_a_query_file_that_is_not_there_is_named(growing, tmp_path: Path) -> None:
    config = local_config(tmp_path / "lake", f"index.query_file={tmp_path}/none.txt")
    with pytest.raises(ConfigError, match=r"index\.query_file"):
        build_index(config)


def test_a_stored_generation_is_published_on_demand_and_never_with_a_damaged_byte(growing) -> None:
    folder, third, config, first = growing
    shutil.copy2(third, folder / third.name)
    run(folder, config, build=False)
    stored = build_index(config, is_published=False)
    assert published(config)[-1]["generation"] == first.generation != stored.generation
    rows = next(Path(config.lake).glob(f"index/*/{stored.generation}/fused/shards/*/rows.f16"))
    whole = rows.read_bytes()
    rows.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(CorruptGeneration, match=r"rows\.f16"):
        publish_stored(config, stored.generation)
    rows.write_bytes(whole)
    assert publish_stored(config, stored.generation) == 2
    assert published(config)[-1]["generation"] == stored.generation
    with pytest.raises(NoIndex, match="there is no"):
        publish_stored(config, "00000099-nothing")
    assert roll_back(config) == first.generation


def test_status_says_what_to_do_and_an_update_does_it(growing) -> None:
    folder, third, config, first = growing
    found = standing(config)
    assert (found["generation"], found["advice"]["action"], found["unindexed_rows"]) == (first.generation, "keep", 0)
    recall = found["spaces"]["fused"]["recall_at_10"]["text"]
    assert recall["recall"] == 1.0 and recall["target"] == 0.95 and recall["queries"] >= 500
    shutil.copy2(third, folder / third.name)
    written = run(folder, config, build=False).ledger.cells["written"]
    found = standing(config)
    assert found["advice"]["action"] == "update" and found["unindexed_rows"] == written
    build_index(config, action="update")
    found = standing(config)
    assert (found["advice"]["action"], found["shards"]) == ("keep", 2)
    other = local_config(config.lake, "index.target_recall=0.97")
    assert standing(other)["advice"]["action"] == "retune"
    build_index(other, action="update")
    assert standing(other)["advice"]["action"] == "keep"
    assert standing(other)["spaces"]["fused"]["recall_at_10"]["text"]["target"] == 0.97


def test_shards_are_compacted_and_answers_stay(growing) -> None:
    folder, third, config, _ = growing
    for name in (third.name, f"again-{third.name}"):
        shutil.copy2(third, folder / name)
        run(folder, config, build=True)

    def answers() -> list[tuple]:
        found = LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle", limit=50)
        return [(hit.segment_ids, round(hit.score, 5)) for hit in found.hits]

    before, shards = answers(), standing(config)["shards"]
    compacted = build_index(config, action="compact")
    assert (len(compacted.shards), shards) == (2, 3), "the fresh ones are one"
    assert build_index(config, action="compact") == compacted, "there is nothing left to do"
    assert answers() == before
    shutil.copy2(sorted(folder.iterdir())[1], folder / third.name)  # other content: its earlier rows are retired
    run(folder, config, build=True)
    found = standing(config)
    assert found["advice"]["action"] == "keep" and found["retired_rows"] == 0, "a fifth of the rows were retired"
    assert found["rows"] == found["live_rows_now"]


def test_two_generations_are_compared_on_a_set_of_queries(growing, tmp_path: Path) -> None:
    folder, third, config, first = growing
    shutil.copy2(third, folder / third.name)
    second = run(folder, config, build=True).generation
    found = differences(config, first.generation, second)
    assert found["rows"]["second"] > found["rows"]["first"]
    fused = found["spaces"]["fused"]
    assert fused["lost"] == 0 and 0 < fused["overlap_at_10"] < 1, "better rows pushed some out, and none was lost"
    queries = tmp_path / "queries.txt"
    queries.write_text("a red circle\na blue square\n")
    asked = differences(config, first.generation, second, str(queries))
    assert asked["spaces"]["fused"]["n_queries"] == 2 and asked["queries"] == str(queries)
    assert differences(config, second, second, str(queries))["spaces"]["visual"]["same_best"] == 1.0
    with pytest.raises(NoIndex, match="no generation 'other'"):
        differences(config, "other", second)
