"""Judges a lake from its objects alone, and shares no code with `src`: the log, Parquet, the index, and every trace.

Objects are bytes by their key below the lake. A finding is a sentence that begins with a word of its kind.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TABLES = ("segments", "videos", "units", "failures", "retired", "runs", "costs", "pooled", "erasures")
Lake = Mapping[str, bytes]


@dataclass(frozen=True)
class Erased:
    """What nothing may hold any more: the name of a video, ids of its segments, and bytes of its vectors."""

    uri: str
    ids: frozenset[str]
    vectors: tuple[bytes, ...] = ()


@dataclass
class Verdict:
    """`findings` are faults; `counts` are what was looked at."""

    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@lru_cache(20_000)
def _parquet(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data), partitioning=None)


def active_files(lake: Lake, table: str) -> dict[str, dict[str, Any]]:
    """The data files that the newest version of a table names, with what the log says of each."""
    folder = f"tables/{table}/_delta_log/"
    names = sorted(key.removeprefix(folder) for key in lake if key.startswith(folder))
    logs = [name for name in names if name[:20].isdigit() and name.endswith(".json")]
    checkpoints = [name for name in names if name.endswith(".checkpoint.parquet")]
    files: dict[str, dict[str, Any]] = {}
    first = -1
    if checkpoints:
        first = int(checkpoints[-1][:20])
        for row in _parquet(lake[folder + checkpoints[-1]]).select(["add"]).to_pylist():
            if row["add"]:
                files[unquote(row["add"]["path"])] = {
                    **row["add"],
                    "partitionValues": dict(row["add"]["partitionValues"]),
                }
    for name in logs:
        if int(name[:20]) <= first:
            continue
        actions = [json.loads(line) for line in lake[folder + name].decode().splitlines() if line]
        for action in (action["remove"] for action in actions if "remove" in action):
            files.pop(unquote(action["path"]), None)
        for action in (action["add"] for action in actions if "add" in action):
            files[unquote(action["path"])] = action
    return files


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    """Rows of the newest version; of files that are there."""
    found = []
    for path, action in active_files(lake, table).items():
        if (data := lake.get(f"tables/{table}/{path}")) is not None:
            found += [{**row, **action["partitionValues"]} for row in _parquet(data).to_pylist()]
    return found


def live_ids(lake: Lake) -> dict[str, set[str]]:
    """Ids of the segments that a reader may show, by uri."""
    gone = [(row["video_id"], row["embed_key"]) for row in rows(lake, "retired")]
    found: dict[str, set[str]] = {}
    for row in rows(lake, "segments"):
        if (row["video_id"], None) not in gone and (row["video_id"], row["embed_key"]) not in gone:
            found.setdefault(row["uri"], set()).add(row["segment_id"])
    return found


def erased_of(lake: Lake, uri: str) -> Erased:
    """What is to be gone once this video is erased."""
    mine = [row for row in rows(lake, "segments") if row["uri"] == uri]
    vectors = [np.asarray(row["fused"], kind).tobytes() for row in mine for kind in (np.float32, np.float16)]
    return Erased(uri, frozenset(row["segment_id"] for row in mine), tuple(vectors))


def check_whole(lake: Lake) -> Verdict:
    """What holds at every moment: named files are there, no id is there twice, pointers lead to whole generations."""
    verdict = Verdict()
    for table in TABLES:
        files = active_files(lake, table)
        verdict.counts["files"] += len(files)
        verdict.findings += [f"missing: {table} names {path}" for path in files if f"tables/{table}/{path}" not in lake]
    ids = Counter(row["segment_id"] for row in rows(lake, "segments"))
    verdict.counts["ids"] += len(ids)
    if doubled := [name for name, n in ids.items() if n > 1]:
        verdict.findings.append(f"doubled: {len(doubled)} of {len(ids)} ids, {sum(ids.values())} rows")
    units = Counter((row["unit_id"], row["attempts"]) for row in rows(lake, "units"))
    if doubled_units := [unit for unit, n in units.items() if n > 1]:
        verdict.findings.append(f"doubled: {len(doubled_units)} outcomes of units")
    verdict.findings += _index_findings(lake, verdict.counts)
    return verdict


def check_retention(lake: Lake) -> Verdict:
    """No log is left with a retention of nothing, which only an erasure needs for a moment."""
    verdict = Verdict()
    for table in TABLES:
        logs = sorted(key for key in lake if key.startswith(f"tables/{table}/_delta_log/") and key.endswith(".json"))
        said = [json.loads(line) for key in logs for line in lake[key].splitlines() if b'"metaData"' in line]
        if said and " 0 " in said[-1]["metaData"]["configuration"].get("delta.logRetentionDuration", ""):
            verdict.findings.append(f"retention: the log of {table} is kept for no time")
    return verdict


def _index_findings(lake: Lake, counts: Counter[str]) -> Iterator[str]:
    for key in sorted(lake):
        parts = key.split("/")
        if len(parts) == 4 and parts[0] == "index" and parts[2] == "CURRENT":
            counts["pointers"] += 1
            folder, generation = f"index/{parts[1]}", json.loads(lake[key])["generation"]
            manifest = lake.get(f"{folder}/{generation}/manifest.json")
            if manifest is None:
                yield f"generation: pointer {parts[3]} names one without a manifest"
                continue
            files = json.loads(manifest)["files"]
            if lost := [file for file in files if f"{folder}/{file['path']}" not in lake]:
                yield f"generation: pointer {parts[3]} names one that lacks {len(lost)} of {len(files)} files"


def check_balance(lake: Lake) -> Verdict:
    """Conservation: planned = written + lost of each unit, and as many rows as were written of those that are live."""
    verdict = Verdict()
    gone = {row["video_id"] for row in rows(lake, "retired")}
    written: Counter[str] = Counter()
    for unit in rows(lake, "units"):
        verdict.counts["units"] += 1
        if unit["planned"] != unit["written"] + unit["lost"]:
            verdict.findings.append(
                f"balance: a unit planned {unit['planned']}, wrote {unit['written']}, lost {unit['lost']}"
            )
        if unit["video_id"] not in gone:
            written[unit["unit_id"]] += unit["written"]
    found = Counter(row["unit_id"] for row in rows(lake, "segments") if row["video_id"] not in gone)
    for unit_id in sorted(written.keys() | found.keys()):
        if written[unit_id] != found[unit_id]:
            verdict.findings.append(f"balance: a unit says {written[unit_id]} rows, segments has {found[unit_id]}")
    return verdict


def check_ids(lake: Lake, truth: Mapping[str, frozenset[str]]) -> Verdict:
    """Each video's segments, and no others, are live."""
    verdict, live = Verdict(), live_ids(lake)
    for uri in sorted(truth.keys() | live.keys()):
        wanted, there = truth.get(uri, frozenset()), live.get(uri, set())
        verdict.counts["expected"] += len(wanted)
        if wanted - there:
            verdict.findings.append(f"lost: {len(wanted - there)} of {len(wanted)} segments of {uri}")
        if there - wanted:
            verdict.findings.append(f"extra: {len(there - wanted)} segments of {uri} are live")
    return verdict


