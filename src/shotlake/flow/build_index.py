"""Table version -> published generation: live rows stream into shards, text queries tune them, a pointer is put."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.errors import ConfigError, NoIndex
from shotlake.flow.fill_shards import filler
from shotlake.flow.space import VectorSpace, open_space
from shotlake.index.advice import advise
from shotlake.index.build import GenerationTarget, TableChange, TextQueries, build_generation, update_generation
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current, list_generations, publish, rollback
from shotlake.records import Space, stable_id
from shotlake.table.lake import Lake
from shotlake.table.ranges import SegmentRange
from shotlake.table.readers import live_segments, retired_videos, video_metadata, with_metadata

_COLUMNS = (
    "segment_id",
    "video_id",
    "uri",
    "start_us",
    "end_us",
    "recorded_at",
    "collection",
    "has_audio",
    "duration_us",
    "text",
    "run_id",
)
_CODECS = ("video_codec", "audio_codec")
MAX_QUERIES = 2_000

Action = Literal["build", "update"]


def build_index(config: Config, space: VectorSpace | None = None, action: Action = "build") -> Manifest:
    """Bring the index of the configured space up to the newest table version and publish it.

    `action`: build trains a new epoch; update adds fresh shards to the current one where that is good enough, else
    builds. Errors: SourceMissing (no lake), NoIndex (no rows yet), IndexingError, RecallTooLow.
    """
    space = space or open_space(config)
    source = _Source(config, space)
    parent, fill = _current(source.lake, space.key), filler(config.flow)
    if not source.n_rows:
        raise NoIndex(f"{config.lake!r} has no segments of {config.embed.model!r} yet; run `shotlake backfill` first")
    advice = advise(parent, source.n_rows, source.version, source.section) if parent and action == "update" else None
    if parent and advice and advice.action == "keep":
        return parent
    if parent and advice and advice.action == "update":
        retired = retired_videos(source.lake, space.key).to_pylist()
        change = TableChange(source.n_rows, retired)
        newer = source.rows(newer_units(source.lake, space.key, parent.table_version))
        manifest = update_generation(newer, change, parent, source.target(parent), source.section, fill)
    else:
        queries = text_queries(config, space)
        manifest = build_generation(source.all, source.n_rows, source.target(parent), queries, source.section, fill)
    publish(index_root(source.lake), manifest)
    return manifest


@dataclass(frozen=True)
class TableRows:
    """Rows of the table as the index takes them, from any row on; plain values, so that a worker can read them."""

    segments: SegmentRange
    spaces: tuple[Space, ...]

    def __call__(self, first: int) -> Iterator[pa.RecordBatch]:
        """Batches from row `first` on."""
        known = video_metadata(self.segments.lake)
        for batch in self.segments.read([*_COLUMNS, *_CODECS, *self.spaces], first):
            codec = pc.coalesce(batch.column("video_codec"), batch.column("audio_codec"))
            yield with_metadata(batch.drop_columns(list(_CODECS)).append_column("codec", codec), known)


class _Source:
    """The live rows of one space at the newest version of the table."""

    def __init__(self, config: Config, space: VectorSpace) -> None:
        self.lake, self.space = Lake.open(config.lake), space
        self.version = self.lake.version("segments")
        spaces = tuple(name for name in config.index.spaces if name in space.encoder.spaces)
        self.section = config.index.model_copy(update={"spaces": spaces})
        self.all = self.rows()
        self.n_rows = len(self.all.segments)

    def rows(self, wanted: pc.Expression | None = None) -> TableRows:
        """The live rows; `wanted` leaves out the others."""
        return TableRows(SegmentRange.at(self.lake, self.space.key, self.version, wanted), self.section.spaces)

    def target(self, parent: Manifest | None) -> GenerationTarget:
        """Where the generation goes, and what it is of."""
        return GenerationTarget(
            index_root=index_root(self.lake),
            embed_key=self.space.key,
            fingerprint=self.space.encoder.fingerprint,
            table_uri=self.lake.uri("segments"),
            table_version=self.version,
            parent=parent.generation if parent else None,
            rows_state=stable_id(*(f"{path}:{count}" for path, count in self.all.segments.counts)),
        )


def newer_units(lake: Lake, key: str, version: int) -> pc.Expression:
    """The rows of `segments` that were committed after a version; their runs prune the files that are opened."""
    newer = (pc.field("embed_key") == key) & (pc.field("segments_version") > version) & (pc.field("written") > 0)
    units = lake.read("units", ["unit_id", "run_id"], newer)
    runs, ids = (pc.unique(units[name].combine_chunks()) for name in ("run_id", "unit_id"))
    return pc.field("run_id").isin(runs) & pc.field("unit_id").isin(ids)


def is_behind(config: Config, space: VectorSpace) -> bool:
    """True if the lake has rows and no generation of this space."""
    lake = Lake.open(config.lake)
    return _current(lake, space.key) is None and any(live_segments(lake, space.key, ["segment_id"]))


def text_queries(config: Config, space: VectorSpace) -> TextQueries:
    """Queries that the recall is measured with: the configured file's, else the captions shipped with the encoder."""
    if config.index.query_file:
        source = config.index.query_file
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(
                f"index.query_file is {source!r}: {error.strerror}; give a file of one query a line"
            ) from None
        texts = [line.strip() for line in lines if line.strip()]
    else:
        source, texts = "captions shipped with the encoder", space.encoder.captions()
    if len(texts) > MAX_QUERIES:
        texts = random.Random(0).sample(texts, MAX_QUERIES)
    return TextQueries(source, space.encoder.embed_text(texts) if texts else {})


def published(config: Config) -> list[dict[str, Any]]:
    """What `shotlake index list` prints: one row a generation, the newest pointer last."""
    lake, space = Lake.open(config.lake), open_space(config)
    now = _current(lake, space.key)
    return [
        {
            "generation": manifest.generation,
            "current": "*" if now and manifest.generation == now.generation else "",
            "table_version": manifest.table_version,
            "rows": manifest.table_rows,
            "codec": manifest.plan.codec,
            "shards": len(manifest.shards),
            "spaces": ",".join(manifest.spaces),
        }
        for manifest in list_generations(index_root(lake), space.key)
    ]


def roll_back(config: Config, generation: str) -> None:
    """Make an earlier generation the current one again. Errors: NoIndex if it is not published."""
    lake, space = Lake.open(config.lake), open_space(config)
    rollback(index_root(lake), space.key, generation)


def index_root(lake: Lake) -> str:
    """Where the generations of a lake lie."""
    return storage.join(lake.root, "index")


def _current(lake: Lake, key: str) -> Manifest | None:
    try:
        return current(index_root(lake), key)
    except NoIndex:
        return None
