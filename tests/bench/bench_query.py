"""What a search says of itself, on the demo's archives: is the best hit a match, and is `space: auto` as good as any.

    python tests/bench/bench_query.py --seeds 3 7 [--questions 96] [--folder DIR]

In DIR/<seed> the archive and the lake of a seed are painted and filled, or found as they were left there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from shotlake.demo import demo_config
from shotlake.embed.load import load_encoder
from shotlake.flow.backfill import backfill
from shotlake.query.search import LakeSearch
from shotlake.world.archive import Truth, paint_archive
from shotlake.world.queries import WorldQuery, agrees, draw_absent, draw_queries

sys.path.insert(0, str(Path(__file__).parent))
from lines import report

FILE = "tests/bench/bench_query.py"
SPACES = ("fused", "visual", "auto")
DRAWS = 3  # of questions, for each archive


def open_search(folder: Path, seed: int) -> tuple[LakeSearch, Truth]:
    """The search on the demo's archive of a seed."""
    archive = folder / str(seed) / "demo-archive"
    archive.parent.mkdir(parents=True, exist_ok=True)
    truth = paint_archive(archive, seed)
    config = demo_config(folder / str(seed) / "demo-lake", ("flow.engine=local",))
    if not Path(config.lake).exists():
        backfill([str(archive)], config, lambda *_: None)
    return LakeSearch.open(config.lake, load_encoder(config.embed), config), truth


def is_match(search: LakeSearch, query: WorldQuery) -> bool:
    match = search.search(query.text, 1).match
    return match is not None and match.good


def is_right(search: LakeSearch, query: WorldQuery, truth: Truth, space: str) -> bool:
    hit = search.search(query.text, 1, space).hits[0]
    return agrees(query, hit.video_uri, hit.start_us, hit.end_us, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 7])
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    present, absent = [], []
    right: dict[str, list[bool]] = {space: [] for space in SPACES}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in given.seeds:
            search, truth = open_search(given.folder or Path(scratch), seed)
            for draw in range(1, DRAWS + 1):
                queries = draw_queries(truth, draw, given.questions)
                present += [is_match(search, query) for query in queries]
                absent += [is_match(search, query) for query in draw_absent(truth, draw, given.questions)]
                for space in SPACES:
                    right[space] += [is_right(search, query, truth, space) for query in queries]
    note = f"archives of the seeds {given.seeds}, {len(present)} questions, {len(absent)} absent"
    report("query.match.recall", np.mean(present), 0.95, "min", file=FILE, unit="share", note=note)
    report("query.match.false", np.mean(absent), 0.05, "max", file=FILE, unit="share", note=note)
    rates = {space: float(np.mean(right[space])) for space in SPACES}
    lost = rates["auto"] - max(rates["fused"], rates["visual"])
    told = ", ".join(f"{space} {rate:.3f}" for space, rate in rates.items())
    report("query.auto", lost, -0.01, "min", file=FILE, unit="R@1 above the best space", note=f"{told}; {note}")


if __name__ == "__main__":
    main()
