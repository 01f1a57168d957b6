"""Records that cross a room's border, and the ids that name them.

A batch is a TypedDict of arrays with one row a segment; a single thing is a frozen dataclass. Times are integer
microseconds of the video's own clock, zero at the earlier of its two streams' starts; ranges are half-open.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

Space = Literal["fused", "visual", "audio"]
SPACES: tuple[Space, ...] = ("fused", "visual", "audio")


def stable_id(*parts: str | int) -> str:
    """blake2b-128 hex of the parts, each length-prefixed, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Video:
    """A source object as it was listed. `video_id` names its content: uri, etag and size."""

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime
    collection: str
    version_id: str | None = None
    recorded_at: datetime | None = None
    recorded_from: Literal["", "name", "table"] = ""  # who says so; "" where it is left to the container
    recorded_zone: str = ""  # the time zone in which it was said
    metadata: tuple[tuple[str, str], ...] = ()  # what `catalog.metadata` says besides: column and text

    @property
    def video_id(self) -> str:
        """Hash of (uri, etag, size_bytes)."""
        return stable_id(self.uri, self.etag, self.size_bytes)


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """What an encoder wants to see and hear of one segment.

    `uniform`: `n_frames` frames at (k + 0.5) * (end - start) / n_frames after the start, nearest PTS.
    `fps`: frames at (k + 0.5) / fps after the start, at most `n_frames`.
    Frames are `height_px` x `width_px`; the waveform is mono float32 at `sample_rate_hz`.
    """

    window_us: int
    stride_us: int
    n_frames: int
    width_px: int
    height_px: int
    sample_rate_hz: int
    sampling: Literal["uniform", "fps"] = "uniform"
    fps: float = 0.0
    resize: Literal["squash", "pad", "crop"] = "squash"
    channels: int = 1

    @property
    def n_samples(self) -> int:
        """Length of the waveform of one whole window."""
        return round(self.window_us * self.sample_rate_hz / 1_000_000)

    def key(self) -> str:
        """Canonical JSON, part of `embed_key`."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies an encoder: two equal fingerprints give equal vectors for equal clips."""

    model_id: str
    revision: str
    weights_sha256: str
    preprocess_sha256: str


def embed_key(fingerprint: Fingerprint, clip_spec: ClipSpec, segmenter: str, policy: str) -> str:
    """The id of a vector space as it is written: model, weights, preprocessing, grid, segmenter and sampling policy."""
    f = fingerprint
    parts = (f.model_id, f.revision, f.weights_sha256, f.preprocess_sha256)
    return stable_id(*parts, clip_spec.key(), segmenter, policy)


