"""The steps of the job as callables: probe, decode, embed, write; the same ones run in plain Python and in Ray.

A batch is a dict of equally long arrays. Behind the last clip of every unit follows one closing row, with an empty
`segment_id` and the unit's outcome, so that a unit without a single clip is heard of as well.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import shotlake
from shotlake import storage
from shotlake.catalog.subtitles import read_subtitles
from shotlake.config import DecodeConfig, EmbedConfig
from shotlake.decode.decoder import ClipDecoder, decoder_versions
from shotlake.decode.prober import VideoProber
from shotlake.errors import BadClip, BadModel, ErasedContent, ModelChanged, NonFiniteVector, Policy, ShotlakeError
from shotlake.records import (
    SPACES,
    ClipBatch,
    ClipSpec,
    Fingerprint,
    MediaInfo,
    UnitOutcome,
    Usage,
    Video,
    WorkUnit,
    media_from_json,
    media_to_json,
    work_unit_from_json,
    work_unit_to_json,
)
from shotlake.report.meter import Meter
from shotlake.table.files import write_segments
from shotlake.table.schemas import SEGMENTS
from shotlake.table.tombstones import NOTHING, Signs

if TYPE_CHECKING:  # torch is imported where clips are embedded: decoders and writers start without it
    from shotlake.embed.encoder import Encoder

Batch = dict[str, NDArray[Any]]


def unit_batch(units: list[WorkUnit], media: dict[str, MediaInfo]) -> dict[str, list[str]]:
    """A block of units as the columns that flow to a decoder; `media` by video_id."""
    return {
        "unit": [work_unit_to_json(unit) for unit in units],
        "media": [media_to_json(media[unit.video.video_id]) for unit in units],
    }


@dataclass(frozen=True, slots=True)
class Probed:
    """What one container says of itself, or why it cannot be opened."""

    media: MediaInfo
    code: str
    message: str
    content_sha256: str  # "" unless the object was read as a whole
    usage: Usage

    @classmethod
    def of(cls, row: dict[str, Any]) -> Probed:
        """One row of `probe_batch`."""
        media, usage = media_from_json(str(row["media"])), Usage(**json.loads(row["usage"]))
        return cls(media, str(row["code"]), str(row["message"]), str(row["content_sha256"]), usage)


def probe_batch(batch: Batch, config: DecodeConfig, signs: Signs = NOTHING) -> Batch:
    """unit [B] JSON, one a video -> unit, media, code, message, content_sha256, usage [B]."""
    with VideoProber(config) as prober:
        rows = [(str(text), *_probe_one(work_unit_from_json(str(text)), prober, signs)) for text in batch["unit"]]
    names = ("unit", "media", "code", "message", "content_sha256", "usage")
    return {name: np.array(values, dtype=object) for name, values in zip(names, zip(*rows))}


def probed_rows(batch: Batch) -> Iterator[Probed]:
    """The rows of a probed batch."""
    for values in zip(*batch.values()):
        yield Probed.of(dict(zip(batch, values)))


def _probe_one(unit: WorkUnit, prober: VideoProber, signs: Signs) -> tuple[str, str, str, str, str]:
    media, code, message, content = MediaInfo(), "", "", ""
    meter = Meter("thread")
    with meter:
        try:
            content = erased_content(unit.video, signs)
            if content:
                raise ErasedContent("an object of this content was erased; `shotlake unerase` takes its uri")
            media = prober(unit.video)
        except ShotlakeError as error:
            if error.policy is Policy.ABORT:
                raise
            code, message = error.code, error.message
    return media_to_json(media), code, message, content, json.dumps(asdict(meter.usage + prober.usage))


def erased_content(video: Video, signs: Signs) -> str:
    """The hash of an object's content if that was erased, under whatever name; "" if it was not.

    Only an object of the same size is read for it.
    """
    if not signs.may_be_erased(video.size_bytes):
        return ""
    with storage.open_object(video.uri, video.etag, video.size_bytes) as reader:
        while reader.read(storage.BLOCK_BYTES):
            pass
        content = reader.content_sha256 or ""
        return content if signs.is_erased_content(content) else ""


class DecodeUnits:
    """unit, media [U] -> clips, at most `clips_per_batch` together, then a closing row a unit."""

    def __init__(self, clip_spec: ClipSpec, config: DecodeConfig, subtitles: Sequence[str] = ()) -> None:
        self.clip_spec, self.suffixes = clip_spec, subtitles
        self.decoder = ClipDecoder(clip_spec, config)

    def close(self) -> None:
        """End the decoder's child process; an actor's ends with the actor."""
        self.decoder.close()

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        units = [work_unit_from_json(str(text)) for text in batch["unit"]]
        texts = {unit.unit_id: (str(u), str(m)) for unit, u, m in zip(units, batch["unit"], batch["media"])}
        waiting = iter(units)
        current = next(waiting, None)
        words = lru_cache(1)(lambda uri: read_subtitles(uri, self.suffixes))  # units of a video follow each other
        for found in self.decoder(units):
            if isinstance(found, UnitOutcome):
                yield _closing_row(found, *texts[found.unit.unit_id], self.clip_spec)
                current = next(waiting, None)
            elif current is not None:
                rows = _clip_rows(found, *texts[current.unit_id])
                spoken = map(words(current.video.uri).between, found["start_us"].tolist(), found["end_us"].tolist())
                yield rows | {"text": np.array(list(spoken), dtype=object)}


def _clip_rows(clips: ClipBatch, unit: str, media: str) -> Batch:
    rows = len(clips["segment_id"])
    same = {"unit": unit, "media": media, "outcome": "", "text": ""}
    columns: Batch = {name: np.full(rows, text, dtype=object) for name, text in same.items()}
    columns["decoded_at_us"] = np.full(rows, _now_us(), dtype=np.int64)
    return columns | {name: array for name, array in clips.items() if isinstance(array, np.ndarray)}


def _closing_row(outcome: UnitOutcome, unit: str, media: str, spec: ClipSpec) -> Batch:
    shape = (1, spec.n_frames, spec.height_px, spec.width_px, 3)
    empty = ClipBatch(
        segment_id=np.array([""], dtype=object),
        cell=np.full(1, -1, dtype=np.int64),
        start_us=np.zeros(1, dtype=np.int64),
        end_us=np.zeros(1, dtype=np.int64),
        frames=np.zeros(shape, dtype=np.uint8),
        frame_mask=np.zeros((1, spec.n_frames), dtype=bool),
        frame_us=np.full((1, spec.n_frames), -1, dtype=np.int64),
        waveform=np.zeros((1, spec.n_samples), dtype=np.float32),
        sample_mask=np.zeros((1, spec.n_samples), dtype=bool),
    )
    row = _clip_rows(empty, unit, media)
    row["outcome"] = np.array([outcome.to_json()], dtype=object)
    return row


class EmbedClips:
    """Clips [B] -> their vectors [B, D] a space; frames and sound end here, closing rows pass."""

    def __init__(self, config: EmbedConfig, gpus: float, expected: Fingerprint) -> None:
        """`expected`: the encoder that the run began with; an actor that loads another refuses its first batch.

        Not in its constructor: of what is raised there Ray keeps the text only.
        """
        from shotlake.embed.load import load_encoder

        self.gpus = gpus
        self._refusal = ""
        try:
            self.encoder: Encoder = load_encoder(config, "cuda" if gpus else "cpu")
            self._refusal = _difference(self.encoder.fingerprint, expected)
        except BadModel as error:
            self._refusal = error.message

    def __call__(self, batch: Batch) -> Batch:
        """Errors: ModelChanged."""
        from shotlake.embed.refuse import embed_or_refuse

        if self._refusal:
            raise ModelChanged(
                f"{socket.gethostname()} does not load the encoder that the run began with ({self._refusal}); it wrote "
                "nothing. Put the same model files on every machine, leave them alone while a run is on, and run again"
            )

        clips = np.asarray(batch["segment_id"] != "")
        kept = ClipBatch(**{name: batch[name][clips] for name in ClipBatch.__annotations__})  # type: ignore[typeddict-item]
        with Meter(gpus=self.gpus) as meter:
            vectors = embed_or_refuse(self.encoder, kept)
        columns = {name: batch[name] for name in ("unit", "media", "outcome", "text", "decoded_at_us")}
        columns |= {name: batch[name] for name in ("segment_id", "cell", "start_us", "end_us")}
        columns["n_frames"] = batch["frame_mask"].sum(axis=1).astype(np.int32)
        columns["has_audio"] = np.asarray(batch["sample_mask"].any(axis=1))
        columns["embedded_at_us"] = np.full(len(clips), _now_us(), dtype=np.int64)
        share = np.zeros((len(clips), 3), dtype=np.float64)
        share[clips] = np.array([meter.usage.cpu_s, meter.usage.gpu_s, meter.usage.wall_s]) / max(1, clips.sum())
        columns["embed_usage"] = share
        for space in SPACES:
            for name, array in ((space, vectors[space]), (f"{space}_norm", vectors[f"{space}_norm"])):  # type: ignore[literal-required]
                columns[name] = _scatter(array, clips)
        return columns


def _difference(found: Fingerprint, expected: Fingerprint) -> str:
    """What of a fingerprint is not as expected; empty if all is."""
    pairs = [(f.name, getattr(found, f.name), getattr(expected, f.name)) for f in fields(Fingerprint)]
    return ", ".join(f"{name} {mine[:12]!r}, not {its[:12]!r}" for name, mine, its in pairs if mine != its)


def _scatter(array: NDArray[np.float32], rows: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Put the rows of `array` where `rows` is true, zeros elsewhere."""
    full = np.zeros((len(rows), *array.shape[1:]), dtype=np.float32)
    full[rows] = array
    return full


