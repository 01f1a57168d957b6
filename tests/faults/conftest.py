"""A small archive, the lake of its undisturbed run, and the means to run, stop and repeat the job beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.flow.lakes import assert_same_lake, local_config, run

from shotlake.config import Config
from shotlake.flow.verify import lake_balance
from shotlake.world.archive import Truth

# Small pieces, so that there is a before and an after of everything.
PIECES = (
    "catalog.block_s=1",
    "catalog.unit_s=8",
    "table.rows_per_file=1",
    "table.commit_units=1",
    "flow.wave_videos=2",
)


@pytest.fixture(scope="session")
def archive(demo_archive: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four painted videos. Tests that change it copy it."""
    folder = tmp_path_factory.mktemp("faults") / "archive"
    folder.mkdir()
    for video in [video for video in demo_archive[1].videos if not video.fault][:4]:
        shutil.copy2(demo_archive[0] / video.path, folder / Path(video.path).name)
    return folder


@pytest.fixture(scope="session")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The lake of one quiet run in the same pieces."""
    config = local_config(tmp_path_factory.mktemp("undisturbed") / "lake", *PIECES)
    assert run(archive, config).ledger.videos["indexed"] == 4
    return config


@pytest.fixture
def lake(tmp_path: Path) -> Config:
    """The configuration of a lake that is not there yet."""
    return local_config(tmp_path / "lake", *PIECES)


@pytest.fixture(autouse=True)
def balanced(tmp_path: Path) -> Iterator[None]:
    """`verify --balance` of every local lake that a test leaves behind."""
    yield
    for folder in sorted(path.parents[1] for path in tmp_path.rglob("tables/segments")):
        found = lake_balance(str(folder))
        assert found["balanced"], f"{folder}: {found}"


@pytest.fixture
def converges(archive: Path, undisturbed: Config) -> Callable[[Config], None]:
    """Run once more, and compare with the undisturbed lake: ids, times, counts, vectors, balance, nothing left over."""

    def check(config: Config, source: Path | None = None) -> None:
        report = run(source or archive, config)
        books = report.ledger.videos
        assert books["indexed"] + books["unchanged"] == books["listed"] == 4, report.to_json()
        assert_same_lake(config, undisturbed)
        assert lake_balance(config.lake)["balanced"]
        assert run(source or archive, config).ledger.videos["unchanged"] == 4

    return check
