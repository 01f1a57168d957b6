"""`shotlake repair`: the tables are made whole (`table/repair.py`), then the pointers of the index, then erasures.

Of the index of a space every pointer goes that is damaged, or whose generation lacks its manifest or a file. If it was
the current one, the newest generation that is whole gets a pointer first, as `rollback` does. Files are judged by name
and size; their bytes are proved when they are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.errors import CorruptGeneration, LakeFormat, NotFound, ShotlakeError
from shotlake.flow.erasure import finish_erasures
from shotlake.flow.index_source import index_root
from shotlake.flow.run_id import new_run_id
from shotlake.index.default import DEFAULTS, DefaultPointer
from shotlake.index.manifest import COLUMNS_NAME, MANIFEST_NAME, parse_manifest
from shotlake.index.publish import POINTERS, Pointer, _read_pointer, rollback
from shotlake.table.damage import DAMAGE, TableFiles
from shotlake.table.files import DataFile
from shotlake.table.findings import Finding
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.repair import inspect, repair
from shotlake.table.rewrite import read_rows
from shotlake.table.schemas import ERASED, TABLES, file_schema


@dataclass(slots=True)
class Pointers:
    """The pointers of a space, oldest first: `whole` ones to whole generations, and why each of the others is bad."""

    whole: list[Pointer]
    bad: dict[int, str]  # by number
    damaged: set[int]  # of the bad ones those that cannot be read themselves


def repair_lake(config: Config, apply: bool = False) -> dict[str, Any]:
    """What `shotlake repair` prints: `findings`, whether they were `applied`, and `left`, how many are still there.

    Without `apply` nothing is written. Errors: SourceMissing (no lake), LeaseHeld while a maintenance, an erasure or,
    where pointers are to be changed, a build of the index is at work.
    """
    lake, run_id = Lake.open(config.lake), new_run_id()
    tables = repair(lake, run_id, config.table) if apply else inspect(lake)
    found = [*tables.findings, *_of_index(lake)]
    if apply:
        for key in _spaces(lake):
            if look_at_pointers(index_root(lake), key).bad:
                with Lease.acquire(lake.root, "index", f"/{key}", run_id, config.table.lease_s):
                    mend_pointers(index_root(lake), key)
        for uri in _bad_defaults(lake):
            storage.delete(uri)
        finish_erasures(lake, config)
    erased = erased_rows(lake)
    left = [*inspect(lake).findings, *_of_index(lake), *erased] if apply else []
    counts = {"leftover_files": tables.n_leftovers, "leftover_outcomes": tables.n_unused_outcomes}
    return {
        "findings": [_line(finding) for finding in [*found, *erased]],
        "applied": apply,
        "left": len(left),
        **counts,
        "units_of_live_runs": tables.n_busy_units,
    }


def erased_rows(lake: Lake) -> list[Finding]:
    """What is left of videos that `retired` says are erased: in tables, files that no version names, and the index."""
    try:
        erased = _erased_ids(lake)
    except ShotlakeError:  # its log is lost, which is a finding of its own
        return []
    if not len(erased):
        return []
    action = "the erasure is finished, once no run that may write them is at work"
    counts = {table: sum(_rows_in(lake, table, erased)) for table in TABLES if "video_id" in TABLES[table].names}
    counts["index"] = sum(_rows_in_index(lake, erased))
    return [
        Finding("half_erased", table, f"{count} rows of erased videos are left", action, False)
        for table, count in counts.items()
        if count
    ]


def look_at_pointers(root: str, key: str) -> Pointers:
    """Every pointer of a space, and whether its generation is whole."""
    found, sound = Pointers([], {}, set()), dict[str, str]()
    names = storage.names(storage.join(root, key, POINTERS))
    for number in sorted(int(stem) for name in names if (stem := name.removesuffix(".json")).isdigit()):
        try:
            pointer = _read_pointer(root, key, number)
        except CorruptGeneration:
            found.bad[number] = "is damaged"
            found.damaged.add(number)
            continue
        except NotFound:  # pruned since it was listed
            continue
        name = f"{pointer.generation} {pointer.manifest_sha256}"
        sound[name] = sound[name] if name in sound else _fault(storage.join(root, key), pointer)
        if sound[name]:
            found.bad[number] = f"names {pointer.generation}, {sound[name]}"
        else:
            found.whole.append(pointer)
    return found


def mend_pointers(root: str, key: str) -> None:
    """Make a whole generation current, then delete bad pointers, the oldest first. The space's lease is held."""
    found, folder = look_at_pointers(root, key), storage.join(root, key, POINTERS)
    for number in sorted(found.damaged):
        storage.delete(storage.join(folder, f"{number}.json"))
    rest = found.bad.keys() - found.damaged
    if found.whole and max(rest, default=0) > found.whole[-1].number:
        rollback(root, key, found.whole[-1].generation)
    for number in sorted(rest):
        storage.delete(storage.join(folder, f"{number}.json"))


