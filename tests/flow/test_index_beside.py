"""Whoever changes an index beside another one, a run or an erasure: one at a time, and nothing erased is published."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pytest
from tests.flow.lakes import local_config, run, segments

from shotlake import storage
from shotlake.cli import main
from shotlake.config import Config
from shotlake.embed.load import load_encoder
from shotlake.errors import CorruptGeneration, LeaseHeld
from shotlake.flow import build_index as building
from shotlake.flow.build_index import build_index
from shotlake.flow.erasure import erase_videos
from shotlake.flow.forget import forget_videos, index_traces
from shotlake.flow.generations import publish_stored, published, roll_back, standing
from shotlake.flow.index_lease import indexing
from shotlake.flow.index_source import index_root
from shotlake.flow.upkeep import maintain_lake
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.table import committer
from shotlake.table.lake import Lake
from shotlake.world.archive import Truth

SHORT = "table.lease_s=1"


@pytest.fixture(scope="module")
def made(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory):
    """Two folders of videos, and a lake with an index of the first."""
    root, truth = demo_archive
    base = tmp_path_factory.mktemp("beside")
    videos = [root / video.path for video in truth.videos if not video.fault][:3]
    for folder, chosen in (("videos", videos[:2]), ("more", videos[2:])):
        (base / folder).mkdir()
        for video in chosen:
            shutil.copy2(video, base / folder / video.name)
    run(base / "videos", local_config(base / "lake"), build=True)
    return base


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Config:
    """A copy of that lake."""
    shutil.copytree(made / "lake", tmp_path / "lake")
    return local_config(str(tmp_path / "lake"), SHORT)


@pytest.fixture
def victim(made: Path) -> str:
    return str(sorted((made / "videos").iterdir())[0])


def ids_of(config: Config, uri: str) -> list[str]:
    rows = Lake.open(config.lake).read("segments", ["video_id"], pc.field("uri") == uri)
    return sorted(set(rows["video_id"].to_pylist()))


def key_of(config: Config) -> str:
    return str(standing(config)["embed_key"])


def found(config: Config) -> SearchResult:
    return LakeSearch.open(config.lake, load_encoder(config.embed), config).search("a red circle", limit=50)


def process(program: str, config: Config, *more: str) -> subprocess.Popen[bytes]:
    """A process of its own that runs `program` with a configuration and more arguments."""
    head = (
        "import sys\nfrom tests.flow.lakes import local_config, run\nconfig = local_config(sys.argv[1], sys.argv[2])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", head + program, config.lake, SHORT, *more], env=environment)


BUILDER = """
import os, signal
from shotlake import storage
from shotlake.flow.build_index import build_index
real = storage.create
def dying(uri, data):
    if uri.endswith("manifest.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(uri, data)
storage.create = dying
build_index(config)
"""


def test_one_process_changes_an_index_and_the_others_say_so(
    made: Path, config: Config, victim: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, key, before = Lake.open(config.lake), key_of(config), published(config)
    ids, files = ids_of(config, victim), storage.names(index_root(lake))
    with indexing(lake, key, config):
        for change in (
            lambda: build_index(config),
            lambda: build_index(config, action="update"),
            lambda: build_index(config, action="compact"),
            lambda: publish_stored(config, "any"),
            lambda: roll_back(config),
        ):
            with pytest.raises(LeaseHeld, match=rf"the index of the space {key} is being changed by run .*; wait"):
                change()
        assert main(["index", "update", "--lake", config.lake, "--set", SHORT]) == 1
        assert capsys.readouterr().err.count("\n") == 1
        with caplog.at_level(logging.WARNING, "shotlake"):
            report = run(made / "more", config, build=True)
        assert report.generation == "" and "index_left_to_another" in caplog.text
        assert key in maintain_lake(config)["index_skipped"]
        n_files, held = forget_videos(lake, ids, config)
        assert n_files == 0 and held.keys() == {key} and "is being changed by" in held[key]
        assert published(config) == before and storage.names(index_root(lake)) == files
        assert found(config).unindexed_rows == report.ledger.cells["written"] > 0
    assert build_index(config, action="update").table_rows == len(segments(config))
    assert maintain_lake(config)["index_skipped"] == ""


def test_a_killed_builder_holds_nothing_up_and_its_work_is_taken_up_unless_it_is_erased(
    config: Config, victim: str, caplog: pytest.LogCaptureFixture
) -> None:
    lake, ids = Lake.open(config.lake), ids_of(config, victim)
    assert process(BUILDER, config).wait() == -signal.SIGKILL
    with caplog.at_level(logging.INFO, "shotlake"):
        build_index(config)
    assert caplog.text.count("index_taken_up") == 2, "the epochs and the shard"
    assert process(BUILDER, config).wait() == -signal.SIGKILL
    assert maintain_lake(config)["index_files_removed"] == 0, "a day has not passed"
    assert [name for name in index_traces(lake, ids) if name.endswith("epochs.npz")]
    assert not erase_videos(victim, None, "request 23", config)["traces"]
    assert index_traces(lake, ids) == []
    names = storage.names(index_root(lake))
    assert forget_videos(lake, ids, config) == (0, {}) and storage.names(index_root(lake)) == names


STALLED_BUILDER = """
import time
from pathlib import Path
from shotlake import storage
from shotlake.flow.build_index import build_index
real = storage.create
def stalled(uri, data):
    if uri.endswith("manifest.json"):
        Path(sys.argv[3]).touch()
        time.sleep(600)
    real(uri, data)
storage.create = stalled
build_index(config)
"""


def test_beside_a_builder_nothing_is_removed_and_once_it_is_dead_an_erasure_goes_on(
    config: Config, victim: str, tmp_path: Path
) -> None:
    lake, ids, there = Lake.open(config.lake), ids_of(config, victim), tmp_path / "stalled"
    builder = process(STALLED_BUILDER, config, str(there))
    try:
        while not there.exists():
            assert builder.poll() is None
            time.sleep(0.1)
        names = storage.names(index_root(lake))
        assert "is being changed by" in maintain_lake(config)["index_skipped"]
        assert "is being changed by" in erase_videos(victim, None, "request 26", config)["traces"][-1]
        assert storage.names(index_root(lake)) == names
    finally:
        builder.kill()
        builder.wait()
    assert any("drafts/" in name for name in index_traces(lake, ids))
    assert forget_videos(lake, ids, config)[1] == {} and index_traces(lake, ids) == []
    assert standing(config)["rows"] == len(segments(config))


def test_of_two_builders_one_builds_and_the_other_says_so(config: Config) -> None:
    first = published(config)
    program = "from shotlake.cli import main\nsys.exit(main(['index', 'build', '--lake', sys.argv[1]]))"
    builders = [process(program, config) for _ in range(2)]
    codes = [builder.wait() for builder in builders]
    assert 0 in codes and set(codes) <= {0, 1}
    assert len(published(config)) == len(first) + codes.count(0)
    assert found(config).hits


@pytest.mark.parametrize("action", ["build", "update"])
def test_a_build_whose_rows_are_erased_before_it_reads_them_begins_again(
    made: Path, config: Config, victim: str, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    run(made / "more", config)
    lake, ids, real, held = Lake.open(config.lake), ids_of(config, victim), building._step, []

    def late(*arguments):
        if not held:
            held.append(erase_videos(victim, None, "request 24", config))
        return real(*arguments)

    monkeypatch.setattr(building, "_step", late)
    made_of = build_index(config, action=action)
    assert "is being changed by" in held[0]["traces"][-1]
    assert standing(config)["generation"] == made_of.generation
    assert standing(config)["rows"] == len(segments(config))
    assert index_traces(lake, ids) == [] and forget_videos(lake, ids, config)[1] == {}


@pytest.mark.parametrize("healed_by", ["maintain", "update", "build"])
def test_what_an_erasure_had_to_leave_is_not_published_and_goes_with_the_next_command(
    config: Config, victim: str, healed_by: str
) -> None:
    lake, key, ids = Lake.open(config.lake), key_of(config), ids_of(config, victim)
    old = published(config)[0]["generation"]
    build_index(config)
    stored = build_index(config, is_published=False)
    with indexing(lake, key, config):
        assert erase_videos(victim, None, "request 25", config)["traces"]
    names = storage.names(index_root(lake))
    with pytest.raises(CorruptGeneration, match="has rows of videos that were erased"):
        publish_stored(config, stored.generation)
    with pytest.raises(CorruptGeneration, match="has rows of videos that were erased"):
        roll_back(config, old)
    assert storage.names(index_root(lake)) == names and index_traces(lake, ids)
    if healed_by == "maintain":
        assert maintain_lake(config)["index_skipped"] == ""
    else:
        build_index(config, action=healed_by)
    assert index_traces(lake, ids) == []
    assert standing(config)["rows"] == len(segments(config))


STALLED = """
import time
from pathlib import Path
from shotlake.table import committer
def stalled(*_):
    Path(sys.argv[4]).touch()
    time.sleep(600)
committer.append_outcomes = stalled
run(sys.argv[3], config)
"""


def test_an_update_beside_a_run_between_its_two_commits(made: Path, config: Config, tmp_path: Path) -> None:
    first = standing(config)
    there = tmp_path / "stalled"
    beside = process(STALLED, config, str(made / "more"), str(there))
    try:
        while not there.exists():
            assert beside.poll() is None
            time.sleep(0.1)
        rows = len(segments(config))
        assert rows > first["rows"] and len(Lake.open(config.lake).read("units", ["unit_id"])) < 4
        manifest = build_index(config, action="update")
    finally:
        beside.kill()
        beside.wait()
    assert manifest.parent == first["generation"] and manifest.table_rows == manifest.n_rows == rows
    assert standing(config)["unindexed_rows"] == 0
    report = run(made / "more", config, build=True)
    assert report.ledger.videos["unchanged"] == 1 and report.generation == ""
    again = build_index(config, action="update")
    assert (again.table_rows, again.n_rows, len(again.shards)) == (rows, rows, 2), "nothing is added twice"


def test_units_that_are_dated_later_than_their_rows_are_counted_once(
    made: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever appends what a killed run owes can only say that the rows are at the version of now, or before."""
    real = committer.append_outcomes

    def later(lake, run_id, outcomes, app, version, signs):
        real(lake, run_id, outcomes, app, version + 3, signs)

    monkeypatch.setattr(committer, "append_outcomes", later)
    run(made / "more", config)
    rows = len(segments(config))
    for _ in range(2):
        manifest = build_index(config, action="update")
        assert manifest.table_rows == manifest.n_rows - manifest.retired_rows == rows
        maintain_lake(config)  # joins files: another version of the same rows
    ids = [hit.segment_ids for hit in found(config).hits]
    assert len(ids) == len(set(ids)) > 0


@pytest.mark.parametrize("damaged", ["pointer", "manifest", "rows.f16"])
def test_a_damaged_current_generation_hinders_neither_build_nor_update(config: Config, damaged: str) -> None:
    first = standing(config)
    names = {"pointer": "CURRENT/1.json", "manifest": f"{first['generation']}/manifest.json"}
    for action in ("update", "build"):
        before = published(config)[-1]
        path = Path(config.lake, "index", first["embed_key"], names.get(damaged, ""))
        if damaged == "rows.f16":
            path = next(path.rglob(f"{before['generation']}/fused/shards/*/rows.f16"))
            path.unlink()
        elif damaged == "pointer":
            path = max((path.parent).iterdir(), key=lambda file: int(file.stem))
            path.write_bytes(b"")
        else:
            path = path.parents[1] / before["generation"] / "manifest.json"
            path.write_bytes(b"{}")
        made = build_index(config, action=action)
        assert made.generation != before["generation"] and standing(config)["generation"] == made.generation
        assert found(config).hits
    maintain_lake(config)
    assert standing(config)["rows"] == first["rows"]
