"""A picture, a sound or a clip as a query: decoded as an archive is, in a child process, and embedded by its model.

What of a file counts is said by its kind: of an image and of an audio query the other modality is left out. A long file
counts by its first MAX_CELLS segments, whose vectors are joined by their durations.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from shotlake import storage
from shotlake.config import DecodeConfig
from shotlake.decode.decoder import ClipDecoder
from shotlake.decode.prober import VideoProber
from shotlake.embed.encoder import Encoder
from shotlake.embed.pooling import pool
from shotlake.errors import MediaError, QueryError, StoreError
from shotlake.query.request import Term
from shotlake.records import SPACES, ClipBatch, UnitOutcome, Video, WorkUnit, cell_count, stable_id
from shotlake.serve.live import LiveIndex

FileKind = Literal["image", "audio", "clip"]
MAX_CELLS = 32


class FileReader:
    """Makes terms of files, one at a time; any thread may ask. Its children start with the first file."""

    def __init__(self, encoder: Encoder, config: DecodeConfig) -> None:
        config = config.model_copy(update={"pictures": True, "policy": "reference", "snap_to_shots": False})
        self._encoder, self._spec = encoder, encoder.clip_spec
        self._prober, self._decoder = VideoProber(config), ClipDecoder(encoder.clip_spec, config)
        self._one_at_a_time = threading.Lock()

    def close(self) -> None:
        """End the children."""
        self._prober.close()
        self._decoder.close()

    def read(self, path: Path, kind: FileKind, weight: float = 1.0) -> Term:
        """The file as a term of a query. Errors: QueryError saying why it is none."""
        try:
            found = storage.stat(str(path))
        except StoreError as error:
            raise QueryError(f"--{kind} {str(path)!r}: {error.message}") from None
        video = Video(found.uri, found.etag, found.size_bytes, found.modified_at, "query")
        with self._one_at_a_time:
            batches = self._decode(video, kind)
            vectors = [self._encoder.embed_clips(_only(kind, batch)) for batch in batches]
        durations = np.concatenate([batch["end_us"] - batch["start_us"] for batch in batches])
        joined = {}
        for space in SPACES:
            rows = np.concatenate([batch[space] for batch in vectors])
            there = rows.any(axis=1)
            vector = pool(rows[there], durations[there])
            if vector is not None:
                joined[space] = vector
        if not joined:
            raise QueryError(f"the {kind} query has no {'sound' if kind == 'audio' else 'picture'}; give another file")
        name = stable_id(kind, *(vector.tobytes().hex() for vector in joined.values()))
        return Term("file", f"{kind} {name}", weight, joined)

    def read_bytes(self, content: bytes, kind: FileKind, weight: float = 1.0) -> Term:
        """The same of a file's content."""
        with tempfile.NamedTemporaryFile(prefix="shotlake-query-") as file:
            file.write(content)
            file.flush()
            return self.read(Path(file.name), kind, weight)

    def _decode(self, video: Video, kind: FileKind) -> list[ClipBatch]:
        try:
            media = self._prober(video)
        except MediaError as error:
            raise QueryError(f"the {kind} query cannot be read: {error.message}") from None
        cells = min(MAX_CELLS, max(1, cell_count(media.duration_us, self._spec)))
        unit = WorkUnit(video, "query", 0, 1 if kind == "image" else cells)
        batches: list[ClipBatch] = []
        for item in self._decoder([unit]):
            if not isinstance(item, UnitOutcome):
                batches.append(item)
            elif item.status == "failed" or not batches:
                raise QueryError(f"the {kind} query cannot be read: {item.message or 'it holds nothing'}")
        return batches


class UploadReader:
    """Reads files for the model that answers now: made with the first one, and again when another model answers."""

    def __init__(self, live: LiveIndex) -> None:
        self._live, self._lock = live, threading.Lock()
        self._reader: tuple[Encoder, FileReader] | None = None

    def term(self, content: bytes, kind: FileKind, weight: float) -> Term:
        """As `FileReader.read_bytes`."""
        opened = self._live.current()
        with self._lock:
            if not self._reader or self._reader[0] is not opened.encoder:
                self._reader = opened.encoder, FileReader(opened.encoder, opened.config.decode)
            reader = self._reader[1]
        return reader.read_bytes(content, kind, weight)


def read_files(files: Mapping[FileKind, Path], encoder: Encoder, config: DecodeConfig) -> list[Term]:
    """The terms of these files, each of weight 1. Errors: QueryError."""
    if not files:
        return []
    reader = FileReader(encoder, config)
    try:
        return [reader.read(path, kind) for kind, path in files.items()]
    finally:
        reader.close()


def _only(kind: FileKind, batch: ClipBatch) -> ClipBatch:
    """The clips without what does not count."""
    if kind == "image":
        return {
            **batch,
            "waveform": np.zeros_like(batch["waveform"]),
            "sample_mask": np.zeros_like(batch["sample_mask"]),
        }
    if kind == "audio":
        return {**batch, "frames": np.zeros_like(batch["frames"]), "frame_mask": np.zeros_like(batch["frame_mask"])}
    return batch
