"""A small lake of seeded vectors, and an encoder whose texts name the segments that they should find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from shotlake.config import Config, IndexConfig, QueryConfig
from shotlake.errors import QueryError
from shotlake.index.build import GenerationTarget, TextQueries, build_generation
from shotlake.index.manifest import Manifest
from shotlake.index.publish import publish
from shotlake.index.rows import skip_rows
from shotlake.query.fresh import SOURCE_COLUMNS
from shotlake.records import ClipBatch, ClipSpec, Fingerprint, QueryVectors, Space, VectorBatch, stable_id
from shotlake.table.lake import Lake
from shotlake.table.schemas import TABLES

KEY = "toykey"
DIM = 32
SEGMENTS_PER_VIDEO = 10
CONFIG = Config(index=IndexConfig(min_queries=50), query=QueryConfig(candidates=50))


def unit_vectors(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


WORLD = unit_vectors(10_000, seed=5)  # the vector of segment number k is WORLD[k]


class ToyEncoder:
    """Knows texts such as "segment 17": the vector of that segment, in both spaces."""

    clip_spec = ClipSpec(2_000_000, 2_000_000, 2, 8, 8, 8_000)
    spaces: tuple[Space, ...] = ("fused", "visual")
    dim = DIM

    def __init__(self, revision: str = "1") -> None:
        self.fingerprint = Fingerprint("toy", revision, "w", "p")

    def embed_clips(self, batch: ClipBatch) -> VectorBatch:
        raise AssertionError("no test here embeds a clip")

    def embed_text(self, texts: list[str]) -> QueryVectors:
        unknown = [text for text in texts if not text.startswith("segment ")]
        if unknown:
            raise QueryError(f"no word of {unknown} is known; the model knows 'segment <number>'")
        fused = np.stack([WORLD[int(text.removeprefix("segment "))] for text in texts])
        return {"fused": fused, "visual": np.ascontiguousarray(fused[:, ::-1])}

    @property
    def match_score(self) -> float | None:
        return None

    def captions(self) -> list[str]:
        return [f"segment {k}" for k in range(0, 300, 3)]


def _table(name: str, columns: dict[str, object], n: int) -> pa.Table:
    """Rows of a lake table; what is not given is null."""
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in TABLES[name]]
    return pa.Table.from_arrays(arrays, schema=TABLES[name])


def add_rows(lake: Lake, first: int, n: int, run: str = "run-1", dim: int = DIM, key: str = KEY) -> int:
    """Append segments `first...` of 2 s and their units, a video of ten segments each; gives the table version.

    `dim`: so much of their vectors.
    """
    number = np.arange(first, first + n)
    video = number // SEGMENTS_PER_VIDEO
    half = WORLD[number, :dim].astype(np.float16).astype(np.float32)
    start_us = (number % SEGMENTS_PER_VIDEO) * 2_000_000
    rows = {
        "segment_id": [stable_id(int(k)) for k in number],
        "video_id": [f"video-{v}" for v in video],
        "unit_id": [f"unit-{v}" for v in video],
        "uri": [f"/archive/{v}.mp4" for v in video],
        "start_us": start_us,
        "end_us": start_us + 2_000_000,
        "duration_us": [20_000_000] * n,
        "has_audio": [True] * n,
        "video_codec": ["h264" if k % 5 < 4 else None for k in number],
        "audio_codec": ["aac"] * n,
        "fused": list(half),
        "visual": [row if k % 5 < 4 else None for k, row in zip(number, half[:, ::-1])],
        "run_id": [run] * n,
        "embed_key": [key] * n,
        "collection": ["even" if v % 2 == 0 else "odd" for v in video],
    }
    version = lake.append("segments", _table("segments", rows, n))
    videos, written = np.unique(video, return_counts=True)
    units = {
        "unit_id": [f"unit-{v}" for v in videos],
        "video_id": [f"video-{v}" for v in videos],
        "written": written,
        "segments_version": [version] * len(videos),
        "run_id": [run] * len(videos),
        "embed_key": [key] * len(videos),
    }
    lake.append("units", _table("units", units, len(videos)))
    return version


def retire(lake: Lake, video: int) -> None:
    row = {"video_id": [f"video-{video}"], "embed_key": [KEY], "reason": ["erased"]}
    lake.append("retired", _table("retired", row, 1))


def index_lake(lake: Lake, config: IndexConfig = CONFIG.index) -> Manifest:
    """Build and publish a generation of everything that is in `segments`."""
    encoder, version = ToyEncoder(), lake.version("segments")
    columns = [*SOURCE_COLUMNS, "fused", "visual"]
    target = GenerationTarget(f"{lake.root}/index", KEY, encoder.fingerprint, lake.uri("segments"), version)
    queries = TextQueries("toy captions", encoder.embed_text(encoder.captions()))
    n_rows = lake.read("segments", ["segment_id"]).num_rows

    def rows(first: int) -> Iterator[pa.RecordBatch]:
        return skip_rows(lake.batches("segments", columns), first)

    manifest = build_generation(rows, n_rows, target, queries, config)
    publish(target.index_root, manifest)
    return manifest


def make_lake(root: Path | str, n: int = 300) -> Lake:
    """A lake below `root`, a folder or an s3:// prefix, with the first `n` segments of the world."""
    lake = Lake.create_or_open(f"{root}/lake")
    add_rows(lake, 0, n)
    return lake