class WriteVectors:
    """Vectors [B, D] -> one `report` row: the data files written, outcomes passed on, clips without a vector."""

    def __init__(self, lake_root: str, run_id: str, provenance: dict[str, str]) -> None:
        self.lake_root, self.run_id, self.provenance = lake_root, run_id, provenance

    def __call__(self, batch: Batch) -> Batch:
        clips = np.asarray(batch["segment_id"] != "")
        norm = batch["fused_norm"]
        finite = np.isfinite(norm) & np.isfinite(batch["fused"]).all(axis=1)
        good = clips & finite & (norm > 0)
        with Meter() as meter:
            files = write_segments(self.lake_root, self.run_id, self._rows(batch, good)) if good.any() else []
        lost = [
            [work_unit_from_json(str(batch["unit"][i])).unit_id, int(batch["cell"][i]), _lost_code(bool(finite[i]))]
            for i in np.flatnonzero(clips & ~good)
        ]
        cpu_s, gpu_s, wall_s = batch["embed_usage"].sum(axis=0)
        report = {
            "files": [file.to_json() for file in files],
            "outcomes": [str(text) for text in batch["outcome"] if text],
            "lost": lost,
            "embed": asdict(Usage(cpu_s, gpu_s, wall_s)),
            "write": asdict(meter.usage),
        }
        return {"report": np.array([json.dumps(report)], dtype=object)}

    def _rows(self, batch: Batch, good: NDArray[np.bool_]) -> pa.Table:
        units = [work_unit_from_json(str(text)) for text in batch["unit"][good]]
        media = [media_from_json(str(text)) for text in batch["media"][good]]
        columns: dict[str, Any] = {
            "segment_id": batch["segment_id"][good],
            "video_id": [u.video.video_id for u in units],
            "unit_id": [u.unit_id for u in units],
            "embed_key": [u.embed_key for u in units],
            "collection": [u.video.collection for u in units],
            "uri": [u.video.uri for u in units],
            "etag": [u.video.etag for u in units],
            "version_id": [u.video.version_id for u in units],
            "recorded_at": [u.video.recorded_at or m.recorded_at for u, m in zip(units, media)],
            "container": [m.container for m in media],
            "video_codec": [m.video_codec for m in media],
            "audio_codec": [m.audio_codec for m in media],
            "duration_us": [m.duration_us for m in media],
            "text": [text or None for text in batch["text"][good]],
            "decoded_at": pa.array(batch["decoded_at_us"][good], pa.timestamp("us", "UTC")),
            "embedded_at": pa.array(batch["embedded_at_us"][good], pa.timestamp("us", "UTC")),
        }
        for name in ("cell", "start_us", "end_us", "n_frames", "has_audio"):
            columns[name] = batch[name][good]
        for space in SPACES:
            columns[space] = _vector_column(batch[space][good], batch[f"{space}_norm"][good])
            columns[f"{space}_norm"] = batch[f"{space}_norm"][good]
        same = {**self.provenance, "run_id": self.run_id}
        columns |= {name: [value] * len(units) for name, value in same.items()}
        return pa.table({f.name: pa.array(columns[f.name], f.type) for f in SEGMENTS}, schema=SEGMENTS)


def provenance(encoder: Encoder, device: str) -> dict[str, str]:
    """The columns of `segments` that are the same for every row of a run."""
    from shotlake.embed.encoder import dtype_name

    f = encoder.fingerprint
    return {
        "model_id": f.model_id,
        "model_revision": f.revision,
        "weights_sha256": f.weights_sha256,
        "preprocess_sha256": f.preprocess_sha256,
        "decoder": decoder_versions(),
        "dtype": dtype_name(encoder, device),
        "device": device,
        "code_version": shotlake.__version__,
    }


def _lost_code(finite: bool) -> str:
    return BadClip.code if finite else NonFiniteVector.code


def _vector_column(vectors: NDArray[np.float32], norm: NDArray[np.float32]) -> pa.Array:
    """list<float32> with null where the segment has no vector in this space."""
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)), mask=pa.array(norm == 0))


def _now_us() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)