def _fault(folder: str, pointer: Pointer) -> str:
    """What a generation lacks; "" if it is whole."""
    uri = storage.join(folder, pointer.generation, MANIFEST_NAME)
    try:
        manifest = parse_manifest(storage.read_bytes(uri), pointer.manifest_sha256, uri)
        for file in manifest.files:
            if storage.stat(storage.join(folder, file.path)).size_bytes != file.size_bytes:
                return f"whose file {file.path} has another size"
    except NotFound as error:
        return f"of which something is missing ({error})"
    except CorruptGeneration:
        return "whose manifest is damaged"
    except LakeFormat:  # of a later version, which may know more
        return ""
    return ""


def _of_index(lake: Lake) -> list[Finding]:
    root, findings = index_root(lake), []
    for key in _spaces(lake):
        found = look_at_pointers(root, key)
        if not found.bad:
            continue
        newest = max(found.bad)
        is_current = not found.whole or newest > found.whole[-1].number
        action = "removed"
        if is_current:
            new = f"{found.whole[-1].generation} becomes current" if found.whole else "there is none to go back to"
            action = f"removed; {new}; run shotlake index build"
        example = f"{len(found.bad)} pointers cannot be used: {newest}.json {found.bad[newest]}"
        findings.append(Finding("broken_generation", f"index/{key}", example, action))
    bad = _bad_defaults(lake)
    if bad:
        findings.append(Finding("broken_generation", "index", f"{bad[0]} is damaged", "removed; see models cutover"))
    return findings


def _spaces(lake: Lake) -> list[str]:
    names = storage.names(index_root(lake))
    return sorted({name.split("/")[0] for name in names if f"/{POINTERS}/" in name} - {DEFAULTS})


def _bad_defaults(lake: Lake) -> list[str]:
    folder, bad = storage.join(index_root(lake), DEFAULTS), []
    for name in storage.names(folder):
        uri = storage.join(folder, name)
        try:
            DefaultPointer.model_validate_json(storage.read_bytes(uri))
        except ValueError:
            bad.append(uri)
    return bad


def _erased_ids(lake: Lake) -> pa.Array:
    parts = [pa.array([], pa.string())]
    for _, rows in TableFiles.look(lake, "retired").read(["video_id", "reason"]):
        parts.append(rows["video_id"].filter(pc.equal(rows["reason"], ERASED)).combine_chunks())
    return pc.unique(pa.concat_arrays(parts))


def _rows_in(lake: Lake, table: str, erased: pa.Array) -> Iterator[int]:
    """Rows of erased videos that say more than that they were erased, file by file."""
    columns = [name for name in ("video_id", "uri", "embed_key") if name in file_schema(table).names]
    for name in storage.names(lake.uri(table)):
        if not name.endswith(".parquet") or name.startswith("_delta_log/"):
            continue
        try:
            rows = read_rows(lake, table, DataFile(name, 0, {}), columns)
        except DAMAGE:  # it cannot be read, or a maintenance has removed it
            continue
        mine = rows.filter(pc.is_in(rows["video_id"], erased))
        if table in ("units", "failures"):
            mine = mine.filter(pc.is_valid(mine["uri"]))
        elif table == "retired":
            mine = mine.filter(pc.or_(pc.is_valid(mine["uri"]), pc.is_valid(mine["embed_key"])))
        yield len(mine)


def _rows_in_index(lake: Lake, erased: pa.Array) -> Iterator[int]:
    root = index_root(lake)
    for name in (name for name in storage.names(root) if name.endswith(f"/{COLUMNS_NAME}")):
        uri = storage.join(root, name)
        try:
            info = storage.stat(uri)
            with pa.PythonFile(storage.open_object(uri, info.etag, info.size_bytes), mode="r") as file:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    if "video_id" in batch.schema.names:
                        yield pc.sum(pc.is_in(batch.column("video_id"), erased)).as_py() or 0
        except (NotFound, pa.ArrowException):  # pruned meanwhile, or a draft that is still being written
            continue


def _line(finding: Finding) -> dict[str, Any]:
    tree = asdict(finding)
    del tree["is_mendable"]
    return tree
