"""A lake of an earlier version is named, migrated and written on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakes import KEY, make_rows, make_unit
from test_maintenance import commit, seen

from shotlake.config import TableConfig
from shotlake.errors import LakeFormat
from shotlake.table import delta, files, formats, lake, migrate, schemas
from shotlake.table.lake import Lake


@pytest.fixture
def old_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lake of a version that knew neither `segments.container` nor `units.code`, with a row."""
    older = {
        name: pa.schema(
            [field for field in schema if (name, field.name) not in {("segments", "container"), ("units", "code")}]
        )
        for name, schema in schemas.TABLES.items()
    }
    old = str(tmp_path / "lake")
    with monkeypatch.context() as patch:
        patch.setattr(lake, "TABLES", older)
        patch.setattr(delta, "TABLES", older)
        patch.setattr(formats, "TABLES", older)
        patch.setattr(files, "SEGMENTS", older["segments"])
        patch.setattr(files, "FILE_SCHEMA", pa.schema([f for f in files.FILE_SCHEMA if f.name != "container"]))
        made = Lake.create_or_open(old)
        made.append("segments", make_rows(make_unit(1)).drop_columns(["container"]))
    return old


def test_an_older_lake_is_named_and_migrated(old_lake: str) -> None:
    with pytest.raises(LakeFormat, match=r"lacks segments\.container, units\.code; run `shotlake migrate`"):
        Lake.create_or_open(old_lake)
    handle = Lake.open(old_lake)
    assert migrate.migrate(handle, "m1", TableConfig()) == ["segments.container", "units.code"]
    assert migrate.migrate(handle, "m2", TableConfig()) == []
    written = Lake.create_or_open(old_lake)
    commit(written, make_unit(2))
    assert len(seen(written)) == 20
    assert {row["container"] for row in seen(written)} == {None}
    assert {row["embed_key"] for row in seen(written)} == {KEY}


def test_readers_need_no_migration(old_lake: str) -> None:
    older = Lake.open(old_lake)
    assert set(older.read("segments", ["container"])["container"].to_pylist()) == {None}
    assert older.read("units", ["code"]).num_rows == 0
    assert [batch.num_rows for batch in older.batches("segments", ["container", "cell"], pc.field("cell") < 3)] == [3]