def check_served(lake: Lake, before: Mapping[str, set[str]], erased: str) -> Verdict:
    """What was to be found before is found still, or newer content of the same video."""
    live = live_ids(lake)
    return Verdict(
        [f"unserved: {uri} has no live row any more" for uri in before if uri != erased and not live.get(uri)]
    )


def check_traces(lake: Lake, erased: Erased) -> Verdict:
    """No byte of the lake, packed or not, tells of what was erased; `units` and `failures` may keep ids of videos."""
    verdict = Verdict()
    words = [erased.uri.encode(), *(name.encode() for name in erased.ids)]
    for key, data in lake.items():
        verdict.counts["objects"] += 1
        for unpacked in (data, *_unpacked(key, data)):
            kind = "cached" if key.startswith("cache/") else "trace"
            if any(word in unpacked for word in words):
                verdict.findings.append(f"{kind}: words in {key}")
                break
            if any(vector in unpacked for vector in erased.vectors):
                verdict.findings.append(f"{kind}: a vector in {key}")
                break
    return verdict


@lru_cache(20_000)
def _unpacked(key: str, data: bytes) -> tuple[bytes, ...]:
    """The values of a file that are compressed in it: words as JSON, vectors as they lie in memory."""
    if key.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return tuple(packed.read(name) for name in packed.namelist())
    if key.endswith(".parquet"):
        return _columns(_parquet(data))
    if key.endswith((".arrow", ".feather")):
        return _columns(pa.ipc.open_file(io.BytesIO(data)).read_all())
    return ()


def _columns(table: pa.Table) -> tuple[bytes, ...]:
    found = [json.dumps(table.to_pylist(), default=str, ensure_ascii=False).encode()]
    for column in table.columns:
        if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
            values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            found += [values.astype(kind).tobytes() for kind in (np.float32, np.float16)]
    return tuple(found)
