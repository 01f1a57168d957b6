"""Real lakes are damaged, repaired and filled again: they end as the lake that nobody touched, and every sum holds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.flow.lakes import assert_same_lake, local_config, run, segments

from shotlake.cli import main
from shotlake.config import Config
from shotlake.embed.load import load_encoder
from shotlake.errors import CorruptGeneration, NotFound, ShotlakeError
from shotlake.flow.build_index import build_index
from shotlake.flow.erasure import erase_videos
from shotlake.flow.generations import standing
from shotlake.flow.index_source import index_root
from shotlake.flow.repair import look_at_pointers, repair_lake
from shotlake.flow.upkeep import maintain_lake
from shotlake.flow.verify import lake_balance
from shotlake.query.search import LakeSearch
from shotlake.table.lake import Lake
from shotlake.table.readers import erased_videos
from shotlake.table.rewrite import data_files, read_rows, replace, write_rows
from shotlake.world.archive import Truth

PIECES = ("table.rows_per_file=8", "table.commit_units=1", "catalog.block_s=1", "catalog.unit_s=8")


@pytest.fixture(scope="module")
def archive(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two whole videos and the truncated one."""
    root, truth = demo_archive
    folder = tmp_path_factory.mktemp("repair") / "videos"
    folder.mkdir()
    chosen = [video for video in truth.videos if not video.fault][:2]
    chosen += [video for video in truth.videos if video.fault == "truncated"][:1]
    for video in chosen:
        shutil.copy2(root / video.path, folder / Path(video.path).name)
    return folder


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Its lake, with a published generation. Tests only read it."""
    config = local_config(tmp_path_factory.mktemp("undisturbed") / "lake", *PIECES)
    run(archive, config, build=True)
    return config


@pytest.fixture
def lake(undisturbed: Config, tmp_path: Path) -> Config:
    """A copy, which the test may damage."""
    shutil.copytree(undisturbed.lake, tmp_path / "lake")
    return local_config(tmp_path / "lake", *PIECES)


def kinds(config: Config) -> set[tuple[str, str]]:
    return {(found["kind"], found["table"]) for found in repair_lake(config)["findings"]}


def mend(config: Config) -> None:
    done = repair_lake(config, apply=True)
    assert done["findings"] and done["left"] == 0, done
    assert repair_lake(config)["findings"] == []


def assert_filled_again(config: Config, archive: Path, undisturbed: Config) -> None:
    """One backfill, and it is as if nothing had happened; then all that works on a lake works."""
    books = run(archive, config, build=True).ledger
    assert books.balanced
    assert_same_lake(config, undisturbed)
    assert lake_balance(config.lake)["balanced"]
    assert main(["verify", "--balance", "--lake", config.lake]) == 0
    videos = run(archive, config).ledger.videos
    assert (videos["unchanged"], videos["listed"]) == (3, 3)
    hits = LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle", limit=50).hits
    found = [segment for hit in hits for segment in hit.segment_ids]
    assert found and len(set(found)) == len(found)
    assert standing(config)["live_rows_now"] == len(segments(config))
    maintain_lake(config)
    assert_same_lake(config, undisturbed)
    assert repair_lake(config)["findings"] == []


def data_paths(config: Config, table: str) -> list[Path]:
    lake = Lake.open(config.lake)
    return [Path(lake.uri(table), file.path) for file in data_files(lake, table)]


@pytest.mark.parametrize("tables", ["segments", "units", "videos failures runs costs pooled"])
def test_lost_files_of_tables(tables: str, lake: Config, archive: Path, undisturbed: Config) -> None:
    for table in tables.split():
        paths = data_paths(lake, table)
        for path in paths[: max(1, len(paths) // 2)]:
            path.unlink()
    if tables == "segments":
        for attempt in (lambda: run(archive, lake), lambda: maintain_lake(lake), lambda: build_index(lake)):
            with pytest.raises(ShotlakeError):
                attempt()
                lake_balance(lake.lake)
    assert {("broken_file", table) for table in tables.split()} <= kinds(lake)
    mend(lake)
    assert_filled_again(lake, archive, undisturbed)


def test_every_file_of_every_table_is_lost(lake: Config, archive: Path, undisturbed: Config) -> None:
    for path in Path(lake.lake, "tables").glob("*/**/*.parquet"):
        if "_delta_log" not in path.parts:
            path.unlink()
    mend(lake)
    assert len(segments(lake)) == 0
    shutil.rmtree(Path(lake.lake, "index"))
    assert_filled_again(lake, archive, undisturbed)


def test_what_an_object_held_before_is_still_known_after_videos_were_lost(lake: Config, archive: Path, tmp_path: Path):
    moved = tmp_path / "videos"
    shutil.copytree(archive, moved)
    config = local_config(tmp_path / "other", *PIECES)
    run(moved, config)
    for path in data_paths(config, "videos"):
        path.unlink()
    mend(config)
    first, second, _ = sorted(moved.iterdir())
    shutil.copyfile(first, second)  # other content under the name that `videos` had forgotten
    run(moved, config)
    from shotlake.table.readers import live_segments

    key = segments(config, "embed_key")["embed_key"][0].as_py()
    live = [row for batch in live_segments(Lake.open(config.lake), key, ["uri", "cell"]) for row in batch.to_pylist()]
    cells = [row["cell"] for row in live if row["uri"] == str(second)]
    assert len(set(cells)) == len(cells) > 0


def test_units_are_lost_and_rows_are_doubled(lake: Config, archive: Path, undisturbed: Config) -> None:
    """The backfill of a lake without some units embeds them twice: 20 rows, 10 ids."""
    handle = Lake.open(lake.lake)
    gone, new = data_files(handle, "units"), []
    for file in gone[2:]:
        new.append(write_rows(handle, "units", read_rows(handle, "units", file), file.partition))
    replace(handle, "units", gone, new, data_change=True)
    run(archive, lake)
    assert len(segments(lake)) > len(segments(undisturbed))
    assert not lake_balance(lake.lake)["balanced"]
    mend(lake)
    assert_filled_again(lake, archive, undisturbed)


def test_an_erased_video_stays_erased_when_retired_is_lost(lake: Config, archive: Path) -> None:
    victim = sorted(archive.iterdir())[0]
    erase_videos(str(victim), None, "request", lake)
    gone = erased_videos(Lake.open(lake.lake)).to_pylist()
    for path in data_paths(lake, "retired"):
        path.unlink()
    (finding,) = repair_lake(lake)["findings"]
    assert "NOT KNOWN" in finding["action"]
    mend(lake)
    assert erased_videos(Lake.open(lake.lake)).to_pylist() == gone
    assert run(archive, lake).ledger.videos["skipped"] == 1
    assert lake_balance(lake.lake)["balanced"]


def test_what_an_erasure_left_is_said(lake: Config, archive: Path) -> None:
    victim = sorted(archive.iterdir())[0]
    kept = {path: path.read_bytes() for path in data_paths(lake, "units")}
    columns = {path: path.read_bytes() for path in Path(lake.lake, "index").rglob("columns.arrow")}
    erase_videos(str(victim), None, "request", lake)
    assert repair_lake(lake)["findings"] == []
    for path, data in (kept | columns).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert kinds(lake) == {("half_erased", "units"), ("half_erased", "index")}
    assert repair_lake(lake, apply=True)["left"] == 2


@pytest.fixture
def generations(lake: Config) -> tuple[Config, str, str, str]:
    """The names of three generations; the last is current."""
    first = standing(lake)["generation"]
    return (lake, first, *(build_index(lake).generation for _ in range(2)))


def folder(config: Config) -> tuple[str, str]:
    root = index_root(Lake.open(config.lake))
    (key,) = {path.parent.parent.name for path in Path(root).glob("*/CURRENT/*.json")}
    return root, key


@pytest.mark.parametrize("damage", ["a file", "a file cut", "no manifest", "another manifest", "pointer", "empty"])
def test_a_current_generation_that_is_not_whole_gives_way_to_the_one_before(generations, damage: str) -> None:
    config, _, before, last = generations
    root, key = folder(config)
    victim, manifest = next(Path(root, key, last).rglob("rows.f16")), Path(root, key, last, "manifest.json")
    pointer = Path(root, key, "CURRENT", "3.json")
    {
        "a file": victim.unlink,
        "a file cut": lambda: victim.write_bytes(victim.read_bytes()[:-1]),
        "no manifest": manifest.unlink,
        "another manifest": lambda: manifest.write_text(manifest.read_text() + " "),
        "pointer": lambda: pointer.write_text(pointer.read_text().replace(last, before)),
        "empty": lambda: pointer.write_text(""),
    }[damage]()
    with pytest.raises((CorruptGeneration, NotFound)):
        LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle")
    assert kinds(config) == {("broken_generation", f"index/{key}")}
    mend(config)
    assert standing(config)["generation"] == before
    assert LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle").hits
    assert build_index(config, action="update").generation
    maintain_lake(config)


def test_without_a_whole_generation_the_pointers_go(generations) -> None:
    config, *_ = generations
    root, key = folder(config)
    for path in Path(root, key).rglob("rows.f16"):
        path.unlink()
    assert "run shotlake index build" in repair_lake(config)["findings"][0]["action"]
    mend(config)
    assert not look_at_pointers(root, key).whole
    build_index(config)
    assert LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle").hits


def test_an_older_generation_that_is_not_whole_is_forgotten(generations) -> None:
    config, first, _, last = generations
    root, key = folder(config)
    Path(root, key, first, "manifest.json").unlink()
    Path(root, "DEFAULT").mkdir()
    Path(root, "DEFAULT", "1.json").write_text("{")
    assert kinds(config) == {("broken_generation", f"index/{key}"), ("broken_generation", "index")}
    mend(config)
    assert standing(config)["generation"] == last
    maintain_lake(config)


KILLED = """
import os, signal, sys
from shotlake import storage
from shotlake.flow import repair as repairing
from tests.flow.lakes import local_config

