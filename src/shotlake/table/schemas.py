"""The schema of every table. Times of day are microseconds in UTC, times in a video integer microseconds of its clock.

Vectors are `list<float32>` whose values are rounded to float16, because Delta refuses float16 and Polars cannot read
what Delta makes of fixed-size lists. A change here is additive, or it raises LAKE_FORMAT.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from shotlake.records import SPACES

LAKE_FORMAT = 1

TIME = pa.timestamp("us", "UTC")
VECTOR = pa.list_(pa.float32())
LOST_RANGES = pa.list_(pa.struct([("first_cell", pa.int64()), ("n_cells", pa.int64()), ("code", pa.string())]))

# One row a segment that has a vector. `embed_key` and `collection` stand in the log, not in the data files.
SEGMENTS = pa.schema(
    [
        ("segment_id", pa.string()),
        ("video_id", pa.string()),
        ("unit_id", pa.string()),
        ("cell", pa.int64()),
        ("uri", pa.string()),
        ("etag", pa.string()),
        ("version_id", pa.string()),
        ("start_us", pa.int64()),
        ("end_us", pa.int64()),
        ("recorded_at", TIME),
        ("duration_us", pa.int64()),
        ("n_frames", pa.int32()),
        ("has_audio", pa.bool_()),
        ("container", pa.string()),
        ("video_codec", pa.string()),
        ("audio_codec", pa.string()),
        ("fused", VECTOR),
        ("fused_norm", pa.float32()),
        ("visual", VECTOR),
        ("visual_norm", pa.float32()),
        ("audio", VECTOR),
        ("audio_norm", pa.float32()),
        ("model_id", pa.string()),
        ("model_revision", pa.string()),
        ("weights_sha256", pa.string()),
        ("preprocess_sha256", pa.string()),
        ("decoder", pa.string()),
        ("dtype", pa.string()),
        ("device", pa.string()),
        ("code_version", pa.string()),
        ("run_id", pa.string()),
        ("decoded_at", TIME),
        ("embedded_at", TIME),
        ("text", pa.string()),  # what subtitles beside the video say meanwhile
        ("embed_key", pa.string()),
        ("collection", pa.string()),
    ]
)

# One row each time an object is listed for the first time, has changed, was probed, is skipped or has vanished.
VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("etag", pa.string()),
        ("version_id", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_at", TIME),
        ("recorded_at", TIME),
        ("collection", pa.string()),
        ("root", pa.string()),  # what was listed
        ("status", pa.string()),  # listed | skipped | vanished
        ("reason", pa.string()),  # why it is skipped
        ("container", pa.string()),
        ("duration_us", pa.int64()),
        ("video_codec", pa.string()),
        ("audio_codec", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("fps", pa.float64()),
        ("sample_rate_hz", pa.int32()),
        ("audio_channels", pa.int32()),
        ("rotation_deg", pa.int32()),
        ("hdr", pa.bool_()),
        ("run_id", pa.string()),
        ("at", TIME),
        ("recorded_from", pa.string()),  # table | name | container
        ("recorded_zone", pa.string()),  # in which time zone that was said
        ("metadata", pa.map_(pa.string(), pa.string())),  # what `catalog.metadata` says besides
    ]
)

# One row a unit and attempt. `planned = written + lost`; a unit with `written > 0` is never written again.
UNITS = pa.schema(
    [
        ("unit_id", pa.string()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("collection", pa.string()),
        ("first_cell", pa.int64()),
        ("n_cells", pa.int64()),  # 0: the duration was unknown, the unit is all that was found
        ("status", pa.string()),  # ok | partial | failed
        ("planned", pa.int64()),
        ("written", pa.int64()),
        ("lost", pa.int64()),
        ("lost_ranges", LOST_RANGES),
        ("code", pa.string()),
        ("retryable", pa.bool_()),
        ("attempts", pa.int32()),
        ("covered_us", pa.int64()),
        ("declared_us", pa.int64()),
        ("corrupt_frames", pa.int64()),
        ("packet_errors", pa.int64()),
        ("salvaged_until_us", pa.int64()),
        ("content_sha256", pa.string()),
        ("cpu_s", pa.float64()),
        ("gpu_s", pa.float64()),
        ("wall_s", pa.float64()),
        ("bytes_read", pa.int64()),
        ("requests", pa.int64()),
        ("segments_version", pa.int64()),  # the commit of `segments` that holds its rows
        ("run_id", pa.string()),
        ("at", TIME),
        ("embed_key", pa.string()),
    ]
)

# One row a failed unit and one a lost range of a partial one: everything that was planned and has no vector.
FAILURES = pa.schema(
    [
        ("unit_id", pa.string()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("collection", pa.string()),
        ("embed_key", pa.string()),
        ("stage", pa.string()),  # list | decode | embed | write
        ("code", pa.string()),
        ("message", pa.string()),
        ("first_cell", pa.int64()),
        ("n_cells", pa.int64()),
        ("attempts", pa.int32()),
        ("retryable", pa.bool_()),
        ("salvaged_until_us", pa.int64()),
        ("run_id", pa.string()),
        ("at", TIME),
    ]
)

# Videos whose rows no reader may show any more; maintenance deletes the rows later. A null embed_key means all spaces.
RETIRED = pa.schema(
    [
        ("video_id", pa.string()),
        ("embed_key", pa.string()),
        ("uri", pa.string()),
        ("reason", pa.string()),  # superseded | erased
        ("superseded_by", pa.string()),
        ("run_id", pa.string()),
        ("at", TIME),
    ]
)
ERASED = "erased"

# A row at the start of a run and a row at its end; the newest of a run_id tells how it stands.
RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("status", pa.string()),  # running | complete | partial | failed | interrupted
        ("roots", pa.list_(pa.string())),
        ("embed_key", pa.string()),
        ("model_id", pa.string()),
        ("code_version", pa.string()),
        ("config_digest", pa.string()),
        ("config", pa.string()),  # JSON
        ("lease_epoch", pa.int64()),
        ("started_at", TIME),
        ("ended_at", TIME),
        ("videos", pa.map_(pa.string(), pa.int64())),  # listed, indexed, partial, unchanged, ...
        ("cells", pa.map_(pa.string(), pa.int64())),  # planned, written, lost, deferred
        ("video_hours", pa.float64()),
        ("report", pa.string()),  # the JSON that the command printed
        ("at", TIME),
    ]
)

# FOCUS columns, one row a run, stage and collection; columns of ours begin with x_.
COSTS = pa.schema(
    [
        ("BilledCost", pa.float64()),
        ("EffectiveCost", pa.float64()),
        ("BillingCurrency", pa.string()),
        ("ChargeCategory", pa.string()),
        ("ChargeDescription", pa.string()),
        ("ChargePeriodStart", TIME),
        ("ChargePeriodEnd", TIME),
        ("ConsumedQuantity", pa.float64()),
        ("ConsumedUnit", pa.string()),
        ("ServiceName", pa.string()),
        ("ResourceId", pa.string()),
        ("SkuId", pa.string()),
        ("x_run_id", pa.string()),
        ("x_stage", pa.string()),
        ("x_collection", pa.string()),
        ("x_codec", pa.string()),
        ("x_embed_key", pa.string()),
        ("x_price_basis", pa.string()),
        ("x_video_hours", pa.float64()),
        ("x_cpu_s", pa.float64()),
        ("x_gpu_s", pa.float64()),
        ("x_bytes_read", pa.int64()),
        ("x_requests", pa.int64()),
    ]
)

# Scene and video vectors, derived when all units of a video are done.
POOLED = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("kind", pa.string()),  # scene | video
        ("start_us", pa.int64()),
        ("end_us", pa.int64()),
        ("n_segments", pa.int64()),
        *((space, VECTOR) for space in SPACES),
        ("run_id", pa.string()),
        ("at", TIME),
        ("embed_key", pa.string()),
        ("collection", pa.string()),
    ]
)

# Who asked for an erasure, when, and what it removed; never what the removed rows said.
ERASURES = pa.schema(
    [
        ("erasure_id", pa.string()),
        ("requested_by", pa.string()),
        ("reason", pa.string()),
        ("n_videos", pa.int64()),
        ("n_rows", pa.int64()),
        ("n_files", pa.int64()),
        ("at", TIME),
    ]
)

TABLES: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "segments": SEGMENTS,
        "videos": VIDEOS,
        "units": UNITS,
        "failures": FAILURES,
        "retired": RETIRED,
        "runs": RUNS,
        "costs": COSTS,
        "pooled": POOLED,
        "erasures": ERASURES,
    }
)

PARTITIONS: Mapping[str, list[str]] = MappingProxyType(
    {"segments": ["embed_key", "collection"], "units": ["embed_key"], "pooled": ["embed_key", "collection"]}
)

# Columns with min/max in the log, so that readers open only the files they need.
_KEYS = (
    "video_id",
    "unit_id",
    "uri",
    "start_us",
    "end_us",
    "recorded_at",
    "embedded_at",
    "run_id",
    "at",
    "x_run_id",
    "erasure_id",
)


def key_columns(table: str) -> list[str]:
    """The columns of a table whose least and greatest values stand in its log."""
    return [name for name in _KEYS if name in TABLES[table].names]


def file_schema(table: str) -> pa.Schema:
    """The schema of a table's data files: all columns but those it is partitioned by."""
    return pa.schema([field for field in TABLES[table] if field.name not in PARTITIONS.get(table, [])])
