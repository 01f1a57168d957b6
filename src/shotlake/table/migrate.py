"""A lake of an earlier version gets the tables and columns that it lacks; nothing is rewritten, old rows have nulls."""

from __future__ import annotations

from deltalake import DeltaTable
from deltalake.schema import Schema

from shotlake.config import TableConfig
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.maintenance import LEASE_KEY
from shotlake.table.schemas import TABLES


def migrate(lake: Lake, run_id: str, config: TableConfig) -> list[str]:
    """Add what is missing and give it as "table.column". Errors: LeaseHeld."""
    added = []
    with Lease.acquire(lake.root, LEASE_KEY, "/", run_id, config.lease_s):
        for table in TABLES:
            for name in lake.missing_columns(table):
                _add(lake, table, name)
                added.append(f"{table}.{name}")
    return added


def _add(lake: Lake, table: str, name: str) -> None:
    (field,) = (field for field in Schema.from_arrow(TABLES[table]).fields if field.name == name)

    def add(snapshot: DeltaTable) -> bool:
        if name in {known.name for known in snapshot.schema().fields}:
            return False
        snapshot.alter.add_columns([field])
        return True

    lake.commit(table, add)
