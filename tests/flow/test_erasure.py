"""An erasure beside a run, which goes on without the video; what was erased comes back under no name and no time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.flow.lakes import MadeOnce, local_config, run, segments

from shotlake import storage
from shotlake.cli import main
from shotlake.config import Config
from shotlake.errors import SourceMissing, UsageError
from shotlake.flow.backfill import backfill
from shotlake.flow.erasure import erase_videos, unerase_video
from shotlake.flow.upkeep import maintain_lake, relocate_archive
from shotlake.flow.verify import lake_balance
from shotlake.table.lake import Lake
from shotlake.world.archive import Truth

PIECES = ("table.rows_per_file=4", "table.commit_units=1", "catalog.unit_s=8", "catalog.block_s=1")


@pytest.fixture(scope="module")
def two_done(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Two videos and their lake."""
    videos = [demo_archive[0] / video.path for video in demo_archive[1].videos if not video.fault][:2]
    return MadeOnce.of(videos, tmp_path_factory.mktemp("erasure"), *PIECES)


@pytest.fixture
def done(two_done: MadeOnce, tmp_path: Path) -> tuple[Path, Config]:
    """The folder, and a copy of its lake."""
    return two_done.put_back(tmp_path / "lake")


@pytest.fixture
def folder(two_done: MadeOnce, tmp_path: Path) -> Path:
    """The two videos alone."""
    return Path(shutil.copytree(two_done.base / "kept", tmp_path / "videos"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return local_config(tmp_path / "lake", *PIECES)


def names_in(config: Config, uri: str) -> list[str]:
    """Objects of the lake that hold a name, in bytes or in a column of Parquet."""
    import pyarrow.parquet as pq

    found = []
    for path in sorted(path for path in Path(config.lake).rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += str(pq.read_table(path).drop_columns([]).to_pylist()).encode()
        if uri.encode() in data:
            found.append(str(path))
    return found


def once(stage: str, at: int, act: Callable[[], None]) -> Callable[[str, int, int], None]:
    """Progress that acts the first time that a stage has got so far."""
    acted = []

    def progress(now: str, done: int, total: int) -> None:
        if now == stage and done >= at and not acted:
            acted.append(True)
            act()

    return progress


@pytest.mark.parametrize("stage, at", [("probe", 0), ("probe", 2), ("videos", 0), ("videos", 1)])
def test_a_run_drops_what_is_erased_while_it_works(stage: str, at: int, folder: Path, config: Config) -> None:
    """Listed, planned, with units in files that wait, or done: erased it is."""
    victim, other = sorted(folder.iterdir())
    said = []
    run(other, config)  # else the lake knows nothing yet
    uri = str(victim)

    def erase() -> None:
        if Lake.open(config.lake).read("videos", ["uri"]).to_pylist().count({"uri": uri}):
            said.append(erase_videos(uri, None, "request 1", config)["status"])

    def at_last(now: str, done: int, total: int) -> None:
        if not said:
            once(stage, at, erase)(now, done, total)

    report = backfill([str(folder)], config, at_last, build=False)
    books = report.ledger
    assert report.status == "complete" and books.balanced, report.to_json()
    if said:
        assert said == ["pending"], "the run is alive"
        assert (books.videos["skipped"], dict(books.skips)) == (1, {"erased": 1})
    assert maintain_lake(config)["erasures"] == "done"
    assert not said or not names_in(config, uri)
    assert lake_balance(config.lake)["balanced"]
    again = run(folder, config)
    assert again.ledger.videos["skipped"] == len(said) and again.ledger.balanced


def test_it_is_done_at_once_where_nobody_is_at_work(done: tuple[Path, Config]) -> None:
    folder, config = done
    victim = str(sorted(folder.iterdir())[0])
    told = erase_videos(victim, None, "request 2", config)
    assert (told["status"], told["traces"], told["waits_for"]) == ("done", (), ())
    assert told["n_rows"] > 0 and told["objects_read"] > 10
    assert names_in(config, victim) == []
    again = erase_videos(victim, None, "request 2 again", config)
    assert (again["status"], again["n_videos"]) == ("done", 0)


def test_neither_a_touch_nor_a_move_nor_a_copy_brings_it_back(done: tuple[Path, Config]) -> None:
    folder, config = done
    victim, _ = sorted(folder.iterdir())
    rows = len(segments(config))
    erase_videos(str(victim), None, "request 3", config)
    left = len(segments(config))
    assert left < rows
    os.utime(victim, ns=(1, 1))
    shutil.copy(victim, folder / "a copy.mp4")
    report = run(folder, config)
    assert dict(report.ledger.skips) == {"erased": 2} and report.ledger.balanced
    victim.rename(folder / "moved.mp4")
    report = run(folder, config)
    assert dict(report.ledger.skips) == {"erased": 2} and report.ledger.balanced
    assert len(segments(config)) == left
    for name in (victim.name, "a copy.mp4", "moved.mp4"):
        assert names_in(config, str(folder / name)) == []
    assert report.to_json()["skips"] == {"erased": 2}


def test_a_copy_that_was_embedded_before_is_erased_as_well(done: tuple[Path, Config]) -> None:
    folder, config = done
    victim, kept = sorted(folder.iterdir())
    copy = Path(shutil.copy(victim, folder / "a copy.mp4"))
    assert run(folder, config).ledger.videos["indexed"] == 1
    columns = ["uri", "start_us", "end_us", "fused"]  # the ids are those of other times of the same objects
    before = segments(config, "uri").select(columns).sort_by([("uri", "ascending"), ("start_us", "ascending")])
    found = erase_videos(str(copy), None, "request 8", config)
    assert (found["status"], found["traces"], found["n_videos"], found["n_copies"]) == ("done", (), 1, 1)
    assert names_in(config, str(copy)) == names_in(config, str(victim)) == []
    assert set(segments(config, "uri")["uri"].to_pylist()) == {str(kept)}
    assert run(folder, config).ledger.skips == {"erased": 2} and lake_balance(config.lake)["balanced"]
    shutil.copy(kept, victim)  # another content under the name of a copy: only what was asked for keeps its name out
    again = run(folder, config).ledger
    assert (again.skips, again.videos["indexed"]) == ({"erased": 1}, 1) and again.balanced
    shutil.copy(copy, victim)
    assert unerase_video(str(copy), config) == {"videos": 2}
    assert run(folder, config).ledger.videos["indexed"] == 2
    maintain_lake(config)  # the rows of what lay under the name meanwhile
    after = segments(config, "uri").select(columns).sort_by([("uri", "ascending"), ("start_us", "ascending")])
    assert after.equals(before) and lake_balance(config.lake)["balanced"]


def test_a_copy_that_is_committed_beside_an_erasure_is_found(
    done: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run writes it after the erasure has looked for names, and before it says anything."""
    from shotlake.flow import erasure

    folder, config = done
    victim, kept = sorted(folder.iterdir())
    record = erasure.record_erasure

    def late(*arguments: object) -> int:
        shutil.copy(victim, folder / "a copy.mp4")
        assert run(folder, config).ledger.videos["indexed"] == 1
        return record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(erasure, "record_erasure", late)
    found = erase_videos(str(victim), None, "request 9", config)
    assert (found["status"], found["n_videos"], found["n_copies"]) == ("done", 1, 1)
    assert set(segments(config, "uri")["uri"].to_pylist()) == {str(kept)}


def test_a_copy_that_a_run_finds_at_its_commit_comes_back_with_its_original(
    done: tuple[Path, Config],
) -> None:
    """Nothing in the lake says which content the copy had but the run that let go of it."""
    folder, config = done
    victim, kept = sorted(folder.iterdir())
    copy = Path(shutil.copy(victim, folder / "a copy.mp4"))
    erase = once("probe", 1, lambda: erase_videos(str(victim), None, "request 10", config) and None)
    report = backfill([str(folder)], config, erase, build=False)
    assert report.ledger.skips == {"erased": 1} and report.ledger.balanced
    assert maintain_lake(config)["erasures"] == "done"
    assert names_in(config, str(copy)) == names_in(config, str(victim)) == []
    assert unerase_video(str(victim), config) == {"videos": 2}
    assert run(folder, config).ledger.videos["indexed"] == 2
    assert set(segments(config, "uri")["uri"].to_pylist()) == {str(path) for path in (victim, kept, copy)}


def test_a_copy_that_a_killed_run_has_begun_is_erased_by_the_next(
    done: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, and the run dies before it says that the content was erased."""
    from shotlake.flow import watch

    folder, config = done
    victim, kept = sorted(folder.iterdir())
    copy = Path(shutil.copy(victim, folder / "a copy.mp4"))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(watch, "erase_copies", die)
        erase = once("probe", 1, lambda: erase_videos(str(victim), None, "request 11", config) and None)
        backfill([str(folder)], config, erase, build=False)
    assert names_in(config, str(copy))
    assert run(folder, config).ledger.skips == {"erased": 2}
    assert names_in(config, str(copy)) == []
    assert unerase_video(str(victim), config) == {"videos": 2}
    assert run(folder, config).ledger.videos["indexed"] == 2
    assert set(segments(config, "uri")["uri"].to_pylist()) == {str(path) for path in (victim, kept, copy)}


def test_a_moved_archive_does_not_bring_it_back(done: tuple[Path, Config], tmp_path: Path) -> None:
    folder, config = done
    victim, _ = sorted(folder.iterdir())
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    erase_videos(str(victim), None, "request 4", config)
    assert relocate_archive(str(folder), str(moved), config)["moved"] == 1
    assert not any(row["uri"].endswith(victim.name) for row in segments(config, "uri").to_pylist())


def test_a_video_that_moved_is_erased_under_all_its_names(done: tuple[Path, Config], tmp_path: Path) -> None:
    folder, config = done
    victim, kept = sorted(folder.iterdir())
    moved = Path(shutil.move(folder, tmp_path / "moved"))
    before = segments(config)
    assert relocate_archive(str(folder), str(moved), config)["moved"] == 2
    with pytest.raises(UsageError, match=f"2 videos below '{folder}' have moved, one of them to '{moved}/"):
        erase_videos(None, str(folder), "request 6", config)
    found = erase_videos(str(moved / victim.name), None, "request 6", config)
    assert (found["status"], found["traces"], found["n_videos"]) == ("done", (), 2)
    assert names_in(config, str(victim)) == names_in(config, str(moved / victim.name)) == []
    assert erase_videos(str(kept), None, "request 7", config)["n_videos"] == 2  # by the name of before
    assert names_in(config, str(kept)) == names_in(config, str(moved / kept.name)) == [] and not len(segments(config))
    assert run(moved, config).ledger.skips == {"erased": 2}
    for name in (victim.name, kept.name):
        unerase_video(str(moved / name), config)
    assert run(moved, config).ledger.videos["indexed"] == 2
    assert len(segments(config)) == len(before) and lake_balance(config.lake)["balanced"]


def test_it_comes_back_when_it_is_unerased(done: tuple[Path, Config], capsys: pytest.CaptureFixture[str]) -> None:
    folder, config = done
    before = segments(config)
    victim = str(sorted(folder.iterdir())[0])
    erase_videos(victim, None, "request 5", config)
    with pytest.raises(SourceMissing, match="nothing named"):
        unerase_video(victim + "x", config)
    assert main(["unerase", victim, "--lake", config.lake, "--json"]) == 0
    assert run(folder, config).ledger.videos["indexed"] == 1
    assert segments(config).equals(before)
    assert lake_balance(config.lake)["balanced"]


def test_an_erasure_that_was_killed_midway_is_finished_by_the_next(
    done: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = done
    from shotlake.flow import erasure
    from shotlake.table import erase

    victim = str(sorted(folder.iterdir())[0])

    class Died(Exception):
        pass

    def die(*arguments: object) -> None:
        raise Died

    for owner, step in (
        (erase, "_retire"),
        (erase, "_remove_files"),
        (erase, "_scrub_log"),
        (erasure, "forget_videos"),
    ):
        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(owner, step, die)
            erase_videos(victim, None, "request 6", config)
    assert maintain_lake(config)["erasures"] == "done"
    assert names_in(config, victim) == []
    tombstones = [
        storage.read_bytes(f"{config.lake}/erasures/{name}") for name in storage.names(f"{config.lake}/erasures")
    ]
    assert len(tombstones) > 3 and not any(b"request" in data or victim.encode() in data for data in tombstones)


def test_the_rows_of_before_serve_until_those_of_the_new_content_are_in(
    done: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overwritten object whose new version cannot be read once: the line was dead."""
    from shotlake.errors import StoreError
    from shotlake.flow import steps
    from shotlake.flow.space import open_space
    from shotlake.table.readers import live_segments

    folder, config = done
    key = open_space(config).key

    def shown() -> set[str]:
        batches = live_segments(Lake.open(config.lake), key, ["video_id", "uri"])
        return {row["video_id"] for batch in batches for row in batch.to_pylist() if row["uri"] == str(victim)}

    victim, other = sorted(folder.iterdir())
    (old,) = shown()
    shutil.copyfile(other, victim)

    class DeadLine:
        def __init__(self, *arguments: object) -> None:
            self.suffixes = ()

        def close(self) -> None:
            pass

        def __call__(self, units):
            from shotlake.decode.run import failed
            from shotlake.records import Usage

            yield from (failed(unit, StoreError("the line is dead"), Usage()) for unit in units)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "ClipDecoder", DeadLine)
        report = run(folder, config)
    assert report.ledger.videos["failed"] == 1
    assert shown() == {old}, "the old rows are good ones"
    assert run(folder, config).ledger.videos["indexed"] == 1
    assert len(shown()) == 1 and shown() != {old}
