"""Tables beside the archive: lists of URIs, and what is known of videos. Delta is opened in `table` only."""

from __future__ import annotations

from functools import partial

from shotlake import storage
from shotlake.catalog.metadata import Metadata
from shotlake.catalog.tables import Rows, is_file, read_file
from shotlake.config import CatalogConfig
from shotlake.errors import BadTable
from shotlake.table.foreign import is_delta, read_delta


def delta_rows(uri: str) -> Rows | None:
    """The rows of a Delta table; None if there is none under this name."""
    return partial(read_delta, uri) if is_delta(uri) else None


def metadata_of(root: str, config: CatalogConfig) -> Metadata | None:
    """What `catalog.metadata` says of videos, or the table of URIs that is the root itself; None if there is neither.

    Errors: BadTable, SourceMissing, ConfigError.
    """
    named = storage.normalise(config.metadata) if config.metadata else root
    rows = partial(read_file, named) if is_file(named) else delta_rows(named)
    if rows is None and config.metadata:
        raise BadTable(f"catalog.metadata is {config.metadata!r}; a CSV or Parquet file or a Delta table is allowed")
    return Metadata.read(rows(), named, config.time_zone) if rows else None
