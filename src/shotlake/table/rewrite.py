"""Data files are replaced by others in one commit that we write ourselves: the next number of the log, create-only.

What deltalake rewrites loses the encoding of vectors and turns strings into string views, on which pyarrow cannot
filter. Our tables are of protocol (1, 2), where a commit is a few lines of JSON. A file that another commit has removed
in the meantime is noticed; everything else that happens beside us does not concern the files that we replace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
from deltalake import DeltaTable

from shotlake import storage
from shotlake.errors import AlreadyExists, CommitError, Replaced
from shotlake.table.files import DataFile, open_parquet, write_file
from shotlake.table.lake import COMMIT_TRIES, Lake
from shotlake.table.schemas import file_schema


def data_files(lake: Lake, table: str) -> list[DataFile]:
    """The files of the newest version."""
    return _at_version(lake, table)[1]


def _at_version(lake: Lake, table: str) -> tuple[int, list[DataFile]]:
    def look(snapshot: DeltaTable) -> tuple[int, list[DataFile]]:
        return int(snapshot.version()), _files(pa.table(snapshot.get_add_actions(flatten=True)).to_pylist())

    return lake.look(table, look)


def read_rows(lake: Lake, table: str, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a file with `columns` or all of `file_schema`; what an older file lacks is null."""
    uri = storage.join(lake.uri(table), file.path)
    wanted = [f for f in file_schema(table) if columns is None or f.name in columns]
    with open_parquet(uri, storage.stat(uri)) as parquet:
        names = set(parquet.schema_arrow.names)
        rows = parquet.read([f.name for f in wanted if f.name in names])
    cast = {f.name: rows[f.name].cast(f.type) if f.name in names else pa.nulls(len(rows), f.type) for f in wanted}
    return pa.table(cast, schema=pa.schema(wanted))


def write_rows(lake: Lake, table: str, rows: pa.Table, partition: dict[str, str], writer: str = "part") -> DataFile:
    """A new file with these rows, which have the columns of `file_schema`; `writer` is the run that will commit it."""
    return write_file(lake.uri(table), table, rows, partition, writer)


def replace(lake: Lake, table: str, gone: Sequence[DataFile], new: Sequence[DataFile], data_change: bool) -> None:
    """Commit that the `new` files stand in the place of the `gone` ones; `data_change` if the rows are not the same.

    Errors: Replaced if one of the gone files is gone already.
    """
    if not gone:
        return
    for _ in range(COMMIT_TRIES):
        version, files = _at_version(lake, table)
        current = {file.path for file in files}
        lost = [file.path for file in gone if file.path not in current]
        if lost:
            raise Replaced(f"{lost[0]!r} of {table} was replaced by another program; run again")
        name = f"{version + 1:020d}.json"
        try:
            storage.create(storage.join(lake.uri(table), "_delta_log", name), _entry(gone, new, data_change))
            return
        except AlreadyExists:
            continue
    raise CommitError(f"{table} was changed by others {COMMIT_TRIES} times in a row; run again")


def _entry(gone: Sequence[DataFile], new: Sequence[DataFile], data_change: bool) -> bytes:
    now = int(time.time() * 1000)
    operation = "DELETE" if data_change else "OPTIMIZE"
    lines: list[dict[str, Any]] = [{"commitInfo": {"timestamp": now, "operation": operation, "engineInfo": "shotlake"}}]
    for file in gone:
        removed = {"path": _in_log(file.path), "deletionTimestamp": now, "extendedFileMetadata": True}
        lines.append({"remove": {**removed, **_shared(file, data_change)}})
    for file in new:
        added = {"path": _in_log(file.path), "modificationTime": now, "stats": json.dumps(file.stats)}
        lines.append({"add": {**added, **_shared(file, data_change)}})
    return "\n".join(json.dumps(line) for line in lines).encode()


def _shared(file: DataFile, data_change: bool) -> dict[str, Any]:
    return {"partitionValues": file.partition, "size": file.size_bytes, "dataChange": data_change}


def _in_log(path: str) -> str:
    return quote(path, safe="/=")


def _files(actions: Sequence[dict[str, Any]]) -> list[DataFile]:
    return [DataFile(unquote(item["path"]), item["size_bytes"], dict(_partition(item))) for item in actions]


def _partition(action: dict[str, Any]) -> Iterator[tuple[str, str]]:
    prefix = "partition."
    return ((name.removeprefix(prefix), value) for name, value in action.items() if name.startswith(prefix))
