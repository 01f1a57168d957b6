"""Whether a lake tells the truth: its sums recomputed from the tables, and rows of it made again from their sources."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.decode.decoder import ClipDecoder, decoder_versions
from shotlake.errors import BadModel, NotFound
from shotlake.flow.space import VectorSpace, open_space
from shotlake.flow.status import newest_runs
from shotlake.records import SPACES, UnitOutcome, Video, WorkUnit
from shotlake.table.lake import Lake
from shotlake.table.readers import balance, newest

MIN_COSINE = 0.999  # of a row made again: lossy sound codecs add noise that differs from run to run


def lake_balance(lake_root: str) -> dict[str, Any]:
    """The conservation of the newest run, recomputed from the tables, against what the run itself printed."""
    lake = Lake.open(lake_root)
    finished = [run for run in newest_runs(lake) if run["status"] != "running"]
    if not finished:
        return {"balanced": True, "runs": 0}
    totals: dict[str, Any] = {"runs": len(finished)}
    wrong: list[str] = []
    for run in finished:
        found = balance(lake, run["run_id"])
        said = dict(run["cells"] or [])
        for name in ("planned", "written", "lost"):
            totals[name] = totals.get(name, 0) + getattr(found, name)
        # fewer than it said: units are forgotten when a video is erased or its earlier content comes back
        agrees = found.written <= said.get("written", 0) and found.lost <= said.get("lost", 0)
        if not (found.balanced and agrees):
            wrong.append(run["run_id"])
    return {**totals, "wrong_runs": wrong, "balanced": not wrong}


@dataclass(frozen=True, slots=True)
class Remade:
    """A row that was made again, or why it could not be.

    `verdict`: equal | different | source_gone | source_changed | model_missing | the code with which decoding failed.
    """

    uri: str
    cell: int
    verdict: str
    cosine: float | None = None  # the least of the spaces
    note: str = ""


def verify_sample(config: Config, n: int, seed: int = 0) -> dict[str, Any]:
    """Decode and embed `n` rows of different units once more with the settings of their run, and compare.

    `sound` is False if a row differs although its source and its model are what they were. Errors: SourceMissing.
    """
    lake = Lake.open(config.lake)
    spaces = _Spaces(lake, config)
    found = [_remake(row, spaces) for row in _draw(lake, n, random.Random(seed))]
    cosines = [row.cosine for row in found if row.cosine is not None]
    return {
        "sampled": len(found),
        "verdicts": dict(Counter(row.verdict for row in found)),
        "min_cosine": min(cosines, default=None),
        "sound": all(row.verdict != "different" for row in found),
        "rows": [asdict(row) for row in found if row.verdict != "equal" or row.note],
    }


def _draw(lake: Lake, n: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """A row of each of up to `n` units that hold some, with its video's size; retired videos apart."""
    units = lake.read("units", ["unit_id", "uri", "video_id"], pc.field("written") > 0)
    gone = lake.read("retired", ["video_id"])["video_id"].combine_chunks()
    units = units.filter(pc.invert(pc.is_in(units["video_id"], gone)))
    units = units.take(sorted(chance.sample(range(len(units)), min(n, len(units)))))
    ids, uris, videos = (pc.unique(units[name].combine_chunks()) for name in ("unit_id", "uri", "video_id"))
    names = ["unit_id", "video_id", "uri", "etag", "version_id", "collection", "cell", "start_us", "end_us"]
    of_units = pc.field("unit_id").isin(ids) & pc.field("uri").isin(uris)  # files are chosen by their uris
    rows = lake.read("segments", [*names, "embed_key", "run_id", "decoder", *SPACES], of_units)
    known = newest(lake.read("videos", ["video_id", "size_bytes", "modified_at", "at"],
                             pc.field("video_id").isin(videos)), "video_id", "at")  # fmt: skip
    sizes = {row["video_id"]: row for row in known.to_pylist()}
    for unit_id in ids.to_pylist():
        mine = pc.indices_nonzero(pc.equal(rows["unit_id"], unit_id))
        row = rows.slice(mine[chance.randrange(len(mine))].as_py(), 1).to_pylist()[0]
        yield {**row, **{name: sizes[row["video_id"]][name] for name in ("size_bytes", "modified_at")}}


class _Spaces:
    """The vector spaces of runs, each opened once: the one at hand if it is the same, else that of the recorded run."""

    def __init__(self, lake: Lake, config: Config) -> None:
        self._lake, self._config = lake, config
        self._open: dict[tuple[str, str], tuple[Config, VectorSpace] | None] = {}

    def of(self, row: dict[str, Any]) -> tuple[Config, VectorSpace] | None:
        """Settings and space of a row; None where its model is not at hand."""
        name = (row["embed_key"], row["run_id"])
        if name not in self._open:
            tries = (self._tried(config, row["embed_key"]) for config in self._candidates(row["run_id"]))
            self._open[name] = next((found for found in tries if found), None)
        return self._open[name]

    def _candidates(self, run_id: str) -> Iterator[Config]:
        yield self._config
        recorded = self._lake.read("runs", ["config"], pc.field("run_id") == run_id)["config"].to_pylist()
        for text in recorded[:1]:
            config, now = Config.model_validate_json(text), self._config
            decode = config.decode.model_copy(update={"device": now.decode.device, "isolate": now.decode.isolate})
            embed = config.embed.model_copy(update={"device": now.embed.device})
            yield config.model_copy(update={"decode": decode, "embed": embed})

    @staticmethod
    def _tried(config: Config, embed_key: str) -> tuple[Config, VectorSpace] | None:
        try:
            space = open_space(config)
        except BadModel:
            return None
        return (config, space) if space.key == embed_key else None


def _remake(row: dict[str, Any], spaces: _Spaces) -> Remade:
    made = Remade(row["uri"], row["cell"], "equal")
    try:
        if storage.stat(row["uri"]).etag != row["etag"]:
            return replace(made, verdict="source_changed")
    except NotFound:
        return replace(made, verdict="source_gone")
    found = spaces.of(row)
    if found is None:
        return replace(made, verdict="model_missing")
    config, space = found
    names = ("uri", "etag", "size_bytes", "modified_at", "collection", "version_id")
    video = Video(**{name: row[name] for name in names})
    with closing(ClipDecoder(space.clip_spec, config.decode)) as decoder:
        items = list(decoder([WorkUnit(video, row["embed_key"], row["cell"], 1)]))
    clips = next((item for item in items if not isinstance(item, UnitOutcome)), None)
    if clips is None:
        return replace(made, verdict=next(item.code for item in items if isinstance(item, UnitOutcome)) or "no_clip")
    vectors = space.encoder.embed_clips(clips)
    times = (int(clips["start_us"][0]), int(clips["end_us"][0])) == (row["start_us"], row["end_us"])
    present = [name for name in SPACES if row[name] is not None]
    same_spaces = all((vectors[f"{name}_norm"][0] > 0) == (name in present) for name in SPACES)  # type: ignore[literal-required]
    cosine = min((_cosine(vectors[name][0], row[name]) for name in present), default=0.0)
    note = "" if row["decoder"] == decoder_versions() else f"was decoded by {row['decoder']}"
    is_equal = times and same_spaces and cosine >= MIN_COSINE
    return replace(made, verdict="equal" if is_equal else "different", cosine=round(cosine, 6), note=note)


def _cosine(one: Any, other: Any) -> float:
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
