"""What makes a Delta table one of ours: how it is created, its format, and how long its log is kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from shotlake import storage
from shotlake.errors import LakeFormat
from shotlake.table.delta import delta_errors
from shotlake.table.schemas import LAKE_FORMAT, PARTITIONS, TABLES, key_columns

FORMAT_PROPERTY = "shotlake.lake_format"
LOG_RETENTION, NO_RETENTION = "delta.logRetentionDuration", "interval 0 seconds"
USUAL_RETENTION = "interval 30 days"  # Delta's own

Properties = Mapping[str, str | None]


def create_table(uri: str, table: str) -> None:
    """An empty table at `uri`, unless there is one."""

    def create() -> None:
        # A conflict means that another program made it at this moment, which is as good.
        with delta_errors(uri), suppress(CommitFailedError):
            DeltaTable.create(
                uri,
                TABLES[table],
                mode="ignore",
                partition_by=PARTITIONS.get(table, []),
                configuration=_properties_of(table),
                storage_options=storage.delta_options(uri),
                raise_if_key_not_exists=False,
            )

    storage.patiently(create)


def _properties_of(table: str) -> dict[str, str | None]:
    return {
        "delta.enableDeletionVectors": "false",
        # delta-rs takes a column without statistics for one without values, and a filter on it finds nothing,
        # unless it is told which columns have statistics.
        "delta.dataSkippingStatsColumns": ",".join(key_columns(table)),
        FORMAT_PROPERTY: str(LAKE_FORMAT),
    }


def check_format(properties: Properties, root: str) -> None:
    """Errors: LakeFormat if the table with these properties is of another format, or not of ours."""
    found = properties.get(FORMAT_PROPERTY)
    if found is None:
        raise LakeFormat(f"{root!r} holds a Delta table that shotlake did not make; choose another lake")
    if found != str(LAKE_FORMAT):
        advice = "upgrade shotlake" if found.isdigit() and int(found) > LAKE_FORMAT else "run `shotlake migrate`"
        raise LakeFormat(f"the lake at {root!r} has format {found}, this is format {LAKE_FORMAT}; {advice}")


def keeps_no_log(properties: Properties) -> bool:
    """An erasure of an earlier version that was killed midway has left the log without any history."""
    return properties.get(LOG_RETENTION) == NO_RETENTION


def keep_log(snapshot: DeltaTable) -> bool:
    """Give a log its history back; whether that made a commit."""
    if not keeps_no_log(snapshot.metadata().configuration):
        return False
    snapshot.alter.set_table_properties({LOG_RETENTION: USUAL_RETENTION})
    return True
