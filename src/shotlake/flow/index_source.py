"""What an index is made of: the live rows of a space, and the text queries that its recall is measured with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config, IndexConfig
from shotlake.errors import ConfigError, NoIndex
from shotlake.flow.space import VectorSpace
from shotlake.index.build import GenerationTarget, TextQueries
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current
from shotlake.records import Space, stable_id
from shotlake.table.lake import Lake
from shotlake.table.outcomes import complete_commits
from shotlake.table.ranges import SegmentRange
from shotlake.table.readers import erased_videos, retired_videos, video_metadata, with_metadata

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


class IndexSource:
    """The live rows of one space at the newest version of the table. Errors: SourceMissing, NoIndex (no rows yet).

    What is retired and erased is read once, so that counts and rows agree.
    """

    def __init__(self, config: Config, space: VectorSpace) -> None:
        self.config, self.lake, self.space = config, Lake.open(config.lake), space
        self.erased = erased_videos(self.lake)
        self.version = self.lake.version("segments")
        self.retired = retired_videos(self.lake, space.key)
        self.section = index_section(config, space)
        self.all = self.rows()
        self.n_rows = len(self.all.segments)
        if not self.n_rows:
            raise NoIndex(
                f"{config.lake!r} has no segments of {config.embed.model!r} yet; run `shotlake backfill` first"
            )

    @classmethod
    def settled(cls, config: Config, space: VectorSpace) -> IndexSource:
        """The same, and every commit up to its version has its units, by which newer rows are told; a run beside it
        may be between the two.
        """
        source = cls(config, space)
        complete_commits(source.lake)
        return source

    def rows(self, wanted: pc.Expression | None = None) -> TableRows:
        """The live rows; `wanted` leaves out the others."""
        segments = SegmentRange.at(self.lake, self.space.key, self.version, wanted, self.retired)
        return TableRows(segments, self.section.spaces)

    def is_outdated(self) -> bool:
        """Whether the table has another version since this was opened, or videos were erased: files may be gone."""
        return self.lake.version("segments") != self.version or self.erased_meanwhile()

    def erased_meanwhile(self) -> bool:
        """Whether videos were erased since this was opened: their rows may be among those that were read."""
        return set(erased_videos(self.lake).to_pylist()) != set(self.erased.to_pylist())

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
            mark=erasure_mark(self.erased),
        )


def erasure_mark(erased: pa.Array) -> str:
    """A short name of a set of erased videos; "" of none."""
    return stable_id(*sorted(erased.to_pylist()))[:16] if len(erased) else ""


def newer_units(lake: Lake, key: str, version: int) -> pc.Expression:
    """The rows of `segments` that were committed after a version; their runs prune the files that are opened."""
    newer = (pc.field("embed_key") == key) & (pc.field("segments_version") > version) & (pc.field("written") > 0)
    units = lake.read("units", ["unit_id", "run_id"], newer)
    runs, ids = (pc.unique(units[name].combine_chunks()) for name in ("run_id", "unit_id"))
    return pc.field("run_id").isin(runs) & pc.field("unit_id").isin(ids)


def text_queries(config: Config, space: VectorSpace) -> TextQueries:
    """Queries that the recall is measured with, embedded."""
    source, texts = query_texts(config, space)
    return TextQueries(source, space.encoder.embed_text(texts) if texts else {})


def query_texts(config: Config, space: VectorSpace) -> tuple[str, list[str]]:
    """Where the texts are from, and the texts: the configured file's, else the captions shipped with the encoder."""
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
    return source, texts


def index_section(config: Config, space: VectorSpace) -> IndexConfig:
    """`index` with the spaces that the encoder has."""
    spaces = tuple(name for name in config.index.spaces if name in space.encoder.spaces)
    return config.index.model_copy(update={"spaces": spaces})


def index_root(lake: Lake) -> str:
    """Where the generations of a lake lie."""
    return storage.join(lake.root, "index")


def current_generation(lake: Lake, key: str) -> Manifest | None:
    """That of a space, if one is published. Errors: CorruptGeneration, LakeFormat."""
    try:
        return current(index_root(lake), key)
    except NoIndex:
        return None
