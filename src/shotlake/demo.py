"""The demo: paint a small archive whose truth is known, run the whole job on it, and ask what the truth can answer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shotlake.config import Config, config_dir, load_config
from shotlake.embed.load import load_encoder
from shotlake.errors import UsageError
from shotlake.flow.backfill import backfill
from shotlake.flow.run_report import RunReport
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.terminal import Progress
from shotlake.world.archive import Truth, paint_archive
from shotlake.world.queries import WorldQuery, agrees, draw_queries

LAKE = Path("demo-lake")
ARCHIVE = Path("demo-archive")
MARKER = "demo.json"
N_VIDEOS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A query of the demo, what was found, and whether the truth agrees with each hit."""

    query: WorldQuery
    result: SearchResult
    agreed: tuple[bool, ...]

    @property
    def agree(self) -> bool:
        """True if the first hit is right."""
        return bool(self.agreed) and self.agreed[0]

    def to_json(self) -> dict[str, Any]:
        """An entry of `queries` in `demo --json`."""
        hits = [hit.to_json() for hit in self.result.hits]
        return {"text": self.query.text, "kind": self.query.kind, "agree": self.agree, "hits": hits}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything that `shotlake demo` shows."""

    seed: int
    archive: Path
    report: RunReport
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `demo --json`."""
        return {"seed": self.seed, "queries": [a.to_json() for a in self.answers], "backfill": self.report.to_json()}


def demo_config(lake: Path, sets: tuple[str, ...] = ()) -> Config:
    """configs/demo.yaml with its lake at `lake`."""
    return load_config(str(config_dir() / "demo.yaml"), [f"lake={lake}", *sets])


def run_demo(seed: int, config: Config, progress: Progress, n_queries: int = 8) -> DemoResult:
    """Paint (or reuse) the archive of `seed`, backfill it into a fresh lake, and answer queries drawn by the seed."""
    lake, archive = Path(config.lake), Path(config.lake).parent / ARCHIVE.name
    _clear(lake, seed)
    truth = paint_archive(archive, seed, N_VIDEOS, progress=lambda done, total: progress("paint", done, total))
    report = backfill([str(archive)], config, progress)
    answers = answer_queries(truth, config, draw_queries(truth, seed, n_queries))
    return DemoResult(seed, archive, report, answers)


def answer_queries(truth: Truth, config: Config, queries: list[WorldQuery]) -> tuple[Answer, ...]:
    """Ask the current generation of the lake, and hold every hit against the truth."""
    search = LakeSearch.open(config.lake, load_encoder(config.embed), config)
    answers = []
    for query in queries:
        result = search.search(query.text, limit=3)
        agreed = tuple(agrees(query, hit.video_uri, hit.start_us, hit.end_us, truth) for hit in result.hits)
        answers.append(Answer(query, result, agreed))
    return tuple(answers)


def _clear(lake: Path, seed: int) -> None:
    """Remove the lake of an earlier demo, and only that: a folder without the marker is somebody's own."""
    if lake.exists() and any(lake.iterdir()) and not (lake / MARKER).exists():
        raise UsageError(f"{str(lake)!r} exists and was not made by the demo; move it, or run the demo elsewhere")
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir(parents=True)
    (lake / MARKER).write_text(json.dumps({"seed": seed}), encoding="utf-8")
