"""The data files of a table, one by one: which can be read, and what is the matter with the others.

A dataset fails as a whole where a single file is gone, so whoever mends a table reads it file by file. Size and footer
of every file are looked at; pages only of the columns that are asked for. What a store refuses is no verdict about a
file: that error goes up, and nothing is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from shotlake import storage
from shotlake.errors import InvalidFile, NotFound, SourceChanged
from shotlake.table.files import DataFile, open_parquet
from shotlake.table.lake import Lake
from shotlake.table.rewrite import data_files, read_rows
from shotlake.table.schemas import PARTITIONS

DAMAGE = (InvalidFile, NotFound, SourceChanged, pa.ArrowException, OSError)  # OSError: what pyarrow says of bad pages


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that the newest version names and that cannot be read, and why."""

    file: DataFile
    why: str


@dataclass(slots=True)
class TableFiles:
    """The files of the newest version of a table; one that turns out to be unreadable moves to `broken`."""

    lake: Lake
    table: str
    sound: list[DataFile] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    n_rows: int = 0  # of the sound ones

    @classmethod
    def look(cls, lake: Lake, table: str) -> TableFiles:
        """Size and footer of every file. Errors: NotFound (no table), StoreError, AccessDenied."""
        found = cls(lake, table)
        for file in data_files(lake, table):
            found._look_at(file)
        if found.broken:  # a file that another program has replaced in the meantime may be gone
            current = {file.path for file in data_files(lake, table)}
            found.broken = [broken for broken in found.broken if broken.file.path in current]
        return found

    def read(self, columns: Sequence[str]) -> Iterator[tuple[DataFile, pa.Table]]:
        """Each file with these columns of its rows, those that the table is partitioned by included."""
        for file in list(self.sound):
            try:
                rows = read_rows(self.lake, self.table, file, columns)
            except DAMAGE as error:
                self.sound.remove(file)
                self.broken.append(Broken(file, _why(error)))
                continue
            for name in (name for name in PARTITIONS.get(self.table, []) if name in columns):
                rows = rows.append_column(name, pa.array([file.partition.get(name)] * len(rows), pa.string()))
            yield file, rows.select(list(columns))

    def _look_at(self, file: DataFile) -> None:
        uri = storage.join(self.lake.uri(self.table), file.path)
        try:
            info = storage.stat(uri)
            if info.size_bytes != file.size_bytes:
                raise InvalidFile(f"{info.size_bytes} bytes, the log says {file.size_bytes}")
            with open_parquet(uri, info) as parquet:
                self.n_rows += parquet.metadata.num_rows
            self.sound.append(file)
        except DAMAGE as error:
            self.broken.append(Broken(file, _why(error)))


def _why(error: Exception) -> str:
    said = str(error).partition("\n")[0][:200]
    return "is not there" if isinstance(error, NotFound) else f"cannot be read ({said})"
