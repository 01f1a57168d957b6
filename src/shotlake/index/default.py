"""Which vector space answers where none is asked for: numbered pointers that are only created; the highest counts.

    <lake>/index/DEFAULT/<n>.json

A lake without a pointer answers from the space that was published last.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from shotlake import storage
from shotlake.errors import AlreadyExists, CorruptGeneration
from shotlake.index.manifest import Part

DEFAULTS = "DEFAULT"


class DefaultPointer(Part):
    """One numbered pointer."""

    number: int
    embed_key: str
    at: datetime


def default_space(index_root: str) -> DefaultPointer | None:
    """The pointer with the highest number, or none. Errors: CorruptGeneration."""
    folder = storage.join(index_root, DEFAULTS)
    stems = (name.removesuffix(".json") for name in storage.names(folder))
    number = max((int(stem) for stem in stems if stem.isdigit()), default=0)
    if not number:
        return None
    uri = storage.join(folder, f"{number}.json")
    try:
        return DefaultPointer.model_validate(json.loads(storage.read_bytes(uri)))
    except ValueError:
        raise CorruptGeneration(f"{uri} is not a pointer; delete it or cut over again") from None


def set_default_space(index_root: str, embed_key: str) -> int:
    """Make a space the default and give the pointer's number; the same one again changes nothing."""
    while True:
        latest = default_space(index_root)
        if latest and latest.embed_key == embed_key:
            return latest.number
        pointer = DefaultPointer(number=latest.number + 1 if latest else 1, embed_key=embed_key, at=datetime.now(UTC))
        uri = storage.join(index_root, DEFAULTS, f"{pointer.number}.json")
        try:
            storage.create(uri, pointer.model_dump_json().encode())
        except AlreadyExists:
            continue  # somebody else cut over in between: look again
        return pointer.number
