"""Tables that name videos in a column `uri`: CSV and Parquet files; of any other kind flow hands in the batches.

A table is a stream of batches that can be begun again, and is never held as a whole here.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shotlake import storage
from shotlake.errors import BadTable, NotFound, SourceMissing

FILES = (".csv", ".parquet")

Rows = Callable[[], Iterable[pa.RecordBatch]]  # the rows of a table, from the first one whenever it is called


def is_file(uri: str) -> bool:
    """True for a table that this room reads itself."""
    return uri.lower().endswith(FILES)


def read_file(uri: str) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV or Parquet file. Errors: SourceMissing; BadTable if it is not what its name says."""
    with tempfile.TemporaryDirectory(prefix="shotlake-table-") as folder:
        path = Path(uri)
        if storage.is_remote(uri):
            path = Path(folder) / path.name
            try:
                storage.download(uri, path)
            except NotFound:
                raise SourceMissing(f"there is no {uri!r}; check the path") from None
        try:
            yield from _batches(path)
        except FileNotFoundError:
            raise SourceMissing(f"there is no {uri!r}; check the path") from None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadTable(f"{uri!r} cannot be read as a table ({str(error)[:200]}); write it again") from None


def uris_of(batch: pa.RecordBatch, name: str) -> list[str]:
    """The URIs of a batch, normalised. Errors: BadTable without that column or with an empty row, ConfigError."""
    if "uri" not in batch.schema.names:
        raise BadTable(f"{name!r} has the columns {batch.schema.names}; one has to be called uri")
    uris = batch.column("uri").to_pylist()
    if any(not isinstance(uri, str) or not uri for uri in uris):
        raise BadTable(f"{name!r} has a row without a uri; every row has to name a video")
    return [storage.normalise(uri) for uri in uris]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()
        return
    with path.open(newline="", encoding="utf-8-sig") as text:
        names = next(csv.reader(text), [])
    # a name such as 007 is no number, and what one block takes for one a later block may not
    types = {name: pa.string() for name in names}
    options = pa_csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    with pa_csv.open_csv(path, parse_options=parsing, convert_options=options) as reader:
        yield from reader
