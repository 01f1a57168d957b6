"""What lies under a root, in pages: every object with the reason why it is not probed, or with none.

Nothing is judged by its extension except the suffixes that the configuration names; content decides when it is probed.
A page is judged at once: rules are asked of columns, since a listing of millions is as fast as what is done to each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.catalog.recorded import recorded_at
from shotlake.catalog.sources import list_source
from shotlake.catalog.tables import Rows
from shotlake.config import CatalogConfig
from shotlake.records import stable_id

LISTED = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("etag", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_at", pa.timestamp("us", "UTC")),
        ("collection", pa.string()),
        ("version_id", pa.string()),
        ("recorded_at", pa.timestamp("us", "UTC")),
        ("recorded_from", pa.string()),
        ("recorded_zone", pa.string()),
        ("metadata", pa.map_(pa.string(), pa.string())),
    ]
)
"""Videos as they were listed: what `records.Video` has of one, of many, behind its id."""


def default_collection(root: str) -> str:
    """The name of a root that was given none: its last path part, or its bucket."""
    return storage.normalise(root).removeprefix("s3://").rstrip("/").rpartition("/")[2] or "root"


def list_archive(
    root: str,
    config: CatalogConfig,
    lake_root: str | None = None,
    cuts: Sequence[str] = (),
    rows: Rows | None = None,
) -> Iterator[pa.RecordBatch]:
    """Pages (`storage.OBJECTS`) of every object of a source in the order of their URIs, each with its reason or "".

    A lake that lies under it is left out in silence. `cuts`: URIs between which a prefix may be listed side by side,
    ascending; its folders are looked for if there are none. `rows`: of a table of URIs that this room cannot open.
    Errors: SourceMissing, AccessDenied, BadInventory, BadTable, StoreError; ConfigError for a pattern that is none.
    """
    root = storage.normalise(root)
    own = storage.normalise(lake_root) + "/" if lake_root else None
    now = datetime.now(UTC)
    for page in list_source(root, cuts, rows):
        if own and pc.any(lies_within := pc.starts_with(page["uri"], own)).as_py():
            page = page.filter(pc.invert(lies_within))
        yield _judged(page, config, now)


def videos_in(found: pa.Table | pa.RecordBatch, collection: str, config: CatalogConfig) -> pa.Table:
    """The objects of a listing that are probed, with the columns of LISTED."""
    kept = pa.table(found.filter(pc.equal(found["reason"], "")))
    n = len(kept)
    named = zip(*(kept[name].to_pylist() for name in ("uri", "etag", "size_bytes")), strict=True)
    moments = [recorded_at(key, config) for key in kept["key"].to_pylist()] if config.recorded_pattern else [None] * n
    recorded = pa.array(moments, LISTED.field("recorded_at").type)
    columns = {
        "video_id": pa.array([stable_id(*name) for name in named], pa.string()),
        "collection": pa.repeat(collection, n),
        "recorded_at": recorded,
        "recorded_from": pc.if_else(recorded.is_valid(), "name", ""),
        "recorded_zone": pc.if_else(recorded.is_valid(), config.time_zone, ""),
        "metadata": pa.MapArray.from_arrays(np.zeros(n + 1, np.int32), *[pa.array([], pa.string())] * 2),
    }
    return pa.table({f.name: columns[f.name] if f.name in columns else kept[f.name] for f in LISTED}, schema=LISTED)


def _judged(page: pa.RecordBatch, config: CatalogConfig, now: datetime) -> pa.RecordBatch:
    """The page with the first reason that holds for each object."""
    reasons = page["reason"]
    for reason, holds in _objections(page, config, now):
        if pc.any(holds).as_py():
            reasons = pc.if_else(pc.and_(holds, pc.equal(reasons, "")), reason, reasons)
    return page.set_column(page.schema.get_field_index("reason"), page.schema.field("reason"), reasons)


def _objections(page: pa.RecordBatch, config: CatalogConfig, now: datetime) -> Iterator[tuple[str, pa.Array]]:
    """Reasons why objects are not probed, the first ones first, and of which objects [N] each holds."""
    keys, sizes, modified = page["key"], page["size_bytes"], page["modified_at"]
    yield "folder marker", pc.ends_with(keys, "/")
    if "**" not in config.include:
        yield "not in catalog.include", pc.invert(_match(keys, config.include))
    for glob in config.exclude:
        yield f"excluded by {glob}", _match(keys, [glob])
    lower = pc.utf8_lower(keys)
    for suffix in map(str.lower, config.skip_suffixes):
        yield f"suffix {suffix}", pc.ends_with(lower, suffix)
    if config.min_bytes:
        yield f"smaller than {config.min_bytes} bytes", pc.less(sizes, config.min_bytes)
    if config.max_bytes:
        yield f"larger than {config.max_bytes} bytes", pc.greater(sizes, config.max_bytes)
    for storage_class in config.skip_storage_classes:
        yield f"storage class {storage_class}", pc.equal(page["storage_class"], storage_class)
    if config.settle_s:
        settled = now - timedelta(seconds=config.settle_s)
        yield f"modified less than {config.settle_s:g} s ago", pc.greater(modified, pa.scalar(settled, modified.type))
    if since := config.modified_since:
        yield f"modified before {since:%Y-%m-%dT%H:%M:%SZ}", pc.less(modified, pa.scalar(since, modified.type))


def _match(keys: pa.Array, globs: Sequence[str]) -> pa.Array:
    """[N] whether a key is matched by any of the globs."""
    patterns = [_pattern(glob) for glob in globs]
    return pa.array([any(pattern.fullmatch(key) for pattern in patterns) for key in keys.to_pylist()], pa.bool_())


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    """A glob of keys as a pattern: `*` and `?` stay within one part, `**` spans parts, `**/` may be nothing."""
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])", glob)
    return re.compile("".join(tokens.get(part) or _literal(part) for part in parts), re.DOTALL)


def _literal(part: str) -> str:
    if len(part) > 2 and part[0] == "[" and part[-1] == "]":
        negated = part[1] == "!"
        inside = part[2:-1] if negated else part[1:-1]
        return f"[{'^/' if negated else ''}{inside.replace(chr(92), chr(92) * 2).replace('^', chr(92) + '^')}]"
    return re.escape(part)
