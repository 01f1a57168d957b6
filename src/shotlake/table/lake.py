"""The lake as Delta tables: create, read at a version, append once, add finished data files once.

Every commit is made against the snapshot that was looked at and fails if another one came between; then the snapshot
is read again. So an application transaction is never applied twice, and a run that lost its lease cannot commit: the
lease's epoch is part of the log that decides the race.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from shotlake import storage
from shotlake.errors import CommitError, LakeFormat, LeaseLost, SourceMissing
from shotlake.table.delta import App, add_action, add_to, delta_errors, difference, properties, sequence
from shotlake.table.files import DataFile, write_file
from shotlake.table.formats import check_format, create_table, keep_log, keeps_no_log
from shotlake.table.reading import dataset_of
from shotlake.table.schemas import PARTITIONS, TABLES
from shotlake.table.snapshots import T, again_if_gone, is_kept, is_there, look, opened

log = logging.getLogger(__name__)

COMMIT_TRIES = 50


@dataclass(frozen=True, slots=True)
class Lake:
    """A handle on the tables under `root`: every call sees the newest commit, see `snapshots.py`."""

    root: str

    @classmethod
    def create_or_open(cls, root: str) -> Lake:
        """The lake at `root`, with its missing tables made.

        Errors: UnsafeStore (no create-only put), AccessDenied, LakeFormat (another format, or a foreign table).
        """
        lake = cls(storage.normalise(root))
        present = [name for name in TABLES if is_there(lake.uri(name))]
        if len(present) < len(TABLES):
            storage.check_create_only(lake.root)
        for name in TABLES:
            if name not in present:
                create_table(lake.uri(name), name)
        check_format(lake.configuration("segments"), lake.root)
        lake.check_columns(present)
        for name in present:
            if keeps_no_log(lake.configuration(name)):
                lake.commit(name, keep_log)
        return lake

    @classmethod
    def open(cls, root: str) -> Lake:
        """The lake at `root`. Errors: SourceMissing where there is none, LakeFormat."""
        lake = cls(storage.normalise(root))
        if not is_there(lake.uri("segments")):
            raise SourceMissing(f"there is no lake at {root!r}; run `shotlake backfill` first, or correct `lake`")
        check_format(lake.configuration("segments"), lake.root)
        return lake

    def uri(self, table: str) -> str:
        """Where a table lies."""
        return storage.join(self.root, "tables", table)

    def version(self, table: str) -> int:
        """The newest version of a table."""
        return self.look(table, lambda snapshot: int(snapshot.version()))

    def check_columns(self, tables: Iterable[str] = TABLES) -> None:
        """Errors: LakeFormat if tables lack columns that this version writes."""
        lacking = [f"{table}.{column}" for table in tables for column in self.missing_columns(table)]
        if lacking:
            raise LakeFormat(f"the lake at {self.root!r} lacks {', '.join(lacking)}; run `shotlake migrate`")

    def missing_columns(self, table: str) -> list[str]:
        """Columns that this version writes and the table does not have yet."""
        known = self.look(table, lambda snapshot: {field.name for field in snapshot.schema().fields})
        return [name for name in TABLES[table].names if name not in known]

    def dataset(self, table: str, version: int | None = None) -> pa.dataset.Dataset:
        """A table as a pyarrow dataset: what DuckDB and others scan with column and file pruning.

        Columns that a lake of an earlier version lacks are null.
        """
        found, uri = None, self.uri(table)
        if version is None or is_kept(uri):
            found = self.look(table, lambda newest: _dataset_at(newest, version))
        if found is None:
            with delta_errors(uri):
                found = dataset_of(opened(uri, version))
        lacking = [field for field in TABLES[table] if field.name not in found.schema.names]
        return found.replace_schema(pa.schema([*found.schema, *lacking])) if lacking else found

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table in memory, at `version` or the newest."""

        def read() -> pa.Table:
            with delta_errors(self.uri(table)):
                return self.dataset(table, version).to_table(columns=_names(columns), filter=filter)

        return read() if version is not None else again_if_gone(read)

    def batches(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,
        version: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Rows of a table as a stream of non-empty batches, at `version` or the newest.

        Arrow reads ahead in its own threads, also for a while after the stream was left; see `table/reading.py`.
        """
        with delta_errors(self.uri(table)):
            scan = self.dataset(table, version).to_batches(columns=_names(columns), filter=filter, fragment_readahead=2)
            yield from (batch for batch in scan if batch.num_rows)

    def first(self, table: str, columns: Sequence[str], filter: pc.Expression) -> dict[str, Any] | None:
        """Some row of a table; None if there is none. Files are read one by one, each to its end, until one has it."""

        def read() -> dict[str, Any] | None:
            with delta_errors(self.uri(table)):
                dataset = self.dataset(table)
                for file in dataset.get_fragments(filter=filter):
                    rows = file.to_table(schema=dataset.schema, columns=list(columns), filter=filter)
                    if len(rows):
                        return dict(rows.slice(0, 1).to_pylist()[0])
                return None

        return again_if_gone(read)

    def transaction_version(self, table: str, app_id: str) -> int:
        """The last sequence number that `app_id` has committed to a table; -1 if none."""
        return self.look(table, lambda snapshot: sequence(snapshot, app_id))

    def append(self, table: str, rows: pa.Table, app: App | None = None) -> int:
        """Append rows and give a version that holds them. With `app`, at most once however often it is called.

        The files bear the name of the run with which `app` begins, so that whoever deletes spares them while it lives.
        Errors: CommitError if the columns are not those of the table.
        """
        schema = TABLES[table]
        if not rows.schema.equals(schema):
            raise CommitError(f"rows for {table} do not have its columns: {difference(rows.schema, schema)}")
        writer = app[0].split("/")[0] if app else "part"
        actions: list[AddAction] = []

        def write(snapshot: DeltaTable) -> bool:
            if app is not None and sequence(snapshot, app[0]) >= app[1]:
                return False
            if not actions:  # of another try: all files or none
                actions.extend([add_action(file) for file in self._write(table, rows, writer)])
            add_to(snapshot, table, actions, properties([app] if app else []))
            return True

        return self.commit(table, write, is_once=app is not None)

    def _write(self, table: str, rows: pa.Table, writer: str) -> Iterator[DataFile]:
        """The rows as data files, one a partition, which no commit holds yet."""
        names = PARTITIONS.get(table, [])
        if not len(rows):
            return
        if not names:
            yield write_file(self.uri(table), table, rows, {}, writer)
            return
        for partition in rows.group_by(names, use_threads=False).aggregate([]).to_pylist():
            mine = reduce(pc.and_, (pc.equal(rows[name], value) for name, value in partition.items()))
            yield write_file(self.uri(table), table, rows.filter(mine), partition, writer)

    def add_files(
        self, actions: Sequence[AddAction], app: App, fence: App, metadata: Mapping[str, str] | None = None
    ) -> int:
        """Add finished data files to `segments` in one commit and give its version; at most once for each `app`.

        `fence` is (lease, epoch). Errors: LeaseLost if a later epoch has reached the log.
        """

        def add(snapshot: DeltaTable) -> bool:
            _refuse_older(snapshot, fence)
            if sequence(snapshot, app[0]) >= app[1]:
                return False
            add_to(snapshot, "segments", list(actions), properties([app, fence], metadata))
            return True

        return self.commit("segments", add)

    def fence(self, fence: App) -> int:
        """Write the lease's epoch into the log of `segments`: no earlier epoch can commit from then on.

        Errors: LeaseLost if a later epoch is there already.
        """

        def add(snapshot: DeltaTable) -> bool:
            _refuse_older(snapshot, fence)
            if sequence(snapshot, fence[0]) >= fence[1]:
                return False
            add_to(snapshot, "segments", [], properties([fence]))
            return True

        return self.commit("segments", add)

    def commit(self, table: str, write: Callable[[DeltaTable], bool], is_once: bool = True) -> int:
        """Run `write` on a fresh snapshot until no other commit came between; give the version that it made.

        `write` says whether it committed; if there was nothing to do, the version is the snapshot's. If it can tell
        that it was done before (`is_once`), a store that stumbles is asked again: only the answer may have been lost.
        """
        return storage.patiently(lambda: self._commit(table, write, True)) if is_once else self._commit(table, write)

    def _commit(self, table: str, write: Callable[[DeltaTable], bool], is_once: bool = False) -> int:
        def commit(snapshot: DeltaTable) -> int:
            version = int(snapshot.version())
            return version + 1 if write(snapshot) else version

        for attempt in range(COMMIT_TRIES):
            try:
                return self.look(table, commit, is_repeatable=is_once)
            except CommitFailedError as error:
                log.debug("table=%s attempt=%d conflict=%s", table, attempt, error)
                time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))
        raise CommitError(f"{self.uri(table)!r} was changed by others {COMMIT_TRIES} times in a row; run again")

    def look(self, table: str, work: Callable[[DeltaTable], T], is_repeatable: bool = True) -> T:
        """What `work` finds in the newest snapshot of a table, for this room. See `snapshots.look`."""
        return look(self.uri(table), work, is_repeatable)

    def configuration(self, table: str) -> Mapping[str, str | None]:
        """The properties of a table."""
        return self.look(table, lambda snapshot: snapshot.metadata().configuration)


def _dataset_at(snapshot: DeltaTable, version: int | None) -> pa.dataset.Dataset | None:
    """None if the snapshot is of another version."""
    return dataset_of(snapshot) if version is None or version == snapshot.version() else None


def _refuse_older(snapshot: DeltaTable, fence: App) -> None:
    lease, epoch = fence
    newest = sequence(snapshot, lease)
    if newest > epoch:
        raise LeaseLost(f"the lease {lease} was taken over (epoch {newest}, ours is {epoch}); this run stops")


def _names(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
