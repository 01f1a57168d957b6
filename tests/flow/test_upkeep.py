"""What a lake needs beside runs, on painted video: nothing is lost, nothing is embedded twice, nothing stays behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from tests.flow.lakes import MadeOnce, local_config, run, segments

from shotlake.cli import main
from shotlake.embed.load import load_encoder
from shotlake.errors import SourceMissing, UsageError
from shotlake.flow import build_index as building
from shotlake.flow.build_index import build_index
from shotlake.flow.erasure import erase_videos
from shotlake.flow.generations import published, roll_back, standing
from shotlake.flow.upkeep import maintain_lake, relocate_archive
from shotlake.flow.verify import lake_balance
from shotlake.query.search import LakeSearch
from shotlake.table.lake import Lake
from shotlake.world.archive import Truth


@pytest.fixture(scope="module")
def two_done(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Two videos and their lake, with an index."""
    videos = [demo_archive[0] / video.path for video in demo_archive[1].videos if not video.fault][:2]
    return MadeOnce.of(videos, tmp_path_factory.mktemp("upkeep"), "table.rows_per_file=8", build=True)


@pytest.fixture
def small(two_done: MadeOnce, tmp_path: Path):
    """The folder, a copy of the lake, and the report of its run."""
    return *two_done.put_back(tmp_path / "lake"), two_done.report


def test_maintenance_joins_files_and_keeps_rows(small) -> None:
    _, config, _ = small
    before, files = segments(config), len(list(Path(config.lake).rglob("segments/**/*.parquet")))
    done = maintain_lake(config)
    assert done["files_joined"] > done["files_made"] > 0
    assert files > 1
    assert segments(config).equals(before)


def test_maintenance_leaves_generations_to_roll_back_to(small) -> None:
    _, config, first = small
    names = [first.generation, *(build_index(config).generation for _ in range(3))]
    assert [row["generation"] for row in published(config)] == names
    assert maintain_lake(config)["index_files_removed"] > 10
    assert [row["generation"] for row in published(config)] == names[-3:]
    assert maintain_lake(config)["index_files_removed"] == 0
    assert roll_back(config) == names[-2]
    hits = LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle").hits
    assert hits


def test_a_moved_archive_keeps_its_vectors(small, tmp_path: Path) -> None:
    folder, config, first = small
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    done = relocate_archive(str(folder), str(moved), config)
    assert done["moved"] == 2
    report = run(moved, config)
    assert (report.ledger.videos["unchanged"], report.ledger.videos["indexed"]) == (2, 0)
    uris = Lake.open(config.lake).read("segments", ["uri"])["uri"].to_pylist()
    assert sum(uri.startswith(str(moved)) for uri in uris) == first.ledger.cells["written"]


def test_an_erased_video_leaves_no_trace_and_does_not_come_back(small, capsys: pytest.CaptureFixture[str]) -> None:
    folder, config, first = small
    victim = sorted(folder.iterdir())[0]
    arguments = ["erase", "--uri", str(victim), "--reason", "request 17", "--lake", config.lake]
    assert main(arguments) == 0
    assert "traces" in capsys.readouterr().out
    assert str(victim) not in set(segments(config, "uri")["uri"].to_pylist())
    for file in Path(config.lake).glob("index/**/columns.arrow"):
        assert str(victim).encode() not in file.read_bytes()
    hits = LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle", limit=50).hits
    assert hits and str(victim) not in {hit.video_uri for hit in hits}
    report = run(folder, config)
    assert (report.ledger.videos["skipped"], report.ledger.videos["unchanged"]) == (1, 1)
    assert report.ledger.balanced
    assert len(segments(config)) < first.ledger.cells["written"]