def segment_id(video_id: str, cell: int, key: str) -> str:
    """The id of one segment: the video's content, the grid cell and the space."""
    return stable_id(video_id, cell, key)


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """A range of grid cells of one video: what is planned, retried and committed as a whole.

    `n_cells` is 0 where the duration is unknown or absurd: then the unit is all that the decoder finds.
    """

    video: Video
    embed_key: str
    first_cell: int
    n_cells: int
    attempt: int = 1

    @property
    def unit_id(self) -> str:
        """Hash of (video_id, embed_key, first_cell, n_cells)."""
        return stable_id(self.video.video_id, self.embed_key, self.first_cell, self.n_cells)


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a container says of itself, and which streams were chosen; pixels after rotation and aspect."""

    container: str = ""
    duration_us: int = 0
    video_codec: str | None = None
    audio_codec: str | None = None
    width_px: int = 0
    height_px: int = 0
    fps: float = 0.0
    sample_rate_hz: int = 0
    audio_channels: int = 0
    rotation_deg: int = 0
    hdr: bool = False
    recorded_at: datetime | None = None

    @property
    def has_video(self) -> bool:
        """True if a picture stream was chosen."""
        return self.video_codec is not None

    @property
    def has_audio(self) -> bool:
        """True if a sound stream was chosen."""
        return self.audio_codec is not None


@dataclass(frozen=True, slots=True)
class LostRange:
    """Cells of a unit that got no vector, and why."""

    first_cell: int
    n_cells: int
    code: str


UnitStatus = Literal["ok", "partial", "failed"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that were measured where the work was done."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    wall_s: float = 0.0
    bytes_read: int = 0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_s + other.cpu_s,
            self.gpu_s + other.gpu_s,
            self.wall_s + other.wall_s,
            self.bytes_read + other.bytes_read,
            self.requests + other.requests,
        )

    def scaled(self, factor: float) -> Usage:
        """So many times as much."""
        return Usage(
            self.cpu_s * factor,
            self.gpu_s * factor,
            self.wall_s * factor,
            round(self.bytes_read * factor),
            round(self.requests * factor),
        )


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """How one work unit ended. `planned = written + sum of lost.n_cells` always holds.

    `planned` is the number of cells known at probe time, or what was covered where the duration is unknown.
    `code` is "" for ok; for partial and failed the stable code of the worst thing that happened.
    """

    unit: WorkUnit
    status: UnitStatus
    planned: int
    written: int
    lost: tuple[LostRange, ...] = ()
    code: str = ""
    message: str = ""
    retryable: bool = False
    media: MediaInfo = field(default_factory=MediaInfo)
    covered_us: int = 0
    declared_us: int = 0
    corrupt_frames: int = 0
    packet_errors: int = 0
    salvaged_until_us: int | None = None
    content_sha256: str | None = None
    device: Literal["", "cpu", "nvdec"] = ""  # what decoded its pictures
    usage: Usage = field(default_factory=Usage)

    def to_json(self) -> str:
        """One line of JSON, as it travels between processes and rests beside a commit."""
        return json.dumps(asdict(self), default=_iso, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> UnitOutcome:
        """The outcome that `to_json` wrote."""
        tree = json.loads(text)
        tree["unit"] = work_unit_from_tree(tree["unit"])
        tree["lost"] = tuple(LostRange(**lost) for lost in tree["lost"])
        tree["media"] = _media_from_tree(tree["media"])
        tree["usage"] = Usage(**tree["usage"])
        return cls(**tree)


def media_to_json(media: MediaInfo) -> str:
    """One line of JSON."""
    return json.dumps(asdict(media), default=_iso, separators=(",", ":"))


def media_from_json(text: str) -> MediaInfo:
    """The record that `media_to_json` wrote."""
    return _media_from_tree(json.loads(text))


def _media_from_tree(tree: dict[str, Any]) -> MediaInfo:
    return MediaInfo(**_with_times(tree, "recorded_at"))


def work_unit_to_json(unit: WorkUnit) -> str:
    """One line of JSON, the row that flows to a decoder."""
    return json.dumps(asdict(unit), default=_iso, separators=(",", ":"))


def work_unit_from_json(text: str) -> WorkUnit:
    """The unit that `work_unit_to_json` wrote."""
    return work_unit_from_tree(json.loads(text))


def work_unit_from_tree(tree: dict[str, Any]) -> WorkUnit:
    """A unit from parsed JSON."""
    metadata = tuple((name, text) for name, text in tree["video"].get("metadata", ()))
    video = Video(**_with_times({**tree["video"], "metadata": metadata}, "modified_at", "recorded_at"))
    return WorkUnit(**{**tree, "video": video})


def _iso(value: datetime) -> str:
    return value.isoformat()


def _with_times(tree: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {**tree, **{key: datetime.fromisoformat(tree[key]) for key in keys if tree.get(key)}}


class ClipBatch(TypedDict):
    """B decoded clips of one video. `frames` has T frames a clip; masked-out frames and samples are zero."""

    segment_id: NDArray[np.object_]  # [B] str
    cell: NDArray[np.int64]  # [B]
    start_us: NDArray[np.int64]  # [B]
    end_us: NDArray[np.int64]  # [B]
    frames: NDArray[np.uint8]  # [B, T, H, W, 3] RGB
    frame_mask: NDArray[np.bool_]  # [B, T]
    frame_us: NDArray[np.int64]  # [B, T] true PTS of the frame used, -1 where masked
    waveform: NDArray[np.float32]  # [B, N] in [-1, 1]
    sample_mask: NDArray[np.bool_]  # [B, N]


class VectorBatch(TypedDict):
    """B unit vectors a space; `<space>_norm` is the model's norm before normalisation, 0 where there is no vector."""

    segment_id: NDArray[np.object_]  # [B] str
    fused: NDArray[np.float32]  # [B, D]
    fused_norm: NDArray[np.float32]  # [B]
    visual: NDArray[np.float32]  # [B, D]
    visual_norm: NDArray[np.float32]  # [B]
    audio: NDArray[np.float32]  # [B, D]
    audio_norm: NDArray[np.float32]  # [B]


QueryVectors = dict[Space, NDArray[np.float32]]  # each [Q, D], unit length; one entry a space that the model has


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: a moment of a video, made of `n_segments` neighbouring segments, of which it names at most 100."""

    rank: int
    score: float
    video_uri: str
    start_us: int
    end_us: int
    segment_ids: tuple[str, ...]
    scores: dict[Space, float | None]
    n_segments: int = 1

    def to_json(self) -> dict[str, Any]:
        """The hit as `search --json` and `POST /v1/search` give it; seconds, rounded to milliseconds."""
        return {
            "rank": self.rank,
            "score": self.score,
            "video_uri": self.video_uri,
            "start_s": round(self.start_us / 1e6, 3),
            "end_s": round(self.end_us / 1e6, 3),
            "n_segments": self.n_segments,
            "segment_ids": list(self.segment_ids),
            "scores": self.scores,
        }


def cell_count(duration_us: int, spec: ClipSpec) -> int:
    """How many grid cells a video of this duration has: every microsecond is covered, no cell adds nothing."""
    if duration_us <= 0:
        return 0
    if spec.stride_us > spec.window_us:
        return -(-duration_us // spec.stride_us)
    return 1 + -(-max(0, duration_us - spec.window_us) // spec.stride_us)


def cell_range(cell: int, duration_us: int, spec: ClipSpec) -> tuple[int, int]:
    """[start_us, end_us) of a cell before snapping; the last cell ends with the video."""
    start = cell * spec.stride_us
    return start, min(start + spec.window_us, duration_us)
