"""The main job on painted video: two engines, one lake; reruns, changes, faults and limits, each counted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pytest
from tests.flow.lakes import MadeOnce, assert_same_lake, local_config, run, segments

from shotlake.cli import main
from shotlake.config import Config
from shotlake.demo import demo_config
from shotlake.errors import ModelNotNamed, SourceMissing
from shotlake.table.lake import Lake
from shotlake.table.readers import live_segments


def pooled(config: Config) -> list[tuple[object, ...]]:
    rows = Lake.open(config.lake).read("pooled", ["uri", "kind", "start_us", "end_us", "n_segments"])
    return sorted(tuple(row.values()) for row in rows.to_pylist())


@pytest.mark.ray
def test_ray_and_plain_python_write_the_same_lake(demo_lake, tmp_path: Path, ray_cluster: None) -> None:
    config = demo_config(tmp_path / "lake")
    report = run(demo_lake.archive, config)
    assert report.ledger.to_json() == demo_lake.report.ledger.to_json()
    assert report.ledger.covered_us == demo_lake.report.ledger.covered_us
    assert_same_lake(config, demo_lake.config)
    assert pooled(config) == pooled(demo_lake.config)


def test_every_object_and_every_cell_is_accounted_for(demo_lake) -> None:
    books = demo_lake.report.to_json()
    assert books["balanced"]
    assert books["videos"] == {
        "listed": 13, "indexed": 10, "partial": 1, "unchanged": 0, "skipped": 1, "failed": 1, "deferred": 0,
        "vanished": 0, "failed_new": 1,
    }  # fmt: skip
    assert books["failures"] == {"not_media": 1, "truncated": 1}
    rows = segments(demo_lake.config)
    assert len(rows) == books["cells"]["written"]
    assert main(["verify", "--balance", "--lake", demo_lake.config.lake]) == 0


def test_a_second_run_has_nothing_to_do(four_done: MadeOnce, done: tuple[Path, Config]) -> None:
    copies, config = done
    first, second = four_done.report, run(copies, config)
    assert first.ledger.videos["indexed"] == 4
    assert second.ledger.videos["indexed"] == 0
    assert second.ledger.videos["unchanged"] == 4
    assert second.ledger.balanced
    assert len(segments(config)) == first.ledger.cells["written"]


def test_a_changed_file_is_indexed_again_alone_and_its_old_rows_are_retired(done: tuple[Path, Config]) -> None:
    copies, config = done
    one, other = sorted(copies.iterdir())[:2]
    shutil.copyfile(other, one)
    report = run(copies, config)
    assert report.ledger.videos["indexed"] == 1
    assert report.ledger.videos["unchanged"] == 3
    lake = Lake.open(config.lake)
    key = lake.read("segments", ["embed_key"])["embed_key"][0].as_py()
    live = [row for batch in live_segments(lake, key, ["uri", "video_id"]) for row in batch.to_pylist()]
    assert len({row["video_id"] for row in live if row["uri"] == str(one)}) == 1
    assert len({row["video_id"] for row in live}) == 4


def test_a_vanished_file_is_counted_apart(done: tuple[Path, Config]) -> None:
    copies, config = done
    next(copies.iterdir()).unlink()
    for expected in (1, 0):
        report = run(copies, config)
        assert report.ledger.videos["vanished"] == expected
        assert report.ledger.videos["listed"] == 3
        assert report.ledger.balanced


def test_bad_files_become_rows_and_the_good_ones_are_indexed(copies: Path, tmp_path: Path) -> None:
    (copies / "empty.mp4").write_bytes(b"")
    (copies / "text.mp4").write_text("not a video\n" * 100)
    (copies / "zeros.mkv").write_bytes(bytes(100_000))
    config = local_config(tmp_path / "lake", "decode.isolate=true")
    report = run(copies, config)
    assert report.ledger.videos["indexed"] == 4
    assert report.ledger.videos["failed"] == report.ledger.failed_new == 3
    assert report.exit_status(config.limits) == 3
    codes = Lake.open(config.lake).read("failures", ["uri", "code"]).to_pylist()
    assert {(Path(row["uri"]).name, row["code"]) for row in codes} == {
        ("empty.mp4", "empty"),
        ("text.mp4", "not_media"),
        ("zeros.mkv", "not_media"),
    }
    again = run(copies, config)
    assert (again.ledger.videos["failed"], again.ledger.failed_new) == (3, 0)
    assert again.exit_status(config.limits) == 0


def test_max_hours_defers_the_rest_and_the_next_run_takes_it_up(done: tuple[Path, Config], tmp_path: Path) -> None:
    copies, undisturbed = done
    config = local_config(tmp_path / "limited", "limits.max_hours=0.01")
    first = run(copies, config)
    assert first.status == "partial"
    assert first.ledger.videos["deferred"] > 0
    assert first.ledger.cells["deferred"] > 0
    assert first.ledger.balanced
    second = run(copies, local_config(tmp_path / "limited"))
    assert second.ledger.videos["indexed"] + second.ledger.videos["unchanged"] == 4
    assert_same_lake(config, undisturbed)


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.mp4").write_text("no video")
    config = local_config(tmp_path / "lake", "limits.min_failures=2")
    report = run(folder, config)
    assert report.status == "failed"
    assert "3 of 5 videos failed" in report.message
    assert report.ledger.videos["deferred"] == 2
    assert report.exit_status(config.limits) == 1
    assert report.ledger.balanced


def test_an_empty_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = run(tmp_path / "empty", local_config(tmp_path / "lake"))
    assert report.exit_status(local_config(tmp_path / "lake").limits) == 0
    assert report.ledger.balanced


def test_a_missing_folder_stops_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="no folder"):
        run(tmp_path / "nowhere", local_config(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()


def test_a_large_archive_needs_an_encoder_by_name(copies: Path, tmp_path: Path) -> None:
    config = local_config(tmp_path / "lake", "limits.mini_max_hours=0.001")
    unnamed = config.model_copy(update={"embed": type(config.embed)()})
    with pytest.raises(ModelNotNamed, match=r"embed\.model"):
        run(copies, unnamed)
    assert len(Lake.open(config.lake).read("segments", ["uri"])) == 0
    assert run(copies, config).ledger.videos["indexed"] == 4


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.long])])
def test_sigterm_commits_what_is_finished_and_the_next_run_converges(engine: str, demo_lake, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    sets = [
        f"flow.engine={engine}",
        "flow.num_cpus=2",
        "catalog.block_s=1",
        "table.rows_per_file=1",
        "table.commit_units=1",
        "embed.model=mini",
    ]
    command = [sys.executable, "-m", "shotlake.cli", "backfill", str(demo_lake.archive), "--lake", str(lake), "-q"]
    process = subprocess.Popen([*command, "--index", "never", *(word for item in sets for word in ("--set", item))])
    while not list((lake / "tables" / "segments").rglob("*.parquet")):
        assert process.poll() is None, "the run ended before it wrote a file"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    config = local_config(lake)
    assert len(segments(config)) < demo_lake.report.ledger.cells["written"]
    assert "interrupted" in Lake.open(config.lake).read("runs", ["status"])["status"].to_pylist()
    run(demo_lake.archive, config)
    assert_same_lake(config, demo_lake.config)


@pytest.mark.s3
def test_the_same_tree_through_s3_gives_the_same_segments(demo_lake, s3_root: str, tmp_path: Path) -> None:
    from shotlake import storage

    for path in sorted(demo_lake.archive.rglob("*")):
        if path.is_file():
            storage.upload(path, storage.join(s3_root, "archive", path.relative_to(demo_lake.archive).as_posix()))
    source = storage.join(s3_root, "archive")
    config = demo_lake.config.model_copy(update={"lake": storage.join(s3_root, "lake")})
    report = run(source, config, build=True)
    assert report.ledger.to_json() == demo_lake.report.ledger.to_json()
    assert report.cost.usage.bytes_read > 0

    def keyed(table, root: str):
        keys = [uri.removeprefix(root) for uri in table["uri"].to_pylist()]
        rows = zip(keys, *(table[name].to_pylist() for name in ("start_us", "end_us", "fused")))
        return {(key, start, end): vector for key, start, end, vector in rows}

    here = keyed(segments(demo_lake.config, "uri"), str(demo_lake.archive))
    there = keyed(segments(config, "uri"), source)
    assert here == there
    assert report.generation


def test_the_books_name_their_price(demo_lake) -> None:
    cost = demo_lake.report.to_json()["cost"]
    assert 0 < cost["usd_busy"] <= cost["usd"]
    assert "assumed" in cost["price_basis"]
    decoded_on = demo_lake.report.to_json()["decoded_on"]
    assert decoded_on["nvdec"] == 0 and decoded_on["cpu"] >= demo_lake.report.ledger.videos["indexed"] - 2
    rows = Lake.open(demo_lake.config.lake).read("costs")
    assert pc.sum(rows["BilledCost"]).as_py() == pytest.approx(cost["usd"], rel=0.05)


def test_processes_are_gone_after_a_run() -> None:
    """Whatever a run of this session started was stopped with it."""
    time.sleep(0.1)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("no /proc on this system")
    names = [
        Path(f"/proc/{pid}/comm").read_text() for pid in children.read_text().split() if Path(f"/proc/{pid}").exists()
    ]
    assert not [name for name in names if "ray::Map" in name]
