"""Retrieval as the papers measure it, by the real pipeline: the videos are backfilled, and every caption is a query.

`published`: one clip a video, the window as long as the longest of them. `max` and `mean`: over the segments that the
grid of the configuration gives. `index`: the best segment as a search finds it. Baselines stand in the same rows.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

import shotlake
from shotlake import storage
from shotlake.config import Config
from shotlake.embed.encoder import Encoder
from shotlake.errors import ConfigError, QueryError
from shotlake.evaluate.datasets import DIDEMO_CUT_US, Item, place, read_dataset, read_descriptions
from shotlake.evaluate.metrics import Ranking, compare, gain_at_10, rank_texts, rank_videos, summarise
from shotlake.evaluate.scores import (
    Floats,
    Gallery,
    Ints,
    score_best_segment,
    score_mean,
    spread,
    with_joined,
)
from shotlake.flow.backfill import Progress, backfill
from shotlake.flow.space import VectorSpace, open_space
from shotlake.index.depth import TUNED_TEXT
from shotlake.query.search import LakeSearch
from shotlake.records import QueryVectors
from shotlake.table.lake import Lake
from shotlake.table.readers import latest_videos, live_segments

Row = dict[str, Any]
TEXT_BATCH = 256


@dataclass(frozen=True, slots=True)
class Task:
    """What is evaluated. `descriptions`: words of each video, a baseline; `against`: the result of another run."""

    dataset: str
    annotations: Path
    videos: str
    descriptions: Path | None = None
    against: Path | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """Q captions with the item that each is right for."""

    texts: list[str]
    owners: Ints
    vectors: QueryVectors
    refused: int


def evaluate(task: Task, config: Config, progress: Progress) -> dict[str, Any]:
    """Backfill `task.videos` into `config.lake`, score every caption against every item, and give the whole result.

    Errors: ConfigError (annotations, no video of theirs), PreflightError, CommitError.
    """
    items = read_dataset(task.dataset, task.annotations)
    other = _read_result(task.against) if task.against else None
    described = read_descriptions(task.descriptions) if task.descriptions else None
    space = open_space(config)
    backfill([task.videos], config, progress)
    lake, root = Lake.open(config.lake), storage.normalise(task.videos)
    listed = latest_videos(lake, root).filter(pc.field("status") == "listed")
    placed, missing = place(items, listed["uri"].to_pylist())
    if not placed:
        raise ConfigError(
            f"none of the {len(items)} annotated videos lies under {task.videos!r}, such as {missing[0]!r}"
        )
    questions = _ask(placed, space.encoder)
    asked = _identity(placed, questions)
    if other and other.get("queries_sha256") != asked:
        raise ConfigError("--against was measured with other captions or on another gallery; both have to be the same")
    gallery = _gallery(lake, space, placed)
    rows, notes = _measure("shotlake", gallery, questions), []
    rows += _through_index(LakeSearch.open(config.lake, space.encoder, config), gallery, questions)
    durations = dict(zip(listed["uri"].to_pylist(), listed["duration_us"].to_pylist()))
    whole, reason = _whole_clips(task, config, space, placed, durations)
    still = _with(whole or config, frames="middle", new_space=True)
    if whole:
        backfill([task.videos], whole, progress, build=False)
        rows += _measure("shotlake", _gallery(lake, open_space(whole), placed), questions, ("published",))
    else:
        notes.append(f"no row of the published protocol: {reason}")
    backfill([task.videos], still, progress, build=False)
    seen_still = _gallery(lake, open_space(still), placed)
    rows += _measure("middle frame", seen_still, questions, ("published" if whole else "max",))
    if described is not None:
        rows += _describe_then_embed(described, space.encoder, placed, questions)
    result = {
        "shotlake": shotlake.__version__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": task.dataset,
        "queries_sha256": asked,
        "gallery": {
            "items": len(placed),
            "queries": len(questions.texts),
            "missing": missing,
            "without_vectors": [placed[item][0].names[0] for item in gallery.empty_items],
        },
        "refused_queries": questions.refused,
        "model": asdict(space.encoder.fingerprint),
        "clips": asdict(space.clip_spec),
        "prompts": getattr(space.encoder, "prompts", {}),
        "notes": notes,
        "rows": rows,
    }
    return {**result, "paired": _paired(rows, other["rows"]) if other else []}


def _identity(placed: list[tuple[Item, str]], questions: Questions) -> str:
    """The same for two runs that ask the same captions of the same gallery."""
    names = [item.names[0] for item, _ in placed]
    return hashlib.sha256(json.dumps([names, questions.texts]).encode()).hexdigest()


def _ask(placed: list[tuple[Item, str]], encoder: Encoder) -> Questions:
    texts = [text for item, _ in placed for text in item.captions]
    owners = np.repeat(np.arange(len(placed)), [len(item.captions) for item, _ in placed])
    vectors, refused = _embed_texts(texts, encoder)
    return Questions(texts, owners, vectors, refused)


def _embed_texts(texts: list[str], encoder: Encoder) -> tuple[QueryVectors, int]:
    """[Q, D] a space; a text that the model refuses gets zeros, is counted, and so finds everything equally badly."""
    parts: list[QueryVectors] = []
    refused = 0
    for start in range(0, len(texts), TEXT_BATCH):
        batch = texts[start : start + TEXT_BATCH]
        whole = _embedded(batch, encoder)
        found = [whole] if whole else [_embedded([text], encoder) for text in batch]
        refused += sum(part is None for part in found)
        nothing = {space: np.zeros((1, encoder.dim), np.float32) for space in encoder.spaces}
        parts += [part or nothing for part in found]
    return {space: np.concatenate([part[space] for part in parts]) for space in encoder.spaces}, refused


def _embedded(texts: list[str], encoder: Encoder) -> QueryVectors | None:
    """The vectors of texts; None if the model refuses one of them."""
    try:
        return encoder.embed_text(texts)
    except QueryError:
        return None


def _measure(
    method: str, gallery: Gallery, questions: Questions, protocols: tuple[str, ...] = ("max", "mean")
) -> list[Row]:
    """Rows of every protocol, space and direction, exactly."""
    score = {"max": score_best_segment, "published": score_best_segment, "mean": score_mean}
    rows = []
    for protocol in protocols:
        own = {str(name): score[protocol](questions.vectors[name], gallery, name) for name in gallery.vectors}
        for name, scores in with_joined(own).items():
            rows += _rows(method, protocol, name, scores, questions)
    return rows


def _rows(method: str, protocol: str, space: str, scores: Floats, questions: Questions) -> list[Row]:
    both = (rank_videos(scores, questions.owners), rank_texts(scores, questions.owners))
    return [{**_row(method, protocol, space, ranking), "scores": spread(scores)} for ranking in both]


def _row(method: str, protocol: str, space: str, ranking: Ranking) -> Row:
    ranks = [round(float(rank), 1) if math.isfinite(rank) else None for rank in ranking.ranks]
    named = {"method": method, "protocol": protocol, "space": space, "direction": ranking.direction}
    return {**named, **summarise(ranking), "ranks": ranks}


def _gallery(lake: Lake, space: VectorSpace, placed: list[tuple[Item, str]]) -> Gallery:
    """The segments whose middle lies in an item, and their vectors."""
    names = [*space.encoder.spaces]
    wanted: dict[str, list[int]] = {}
    for number, (_, uri) in enumerate(placed):
        wanted.setdefault(uri, []).append(number)
    found: list[tuple[int, str, list[Any]]] = []
    for batch in live_segments(lake, space.key, ["segment_id", "uri", "start_us", "end_us", *names]):
        columns = [batch.column(name) for name in names]
        times = zip(*(batch.column(name).to_pylist() for name in ("segment_id", "uri", "start_us", "end_us")))
        for at, (segment_id, uri, start_us, end_us) in enumerate(times):
            for number in wanted.get(uri, ()):
                item, middle_us = placed[number][0], (start_us + end_us) // 2
                if item.start_us <= middle_us < (item.end_us or end_us + 1):
                    found.append((number, segment_id, [column[at].values for column in columns]))
    found.sort(key=lambda entry: entry[0])
    nothing = np.full(space.encoder.dim, np.nan, np.float32)
    vectors = {}
    for at, name in enumerate(names):
        own = [nothing if values[at] is None else values[at].to_numpy() for _, _, values in found]
        vectors[name] = np.array(own, np.float32).reshape(len(found), -1)
    items = np.array([number for number, _, _ in found], np.intp)
    return Gallery(items, len(placed), vectors, tuple(segment_id for _, segment_id, _ in found))


def _through_index(search: LakeSearch, gallery: Gallery, questions: Questions) -> list[Row]:
    """Text to video as the current generation answers; an answer behind the rows that were asked for is not found."""
    items_of: dict[str, list[int]] = {}
    for segment_id, item in zip(gallery.segment_ids, gallery.items_S.tolist()):
        items_of.setdefault(segment_id, []).append(item)
    depth = min(len(search.rows), max(1_000, 20 * len(search.rows) // gallery.n_items))
    rows = []
    for name in search.rows.searcher.spaces:
        ranks = np.full(len(questions.texts), np.inf)
        for query, (vector, owner) in enumerate(zip(questions.vectors[name], questions.owners)):
            _, found = search.rows.nearest(vector, name, depth, TUNED_TEXT)
            ids = search.rows.columns(found, ["segment_id"])["segment_id"].to_pylist()
            ahead = list(dict.fromkeys(item for segment_id in ids for item in items_of.get(segment_id, ())))
            if owner in ahead:
                ranks[query] = 1 + ahead.index(owner)
        rows.append(
            _row("shotlake", "index", name, Ranking("text_to_video", ranks, gain_at_10(ranks), questions.owners))
        )
    return rows


def _whole_clips(
    task: Task, config: Config, space: VectorSpace, placed: list[tuple[Item, str]], duration_us: dict[str, int]
) -> tuple[Config | None, str]:
    """The configuration under which every video is one clip; None, and why, where there is none."""
    if any(item.start_us for item, _ in placed):
        return None, "items are moments, not videos"
    longest_us = max(duration_us[uri] or 0 for _, uri in placed)
    if task.dataset == "didemo":
        longest_us = min(longest_us, DIDEMO_CUT_US)
    if longest_us <= space.clip_spec.window_us:
        return config, ""
    whole = _with(config, window_s=math.ceil(longest_us / 1e4) / 100, stride_s=None, new_space=True)
    try:
        open_space(whole)
    except ConfigError as error:
        return None, error.message
    return whole, ""


def _describe_then_embed(
    described: dict[str, str], encoder: Encoder, placed: list[tuple[Item, str]], questions: Questions
) -> list[Row]:
    """What a caption model's words would give: descriptions and captions meet in the text tower."""
    texts = [next((described[name] for name in item.names if name in described), "") for item, _ in placed]
    vectors, _ = _embed_texts(texts, encoder)
    space = encoder.spaces[0]
    return _rows("descriptions", "published", space, questions.vectors[space] @ vectors[space].T, questions)


def _with(config: Config, **embed: Any) -> Config:
    return config.model_copy(update={"embed": config.embed.model_copy(update=embed)})


def _read_result(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--against is {str(path)!r}, which is no result of an earlier run ({error})") from None


def _paired(ours: list[Row], theirs: list[Row]) -> list[Row]:
    """Differences on the same queries, of every row that both runs have."""
    keys = ("method", "protocol", "space", "direction")
    before = {tuple(row[key] for key in keys): row for row in theirs}
    rows = []
    for row in ours:
        other = before.get(tuple(row[key] for key in keys))
        if other is None:
            continue
        mine, yours = (np.array([np.inf if rank is None else rank for rank in r["ranks"]]) for r in (row, other))
        tests = {f"r_at_{cut}": compare(mine <= cut, yours <= cut) for cut in (1, 10)}
        rows.append({**{key: row[key] for key in keys}, **tests})
    return rows
