"""Table version -> published generation: live rows stream into shards, text queries tune them, a pointer is put."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.errors import ConfigError, NoIndex
from shotlake.flow.space import VectorSpace, open_space
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current, list_generations, publish, rollback
from shotlake.table.lake import Lake
from shotlake.table.readers import live_segments

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
)
_CODECS = ("video_codec", "audio_codec")
MAX_QUERIES = 2_000


def build_index(config: Config, space: VectorSpace | None = None) -> Manifest:
    """Build a generation from the newest version of the configured space's rows and publish it.

    Errors: SourceMissing (no lake), NoIndex (no rows yet), IndexingError, RecallTooLow.
    """
    space = space or open_space(config)
    lake = Lake.open(config.lake)
    version = lake.version("segments")
    spaces = [name for name in config.index.spaces if name in space.encoder.spaces]
    n_rows = sum(len(batch) for batch in live_segments(lake, space.key, ["segment_id"], version=version))
    if not n_rows:
        raise NoIndex(f"{config.lake!r} has no segments of {config.embed.model!r} yet; run `shotlake backfill` first")

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in live_segments(lake, space.key, [*_COLUMNS, *_CODECS, *spaces], version=version):
            codec = pc.coalesce(batch.column("video_codec"), batch.column("audio_codec"))
            yield batch.drop_columns(list(_CODECS)).append_column("codec", codec)

    target = GenerationTarget(
        index_root=index_root(lake),
        embed_key=space.key,
        fingerprint=space.encoder.fingerprint,
        table_uri=lake.uri("segments"),
        table_version=version,
        parent=_parent(lake, space.key),
    )
    section = config.index.model_copy(update={"spaces": tuple(spaces)})
    manifest = build_generation(rows, n_rows, target, text_queries(config, space), section)
    publish(target.index_root, manifest)
    return manifest


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
    now = _parent(lake, space.key)
    return [
        {
            "generation": manifest.generation,
            "current": "*" if manifest.generation == now else "",
            "table_version": manifest.table_version,
            "rows": manifest.n_rows,
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


def _parent(lake: Lake, key: str) -> str | None:
    try:
        return current(index_root(lake), key).generation
    except NoIndex:
        return None
