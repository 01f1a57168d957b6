"""What may still say something of an erased video: rows, words of the log, copies of outcomes, names of roots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.errors import NotFound
from shotlake.table.files import open_parquet
from shotlake.table.outcomes import OUTCOMES, named_in
from shotlake.table.tombstones import Signs

INDEX = "index"  # is searched by who knows what its files hold


@dataclass(frozen=True, slots=True)
class Sought:
    """The videos that are erased: by their ids, and by the hashes of their names."""

    video_ids: frozenset[str]
    signs: Signs

    def __bool__(self) -> bool:
        return bool(self.video_ids)

    def rows(self, rows: pa.Table) -> pa.ChunkedArray:
        """[N] True for rows of the videos, under whatever id an object of their name has."""
        by_id = pc.is_in(rows["video_id"].cast(pa.string()), pa.array(sorted(self.video_ids), pa.string()))
        return pc.or_(by_id, self._is_name(rows["uri"]))

    def named(self, rows: pa.Table) -> pa.ChunkedArray:
        """[N] True for rows that name one of the videos; rows of theirs without a name may stay."""
        if "roots" in rows.column_names:
            found = [any(map(self.signs.is_erased, roots or ())) for roots in rows["roots"].to_pylist()]
            return pa.chunked_array([pa.array(found, pa.bool_())])
        return pc.and_(self.rows(rows), pc.is_valid(rows["uri"]))

    def _is_name(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """[N] Each name is hashed once."""
        texts = column.cast(pa.string())
        erased = [uri for uri in pc.unique(texts).to_pylist() if self.signs.is_erased(uri)]
        return pc.is_in(texts, pa.array(erased, pa.string()))


def search_traces(lake_root: str, sought: Sought, words: Iterable[str] = ()) -> tuple[int, list[str]]:
    """(objects read, those that still name a video): everything below the lake but its index.

    `words`: the names themselves, where they are known; what is not Parquet is then searched for them byte by byte.
    """
    names = [name for name in storage.names(lake_root) if not name.startswith(f"{INDEX}/")]
    spelled = [spelling for word in words for spelling in _spellings(word)]
    return len(names), [name for name in names if _is_trace(lake_root, name, sought, spelled)]


def _is_trace(lake_root: str, name: str, sought: Sought, spelled: list[bytes]) -> bool:
    uri = storage.join(lake_root, name)
    try:
        if name.endswith(".parquet"):
            return holds(uri, sought)
        data = storage.read_bytes(uri)
    except NotFound:  # gone meanwhile
        return False
    if any(spelling in data for spelling in spelled):
        return True
    if name.startswith(f"{OUTCOMES}/"):
        return any(map(sought.signs.is_erased, named_in(data)))
    if name.startswith("leases/") and name.endswith(".json"):
        return sought.signs.is_erased(json.loads(data)["root"])
    return "/_delta_log/" in name and name.endswith(".json") and scrubbed(data, sought) is not None


def holds(uri: str, sought: Sought) -> bool:
    """True if a Parquet file, be it of a checkpoint, names one of the videos. Errors: NotFound."""
    with open_parquet(uri, storage.stat(uri)) as file:
        names = set(file.schema_arrow.names)
        if uri.endswith(".checkpoint.parquet"):
            adds = file.read(["add"])["add"].combine_chunks()
            return any(_is_said(add["stats"], sought) for add in adds.to_pylist() if add)
        wanted = [name for name in ("video_id", "uri", "roots") if name in names]
        if not {"uri", "roots"} & names:
            return False
        return bool(pc.any(sought.named(file.read(wanted))).as_py())


def scrubbed(entry: bytes, sought: Sought, current: frozenset[str] = frozenset()) -> bytes | None:
    """A log entry whose statistics name none of the videos, or None if they did not anyway.

    Files of the `current` version keep theirs: without them a filter would find none of their rows.
    """
    lines = [json.loads(line) for line in entry.splitlines() if line.strip()]
    told = [
        action
        for line in lines
        for action in _with_stats(line)
        if unquote(action["path"]) not in current and _is_said(action["stats"], sought)
    ]
    for action in told:
        action["stats"] = json.dumps({"numRecords": json.loads(action["stats"]).get("numRecords", 0)})
    return "\n".join(map(json.dumps, lines)).encode() if told else None


def _with_stats(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (line[kind] for kind in ("add", "remove") if line.get(kind, {}).get("stats"))


def _is_said(stats: str | None, sought: Sought) -> bool:
    tree = json.loads(stats) if stats else {}
    ends = [tree.get(name) or {} for name in ("minValues", "maxValues")]
    return any(sought.signs.is_erased(end.get("uri")) for end in ends)


def _spellings(uri: str) -> set[bytes]:
    """As it is, as text in JSON, and as text in JSON in JSON, which the log's statistics are."""
    once = json.dumps(uri, ensure_ascii=False)[1:-1]
    return {text.encode() for text in (uri, once, json.dumps(once, ensure_ascii=False)[1:-1], json.dumps(uri)[1:-1])}
