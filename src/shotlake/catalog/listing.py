"""What lies under a root: a `Video` for each object to probe, a `Skipped` with its reason for every other.

Nothing is judged by its extension except the suffixes that the configuration names; content decides when it is probed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from shotlake import storage
from shotlake.catalog.recorded import recorded_at
from shotlake.catalog.sources import list_source
from shotlake.config import CatalogConfig
from shotlake.records import Video
from shotlake.storage import ObjectInfo


@dataclass(frozen=True, slots=True)
class Skipped:
    """A listed object that is not probed; `key` is relative to the root."""

    uri: str
    key: str
    size_bytes: int
    reason: str


def default_collection(root: str) -> str:
    """The name of a root that was given none: its last path part, or its bucket."""
    return storage.normalise(root).removeprefix("s3://").rstrip("/").rpartition("/")[2] or "root"


def list_videos(
    root: str, collection: str | None, config: CatalogConfig, lake_root: str | None = None
) -> Iterator[Video | Skipped]:
    """Every object of a source, in the order of their URIs; a lake that lies under it is left out in silence.

    Errors: SourceMissing, AccessDenied, BadInventory, StoreError; ConfigError for a pattern that is none.
    """
    root = storage.normalise(root)
    own = storage.normalise(lake_root) + "/" if lake_root else None
    name = collection or default_collection(root)
    now = datetime.now(UTC)
    for found in list_source(root):
        if own and found.uri.startswith(own):
            continue
        reason = skip_reason(found, config, now)
        if reason:
            yield Skipped(found.uri, found.key, found.size_bytes, reason)
        else:
            recorded = recorded_at(found.key, config)
            yield Video(found.uri, found.etag, found.size_bytes, found.modified_at, name, found.version_id, recorded)


def skip_reason(found: ObjectInfo, config: CatalogConfig, now: datetime) -> str:
    """Why an object is not probed, or "" if it is; `now` is when the listing began."""
    key = found.key
    if key.endswith("/"):
        return "folder marker"
    if not is_unicode(found.uri):
        return "name is not UTF-8"
    if not any(_pattern(glob).fullmatch(key) for glob in config.include):
        return "not in catalog.include"
    for glob in config.exclude:
        if _pattern(glob).fullmatch(key):
            return f"excluded by {glob}"
    for suffix in config.skip_suffixes:
        if key.lower().endswith(suffix.lower()):
            return f"suffix {suffix}"
    if found.size_bytes < config.min_bytes:
        return f"smaller than {config.min_bytes} bytes"
    if found.storage_class in config.skip_storage_classes:
        return f"storage class {found.storage_class}"
    if config.settle_s and (now - found.modified_at).total_seconds() < config.settle_s:
        return f"modified less than {config.settle_s:g} s ago"
    return ""


def is_unicode(text: str) -> bool:
    """False for a name that Arrow cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
