"""Delta tables of other programs, as streams of batches; nothing of them is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from shotlake import storage
from shotlake.errors import BadTable, NotFound, SourceMissing, StoreError
from shotlake.table.delta import delta_errors
from shotlake.table.reading import dataset_of


def is_delta(uri: str) -> bool:
    """True for a folder or prefix with the log of a Delta table. Errors: AccessDenied, StoreError."""
    if not storage.is_remote(uri):
        return Path(uri, "_delta_log").is_dir()
    try:
        return next(storage.list_objects(storage.join(uri, "_delta_log")), None) is not None
    except SourceMissing:  # not even a bucket is there, which the listing says better
        return False


def read_delta(uri: str) -> Iterator[pa.RecordBatch]:
    """The rows of the newest version. Errors: BadTable where this reader does not know the table, AccessDenied."""
    try:
        with delta_errors(uri):
            table = DeltaTable(uri, storage_options=storage.delta_options(uri))
            yield from dataset_of(table).to_batches(fragment_readahead=2)
    except (StoreError, NotFound) as error:
        raise BadTable(f"the Delta table {uri!r} cannot be read: {error}") from None