at, calls = int(sys.argv[2]), 0

def deadly(honest):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(*arguments, **named)
    return call

storage.create, storage.delete = deadly(storage.create), deadly(storage.delete)
sys.exit(1 if repairing.repair_lake(local_config(sys.argv[1]), apply=True)["left"] else 0)
"""


@pytest.mark.slow
def test_killed_at_every_write_and_begun_again(generations, archive: Path, undisturbed: Config, tmp_path: Path) -> None:
    """Files of tables and of the current generation are lost, units as well; the process dies before each write."""
    config, _, before, last = generations
    root, key = folder(config)
    next(Path(root, key, last).rglob("rows.f16")).unlink()
    data_paths(config, "segments")[0].unlink()
    data_paths(config, "units")[-1].unlink()
    kills = 0
    for at in range(1, 60):
        copy = tmp_path / f"killed-{at}"
        shutil.copytree(config.lake, copy)
        words = [sys.executable, "-c", KILLED, str(copy), str(at)]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        status = subprocess.run(words, env=environ, check=False).returncode
        assert status in (0, -signal.SIGKILL)
        half = local_config(copy, *PIECES)
        assert repair_lake(half, apply=True)["left"] == 0
        assert standing(half)["generation"] == before
        assert repair_lake(half)["findings"] == []
        if at % 4 == 1 or status == 0:
            assert_filled_again(half, archive, undisturbed)
        shutil.rmtree(copy)
        if status == 0:
            break
        kills += 1
    assert kills >= 6
