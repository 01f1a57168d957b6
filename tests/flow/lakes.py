"""What the tests compare: the rows of two lakes, whatever run, file or commit they came from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from shotlake.config import Config
from shotlake.demo import demo_config
from shotlake.flow.backfill import backfill
from shotlake.flow.run_report import RunReport
from shotlake.table.lake import Lake
from shotlake.table.readers import matrix

EXACT = ("segment_id", "video_id", "unit_id", "cell", "start_us", "end_us", "n_frames", "has_audio")
SPACES = ("fused", "visual", "audio")


# libav's child processes cost more than such small videos; `demo_lake` and the tests of decoding are made with them
HERE = ("flow.engine=local", "decode.isolate=false")


def local_config(lake: Path | str, *sets: str) -> Config:
    """The demo's configuration in plain Python, in this process alone."""
    return demo_config(Path(lake), (*HERE, *sets)) if isinstance(lake, Path) else demo_config(
        Path("unused"), (*HERE, f"lake={lake}", *sets)
    )  # fmt: skip


def run(source: Path | str, config: Config, build: bool = False) -> RunReport:
    """A backfill without an index, unless asked for."""
    return backfill([str(source)], config, lambda stage, done, total: None, build)


@dataclass(frozen=True)
class MadeOnce:
    """A folder of videos, its lake and the report of that run: made once, and put back before every test.

    A lake knows its videos by path, size and time, so the folder is at one place and its copies keep their times.
    """

    base: Path
    sets: tuple[str, ...]
    report: RunReport

    @classmethod
    def of(cls, videos: Sequence[Path], base: Path, *sets: str, build: bool = False) -> MadeOnce:
        """With copies of these videos, below `base`."""
        for name in ("videos", "kept"):
            (base / name).mkdir()
        for video in videos:
            shutil.copy2(video, base / "kept" / video.name)
            shutil.copy2(video, base / "videos" / video.name)
        return cls(base, sets, run(base / "videos", local_config(base / "lake", *sets), build))

    def put_back(self, lake: Path) -> tuple[Path, Config]:
        """The folder as it was, and at `lake` a copy of the lake; the test may change both."""
        shutil.rmtree(self.base / "videos", ignore_errors=True)
        shutil.copytree(self.base / "kept", self.base / "videos")
        shutil.copytree(self.base / "lake", lake)
        return self.base / "videos", local_config(lake, *self.sets)


def segments(config: Config, *more: str) -> pa.Table:
    """Rows of `segments` in the order of their ids."""
    return Lake.open(config.lake).read("segments", [*EXACT, *SPACES, *more]).sort_by("segment_id")


def assert_same_lake(left: Config, right: Config) -> None:
    """Ids, times and counts are equal, nothing is double, and vectors have a cosine of at least 0.99999."""
    one, other = segments(left), segments(right)
    assert one.select(EXACT).equals(other.select(EXACT))
    assert len(set(one["segment_id"].to_pylist())) == len(one) > 0
    for space in SPACES:
        present = one[space].is_valid()
        assert present.equals(other[space].is_valid())
        a, b = (matrix(table[space].filter(present).combine_chunks()) for table in (one, other))
        cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosines.min() >= 0.99999
