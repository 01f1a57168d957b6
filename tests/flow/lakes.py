"""What the tests compare: the rows of two lakes, whatever run, file or commit they came from."""

from __future__ import annotations

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


def local_config(lake: Path | str, *sets: str) -> Config:
    """The demo's configuration in plain Python."""
    return demo_config(Path(lake), ("flow.engine=local", *sets)) if isinstance(lake, Path) else demo_config(
        Path("unused"), ("flow.engine=local", f"lake={lake}", *sets)
    )  # fmt: skip


def run(source: Path | str, config: Config, build: bool = False) -> RunReport:
    """A backfill without an index, unless asked for."""
    return backfill([str(source)], config, lambda stage, done, total: None, build)


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