def test_every_index_forgets_without_being_built_again(small) -> None:
    """Two spaces, an older generation, one that was never published, and a build that was killed."""
    folder, config, first = small
    short = local_config(config.lake, "embed.window_s=1", "embed.new_space=true")
    second = run(folder, short, build=True)
    stored = build_index(config, is_published=False)
    root = Path(config.lake, "index")
    key = next(root.glob(f"*/{first.generation}")).parent.name
    killed = root / key / stored.generation.replace("-", "-f") / "fused" / "shards" / "00000"
    shutil.copytree(root / key / stored.generation / "fused" / "shards" / "00000", killed)
    victim = sorted(folder.iterdir())[0]
    wanted = (pc.field("uri") == str(victim), pc.field("embed_key") == key)
    vectors = Lake.open(config.lake).read("segments", ["segment_id", "fused"], wanted[0] & wanted[1])
    epochs = {path: path.read_bytes() for path in root.glob("*/epochs/*/*/trained.faiss")}

    done = erase_videos(str(victim), None, "request 19", config)
    assert not done["traces"] and done["index_files"] > 20
    rows = [np.array(row, np.float16).tobytes() for row in vectors["fused"].to_pylist()]
    for path in (path for path in root.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert not any(word.encode() in data for word in (str(victim), *vectors["segment_id"].to_pylist())), path
        assert not any(row in data for row in rows), path
    assert not [path for path in killed.rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in root.glob("*/epochs/*/*/trained.faiss")}
    assert kept.items() <= epochs.items() and len(kept) == 4, "nothing was trained again"
    for space, before in ((config, first.generation), (short, second.generation)):
        found = standing(space)
        assert found["parent"] == before and found["advice"]["action"] in ("update", "keep")
        hits = LakeSearch.open(space.lake, load_encoder(space.embed), space).search("a red circle", limit=50).hits
        assert hits and str(victim) not in {hit.video_uri for hit in hits}


def test_a_space_of_which_nothing_was_published_yet_forgets_its_drafts(small) -> None:
    folder, config, first = small
    short = local_config(config.lake, "embed.window_s=1", "embed.new_space=true")
    run(folder, short)
    draft = build_index(short, is_published=False)
    victim = sorted(folder.iterdir())[0]
    stored = Path(config.lake, "index", draft.embed_key)
    assert any(str(victim).encode() in path.read_bytes() for path in stored.rglob("columns.arrow"))
    assert not erase_videos(str(victim), None, "request 22", config)["traces"]
    assert not [path for path in stored.rglob("*") if path.is_file()]
    assert standing(config)["parent"] == first.generation


@pytest.mark.parametrize("action", ["build", "update"])
def test_what_is_erased_while_an_index_is_made_is_not_in_it(small, monkeypatch: pytest.MonkeyPatch, action) -> None:
    folder, config, _ = small
    victim, other = sorted(folder.iterdir())
    shutil.copy2(other, folder / "new.mp4")
    run(folder, config)
    real = building._step

    def slow(*arguments):
        made = real(*arguments)
        if str(victim) in set(segments(config, "uri")["uri"].to_pylist()):
            erase_videos(str(victim), None, "request 21", config)
        return made

    monkeypatch.setattr(building, "_step", slow)
    made = build_index(config, action=action)
    found = standing(config)
    assert found["generation"] == made.generation and found["rows"] == found["live_rows_now"] > 0
    for file in Path(config.lake).glob("index/**/*"):
        assert not file.is_file() or str(victim).encode() not in file.read_bytes(), file


def test_an_index_that_cannot_be_measured_any_more_is_built_again(small, demo_archive: tuple[Path, Truth]) -> None:
    folder, config, first = small
    root, truth = demo_archive
    more = folder / "more"
    more.mkdir()
    for video in [video for video in truth.videos if not video.fault][2:5]:
        shutil.copy2(root / video.path, more / Path(video.path).name)
    n_queries = standing(config)["spaces"]["fused"]["recall_at_10"]["text"]["queries"]
    strict = local_config(config.lake, f"index.min_queries={n_queries}")
    run(folder, strict)
    before = build_index(strict)
    assert not erase_videos(None, str(more), "request 20", strict)["traces"]
    after = standing(strict)
    assert after["parent"] == before.generation and after["rows"] < before.n_rows and after["retired_rows"] == 0
    assert after["spaces"]["fused"]["recall_at_10"]["text"]["queries"] == n_queries
    assert after["spaces"]["fused"]["vectors"] == after["live_rows_now"]
    epochs = {path.parents[1].name for path in Path(config.lake).glob("index/*/epochs/*/*/trained.faiss")}
    assert epochs == {first.generation, after["generation"]}, "it was trained again; the first one held none of them"


def test_the_last_video_takes_the_index_with_it(small) -> None:
    folder, config, _ = small
    done = erase_videos(None, str(folder), "request 18", config)
    assert done["n_videos"] == 2 and not done["traces"]
    assert not [path for path in Path(config.lake).glob("index/**/*") if path.is_file()]
    assert len(segments(config)) == 0


def test_what_cannot_be_meant_is_refused(small, tmp_path: Path) -> None:
    folder, config, _ = small
    with pytest.raises(UsageError, match="--uri or --prefix"):
        erase_videos(None, None, "r", config)
    with pytest.raises(SourceMissing, match="knows no video"):
        erase_videos(str(tmp_path / "other.mp4"), None, "r", config)
    with pytest.raises(SourceMissing, match="knows nothing of"):
        relocate_archive(str(tmp_path), str(folder), config)


def test_the_balance_holds_after_changes_maintenance_and_content_that_came_back(small, tmp_path: Path) -> None:
    folder, config, _ = small
    one, other = sorted(folder.iterdir())
    original = tmp_path / "original"
    shutil.copy2(one, original)
    shutil.copyfile(other, one)
    assert run(folder, config).ledger.videos["indexed"] == 1
    assert lake_balance(config.lake)["balanced"]
    maintain_lake(config)
    assert lake_balance(config.lake)["balanced"], "after retired rows were removed"
    shutil.copy2(original, one)
    assert run(folder, config).ledger.videos["indexed"] == 1
    assert lake_balance(config.lake)["balanced"], "after the first content came back"
