"""A real lake without video: segment k holds the vector of the k-th caption of the shipped encoder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from shotlake.config import Config, EmbedConfig, load_config
from shotlake.demo import demo_config
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.flow.backfill import backfill
from shotlake.index.build import GenerationTarget, TableChange, TextQueries, build_generation, update_generation
from shotlake.index.columns import COLUMNS
from shotlake.index.publish import current, publish
from shotlake.index.rows import skip_rows
from shotlake.records import embed_key, segment_id, stable_id
from shotlake.table.lake import Lake
from shotlake.table.schemas import SEGMENTS, TABLES

AT = datetime(2026, 3, 1, tzinfo=UTC)
CELLS = 10  # segments a video


class CaptionLake:
    """A lake of captions; `grow` adds rows and publishes a generation that holds them."""

    def __init__(self, root: str, encoder: Encoder, *sets: str) -> None:
        self.config = load_config(sets=[f"lake={root}", "index.target_recall=0.5", *sets], environ={})
        self.encoder, self.captions = encoder, encoder.captions()
        self.key = embed_key(encoder.fingerprint, encoder.clip_spec, "grid", "exact")
        self.lake = Lake.create_or_open(root)

    def grow(self, first: int, n: int) -> str:
        """Add the captions [first, first + n) and give the new generation's name."""
        version = self.lake.append("segments", self._rows(range(first, first + n)))
        root = f"{self.lake.root}/index"
        queries = TextQueries("captions", self.encoder.embed_text(self.captions))
        target = GenerationTarget(root, self.key, self.encoder.fingerprint, self.lake.uri("segments"), version)
        manifest = build_generation(self._batches, first + n, target, queries, self.config.index)
        publish(root, manifest)
        return manifest.generation

    def update(self, first: int, n: int, retired: str) -> str:
        """Add the captions [first, first + n) in a shard beside those of before, of which a video is retired."""
        rows = self._rows(range(first, first + n))
        version = self.lake.append("segments", rows)
        root = f"{self.lake.root}/index"
        target = GenerationTarget(root, self.key, self.encoder.fingerprint, self.lake.uri("segments"), version)
        change = TableChange(first + n - CELLS, [_video_id(retired)])
        added = rows.rename_columns(["codec" if name == "video_codec" else name for name in rows.column_names])
        manifest = update_generation(
            lambda skipped: skip_rows(added.to_batches(), skipped), change, current(root, self.key), target,
            self.config.index,
        )  # fmt: skip
        publish(root, manifest)
        return manifest.generation

    def retire(self, uri: str) -> None:
        """Retire the video of that name, as `erase` does first."""
        columns = {"video_id": _video_id(uri), "embed_key": self.key, "reason": "erased"}
        self.lake.append("retired", pa.Table.from_pylist([columns], TABLES["retired"]))

    def _batches(self, first: int) -> Iterator[pa.RecordBatch]:
        return skip_rows(self._every_batch(), first)

    def _every_batch(self) -> Iterator[pa.RecordBatch]:
        names = [name for name in COLUMNS.names if name not in ("codec", "metadata")]
        for batch in self.lake.batches("segments", [*names, "video_codec", "fused", "visual"]):
            yield batch.rename_columns([*names, "codec", "fused", "visual"])

    def _rows(self, numbers: range) -> pa.Table:
        vectors = self.encoder.embed_text([self.captions[k] for k in numbers])
        uris = [f"/archive/{k // CELLS:03d}.mp4" for k in numbers]
        videos = [_video_id(uri) for uri in uris]
        columns = {
            "segment_id": [segment_id(video, k % CELLS, self.key) for video, k in zip(videos, numbers)],
            "video_id": videos,
            "unit_id": videos,
            "cell": [k % CELLS for k in numbers],
            "uri": uris,
            "start_us": [k % CELLS * 2_000_000 for k in numbers],
            "end_us": [k % CELLS * 2_000_000 + 2_000_000 for k in numbers],
            "duration_us": [CELLS * 2_000_000] * len(numbers),
            "recorded_at": [AT] * len(numbers),
            "fused": list(vectors["fused"]),
            "visual": list(vectors["visual"]),
            "run_id": ["r1"] * len(numbers),
            "embed_key": [self.key] * len(numbers),
            "collection": ["archive"] * len(numbers),
        }
        nulls = [None] * len(numbers)
        return pa.table({f.name: pa.array(columns.get(f.name, nulls), f.type) for f in SEGMENTS}, schema=SEGMENTS)


def _video_id(uri: str) -> str:
    return stable_id("video", uri)


@pytest.fixture(autouse=True)
def captions_are_embedded_once(embeds_once: None) -> None:
    """In every test of this folder."""


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder(EmbedConfig())


@pytest.fixture(scope="session")
def make_caption_lake(encoder):
    """`make(root, *sets)`: an empty one with another configuration."""
    return lambda root, *sets: CaptionLake(str(root), encoder, *sets)


@pytest.fixture
def caption_lake(tmp_path, encoder) -> CaptionLake:
    """An empty one."""
    return CaptionLake(str(tmp_path / "lake"), encoder)


@pytest.fixture(scope="module")
def full_lake(tmp_path_factory, encoder) -> CaptionLake:
    """One with 60 captions, for tests that only read."""
    lake = CaptionLake(str(tmp_path_factory.mktemp("lake")), encoder)
    lake.grow(0, 60)
    return lake


@pytest.fixture(scope="session")
def sharded_config(demo_archive, tmp_path_factory) -> Config:
    """A lake of the painted archive with a segment a second, so that its rows can train IVF-PQ; several shards."""
    sets = (
        "flow.engine=local",
        "decode.isolate=false",
        "embed.stride_s=1",
        "index.exact_below=0",
        "index.rows_per_shard=100",
    )
    config = demo_config(tmp_path_factory.mktemp("sharded") / "lake", (*sets, "index.target_recall=0.9"))
    report = backfill([str(demo_archive[0])], config, lambda *_: None)
    assert report.generation, report.message
    return config
