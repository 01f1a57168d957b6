"""Delta tables of other programs are found and read, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shotlake import storage
from shotlake.errors import BadTable
from shotlake.table.foreign import is_delta, read_delta


def test_a_delta_table_is_its_newest_version(tmp_path: Path) -> None:
    for uris in (["/v/a"], ["/v/b", "/v/c"]):
        write_deltalake(tmp_path / "list", pa.table({"uri": uris}), mode="append")
    assert is_delta(str(tmp_path / "list")) and not is_delta(str(tmp_path)) and not is_delta(str(tmp_path / "none"))
    rows = pa.Table.from_batches(read_delta(str(tmp_path / "list")))
    assert sorted(rows["uri"].to_pylist()) == ["/v/a", "/v/b", "/v/c"]


@pytest.mark.s3
def test_a_delta_table_in_a_bucket(s3_root: str) -> None:
    write_deltalake(f"{s3_root}/list", pa.table({"uri": ["s3://b/a"]}), storage_options=storage.delta_options(s3_root))
    assert is_delta(f"{s3_root}/list") and not is_delta(s3_root) and not is_delta("s3://no-such-bucket/x")
    assert [batch.to_pydict() for batch in read_delta(f"{s3_root}/list")] == [{"uri": ["s3://b/a"]}]


def test_a_log_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / f"{0:020d}.json").write_text("{}")
    with pytest.raises(BadTable, match=r"Delta table .* cannot be read"):
        list(read_delta(str(tmp_path)))
