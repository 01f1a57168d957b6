"""What lies under a root: a `Video` for each object to probe, a `Skipped` with its reason for every other.

Nothing is judged by its extension except the suffixes that the configuration names; content decides when it is probed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from shotlake import storage
from shotlake.catalog.recorded import recorded_at
from shotlake.catalog.sources import list_source
from shotlake.catalog.tables import Rows
from shotlake.config import CatalogConfig
from shotlake.records import Video
from shotlake.storage import ObjectInfo

BEGIN_OF_TIME, END_OF_TIME = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


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
    root: str,
    collection: str | None,
    config: CatalogConfig,
    lake_root: str | None = None,
    cuts: Sequence[str] = (),
    rows: Rows | None = None,
) -> Iterator[Video | Skipped]:
    """Every object of a source, in the order of their URIs; a lake that lies under it is left out in silence.

    `cuts`: URIs between which a prefix may be listed side by side, ascending; its folders are looked for if there are
    none. `rows`: those of a table of URIs that this room cannot open.
    Errors: SourceMissing, AccessDenied, BadInventory, BadTable, StoreError; ConfigError for a pattern that is none.
    """
    root = storage.normalise(root)
    own = storage.normalise(lake_root) + "/" if lake_root else None
    name = collection or default_collection(root)
    rules = SkipRules(config, datetime.now(UTC))
    for found in list_source(root, cuts, rows):
        if own and found.uri.startswith(own):
            continue
        reason = rules.reason(found)
        if reason:
            yield Skipped(found.uri, found.key, found.size_bytes, reason)
        else:
            video = Video(found.uri, found.etag, found.size_bytes, found.modified_at, name, found.version_id)
            recorded = recorded_at(found.key, config) if config.recorded_pattern else None
            yield _dated(video, recorded, config.time_zone) if recorded else video


def _dated(video: Video, recorded_at: datetime, time_zone: str) -> Video:
    return replace(video, recorded_at=recorded_at, recorded_from="name", recorded_zone=time_zone)


class SkipRules:
    """Why objects are not probed: what the configuration says, made ready once, since every object is asked about."""

    def __init__(self, config: CatalogConfig, now: datetime) -> None:
        self._config = config
        self._include = [] if "**" in config.include else [_pattern(glob) for glob in config.include]
        self._exclude = [(glob, _pattern(glob)) for glob in config.exclude]
        self._suffixes = tuple(suffix.lower() for suffix in config.skip_suffixes)
        self._min_bytes, self._max_bytes = config.min_bytes, config.max_bytes or math.inf
        self._settled = now - timedelta(seconds=config.settle_s) if config.settle_s else END_OF_TIME
        self._since = config.modified_since or BEGIN_OF_TIME
        self._classes = frozenset(config.skip_storage_classes)

    def reason(self, found: ObjectInfo) -> str:
        """Why an object is not probed, or "" if it is."""
        key, config = found.key, self._config
        if key.endswith("/"):
            return "folder marker"
        if not is_unicode(found.uri):
            return "name is not UTF-8"
        if self._include and not any(pattern.fullmatch(key) for pattern in self._include):
            return "not in catalog.include"
        for glob, pattern in self._exclude:
            if pattern.fullmatch(key):
                return f"excluded by {glob}"
        if key.lower().endswith(self._suffixes):
            return f"suffix {next(suffix for suffix in self._suffixes if key.lower().endswith(suffix))}"
        if found.size_bytes < self._min_bytes:
            return f"smaller than {config.min_bytes} bytes"
        if found.size_bytes > self._max_bytes:
            return f"larger than {config.max_bytes} bytes"
        if found.storage_class in self._classes:
            return f"storage class {found.storage_class}"
        if found.modified_at > self._settled:
            return f"modified less than {config.settle_s:g} s ago"
        if found.modified_at < self._since:
            return f"modified before {self._since:%Y-%m-%dT%H:%M:%SZ}"
        return ""


def is_unicode(text: str) -> bool:
    """False for a name that Arrow cannot hold."""
    if text.isascii():  # told without looking at a letter, and most keys of an archive are
        return True
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
