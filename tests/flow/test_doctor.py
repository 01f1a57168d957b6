"""What a run would stumble over is named one by one, with what to do; a look leaves nothing behind."""

from __future__ import annotations

import datetime as clock
import shutil
from pathlib import Path

import pytest
from tests.conftest import DemoLake
from tests.flow.lakes import local_config

from shotlake import storage
from shotlake.config import Config
from shotlake.flow import doctor
from shotlake.flow.doctor import examine


def statuses(config: Config, source: str = "") -> dict[str, str]:
    return {check.check: check.status for check in examine(config, source)}


def found(name: str, config: Config, source: str = "") -> tuple[str, str]:
    return next((check.status, check.found) for check in examine(config, source) if check.check == name)


def test_a_machine_that_ran_the_demo_is_well(demo_lake: DemoLake) -> None:
    before = sorted(Path(demo_lake.config.lake).rglob("*"))
    checks = statuses(demo_lake.config, str(demo_lake.archive))
    assert {"credentials", "source", "store", "lake", "encoder", "gpu", "prices", "cores"} < set(checks)
    assert "fail" not in checks.values()
    assert {checks[name] for name in ("source", "store", "lake", "encoder", "prices")} == {"ok"}
    assert sorted(Path(demo_lake.config.lake).rglob("*")) == before


def test_each_thing_that_is_missing_fails_alone(demo_lake: DemoLake, tmp_path: Path) -> None:
    sets = ("report.instance=p9.huge", f"embed.model={tmp_path}/none", "embed.device=cuda")
    checks = statuses(local_config(tmp_path / "lake", *sets), str(tmp_path / "nowhere"))
    failed = {name for name, status in checks.items() if status == "fail"}
    assert failed - {"gpu"} == {"source", "encoder", "prices"}  # where there is a GPU, it is well
    assert not (tmp_path / "lake").exists()
    assert found("source", local_config(tmp_path / "lake"), str(tmp_path)) == (
        "warn", "nothing is there to be read; check the path",
    )  # fmt: skip


def test_a_lake_of_a_newer_format_fails(demo_lake: DemoLake, tmp_path: Path) -> None:
    shutil.copytree(demo_lake.config.lake, tmp_path / "lake")
    log = tmp_path / "lake" / "tables" / "segments" / "_delta_log" / "00000000000000000000.json"
    log.write_text(log.read_text().replace('"shotlake.lake_format":"1"', '"shotlake.lake_format":"99"'))
    status, words = found("lake", local_config(tmp_path / "lake"))
    assert status == "fail" and "has format 99" in words


def test_a_store_that_overwrites_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "create", storage.write_bytes)
    status, words = found("store", local_config(tmp_path / "lake"))
    assert status == "fail" and "create-only" in words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ahead_s", "status"), [(0, "ok"), (300, "warn"), (-3600, "fail")])
def test_a_clock_that_is_off_is_told(
    ahead_s: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shifted(clock.datetime):
        @classmethod
        def now(cls, tz: clock.tzinfo | None = None) -> clock.datetime:  # type: ignore[override]
            return clock.datetime.now(tz) + clock.timedelta(seconds=ahead_s)

    monkeypatch.setattr(doctor, "datetime", Shifted)
    assert found("store", local_config(tmp_path / "lake"))[0] == status


def test_full_disks_and_small_shared_memory_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    config = local_config(tmp_path / "lake").model_copy(update={"flow": Config().flow})  # through Ray
    for free, status in ((1 << 20, "fail"), (3 << 30, "warn"), (900 << 30, "ok")):
        told = usage(1000 << 30, (1000 << 30) - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, told=told: told)
        assert found(f"disk of {tmp_path}", config)[0] == status
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(64 << 20, 0, 64 << 20))
    status, words = found("shared memory", config)
    assert status == "warn" and "--shm-size" in words


@pytest.mark.s3
def test_a_bucket_is_tried_and_left_as_it_was(s3_root: str) -> None:
    checks = statuses(local_config(f"{s3_root}/lake"), s3_root)
    assert (checks["credentials"], checks["store"], checks["lake"], checks["source"]) == ("ok", "ok", "ok", "warn")
    assert storage.names(s3_root) == []
    assert found("store", local_config("s3://no-such-bucket-of-ours/lake"))[0] == "fail"
