"""What one commit of a Delta table is made of, and what delta-rs raises as errors of ours."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from shotlake import storage
from shotlake.errors import AccessDenied, NotFound
from shotlake.table.files import DataFile
from shotlake.table.schemas import PARTITIONS, TABLES

App = tuple[str, int]  # an application transaction: (app_id, sequence number, rising)


def add_to(snapshot: DeltaTable, table: str, actions: list[AddAction], with_properties: CommitProperties) -> None:
    """Commit finished files as the version behind the snapshot. Errors: CommitFailedError if another came between."""
    partitions = PARTITIONS.get(table, [])
    snapshot.create_write_transaction(actions, "append", TABLES[table], partitions, commit_properties=with_properties)


def add_action(file: DataFile) -> AddAction:
    """What the log says of a new file."""
    return AddAction(
        path=file.path,
        size=file.size_bytes,
        partition_values=dict(file.partition),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(file.stats),
    )


def properties(apps: Sequence[App], metadata: Mapping[str, str] | None = None) -> CommitProperties:
    """Application transactions, and what else stands in a commit."""
    # No retries inside delta-rs: it would commit blindly after a conflict, without a look at the transactions.
    transactions = [Transaction(app_id, sequence) for app_id, sequence in apps]
    return CommitProperties(custom_metadata=dict(metadata or {}), max_commit_retries=0, app_transactions=transactions)


def sequence(snapshot: DeltaTable, app_id: str) -> int:
    """The last sequence number that `app_id` has committed; -1 if none."""
    found = snapshot.transaction_version(app_id)
    return -1 if found is None else int(found)


def difference(found: pa.Schema, wanted: pa.Schema) -> str:
    """How columns differ from those of a table, for a person."""
    missing = [name for name in wanted.names if name not in found.names]
    extra = [name for name in found.names if name not in wanted.names]
    wrong = [f"{f.name} is {found.field(f.name).type}, not {f.type}" for f in wanted if f.name in found.names
             and found.field(f.name).type != f.type]  # fmt: skip
    parts = [f"missing {missing}" if missing else "", f"unknown {extra}" if extra else "", *wrong]
    return "; ".join(part for part in parts if part) or "their order differs"


@contextmanager
def delta_errors(uri: str) -> Iterator[None]:
    """Wrap what delta-rs raises, once, at this border; a conflict passes, `Lake.commit` answers it."""
    try:
        yield
    except CommitFailedError:
        raise
    except TableNotFoundError:
        raise NotFound(f"there is no table at {uri!r}") from None
    except FileNotFoundError:
        raise NotFound(f"a data file of {uri!r} is gone; old versions last for table.retention_h") from None
    except PermissionError as error:
        raise AccessDenied(f"the table {uri!r} may not be used ({error.strerror}); check its permissions") from None
    except (DeltaError, OSError) as error:
        raise storage.store_error(uri, error) from error
