"""What a lake needs beside runs, on painted video: nothing is lost, nothing is embedded twice, nothing stays behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.flow.lakes import local_config, run, segments

from shotlake.cli import main
from shotlake.embed.load import load_encoder
from shotlake.errors import SourceMissing, UsageError
from shotlake.flow.upkeep import erase_videos, maintain_lake, relocate_archive
from shotlake.flow.verify import lake_balance
from shotlake.query.search import LakeSearch
from shotlake.table.lake import Lake
from shotlake.world.archive import Truth


@pytest.fixture
def small(demo_archive: tuple[Path, Truth], tmp_path: Path):
    """A folder of two videos and its lake."""
    root, truth = demo_archive
    folder = tmp_path / "videos"
    folder.mkdir()
    for video in [video for video in truth.videos if not video.fault][:2]:
        shutil.copy2(root / video.path, folder / Path(video.path).name)
    config = local_config(tmp_path / "lake", "table.rows_per_file=8")
    return folder, config, run(folder, config, build=True)


def test_maintenance_joins_files_and_keeps_rows(small) -> None:
    _, config, _ = small
    before, files = segments(config), len(list(Path(config.lake).rglob("segments/**/*.parquet")))
    done = maintain_lake(config)
    assert done["files_joined"] > done["files_made"] > 0
    assert files > 1
    assert segments(config).equals(before)


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
