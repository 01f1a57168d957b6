"""What a table says of videos reaches them, in its own words and time zone; a bad table is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.catalog.listed import listed_table

from shotlake.catalog.changes import videos_of
from shotlake.catalog.metadata import Metadata, retold
from shotlake.catalog.tables import read_file
from shotlake.errors import BadTable, ConfigError, SourceMissing
from shotlake.records import Video

AT = datetime(2026, 3, 1, tzinfo=UTC)
ZONE = "Europe/Berlin"


def listed(*names: str, **more: Any) -> pa.Table:
    return listed_table(Video(f"/v/{name}", "e", 1, AT, "folder", **more) for name in names)


def read(rows: dict[str, Any], portion: int = 100) -> Metadata:
    batches = pa.table(rows).to_batches(portion)
    return Metadata.read(batches, "told.parquet", ZONE)


def test_a_table_says_more_than_a_name() -> None:
    told = {
        "uri": ["/v/c", "/v/a", "/v/x"],
        "collection": ["news", None, "news"],
        "recorded_at": ["2024-07-01T12:00:00", None, "2024-07-01"],
        "title": ["Die Straße", "", None],
        "season": [3, None, 4],
        "vector": [[1.0], None, [2.0]],  # no text can be made of it
        "size_bytes": [1, 2, 3],  # of the object, not about it
    }
    for portion in (1, 2, 100):
        a, b, c = videos_of(read(told, portion).fill(listed("a", "b", "c", recorded_at=AT, recorded_from="name")))
        assert (c.collection, c.metadata) == ("news", (("title", "Die Straße"), ("season", "3")))
        assert (c.recorded_at, c.recorded_from, c.recorded_zone) == (
            datetime(2024, 7, 1, 10, tzinfo=UTC),
            "table",
            ZONE,
        )
        assert (a.collection, a.metadata) == ("folder", (("title", ""),))
        assert (b.collection, b.metadata, b.recorded_at, b.recorded_from) == ("folder", (), AT, "name")
        assert a.recorded_at == AT


@pytest.mark.parametrize(
    ("column", "utc", "zone"),
    [
        (pa.array(["2024-01-01 00:30"]), datetime(2023, 12, 31, 23, 30, tzinfo=UTC), ZONE),
        (pa.array(["2024-01-01T00:30:00+05:30"]), datetime(2023, 12, 31, 19, tzinfo=UTC), "UTC+05:30"),
        (pa.array([datetime(2024, 1, 1)]), datetime(2023, 12, 31, 23, tzinfo=UTC), ZONE),
        (pa.array([date(2024, 1, 1)]), datetime(2023, 12, 31, 23, tzinfo=UTC), ZONE),
        (pa.array([AT], pa.timestamp("ns", "Asia/Tokyo")), AT, "Asia/Tokyo"),
    ],
)
def test_times_and_their_zones(column: pa.Array, utc: datetime, zone: str) -> None:
    (video,) = videos_of(read({"uri": ["/v/a"], "recorded_at": column}).fill(listed("a")))
    assert (video.recorded_at, video.recorded_zone) == (utc, zone)


def test_what_is_said_anew_is_found() -> None:
    before = read({"uri": ["/v/a", "/v/b", "/v/c"], "title": ["1", "2", "3"]}).fill(listed("a", "b", "c"))
    assert len(retold(before, before)) == 0
    after = read({"uri": ["/v/a", "/v/b"], "title": ["1", "two"]}).fill(listed("a", "b", "c"))
    changed = {row["uri"]: dict(row["metadata"]) for row in retold(after, before).to_pylist()}
    assert changed == {"/v/b": {"title": "two"}, "/v/c": {}}
    assert len(retold(after.slice(0, 0), before)) == 0


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ({"url": ["/v/a"]}, BadTable, r"\['url'\]; one has to be called uri"),
        ({"uri": ["/v/a", "/v/b", "/v/../v/a"]}, BadTable, "names '/v/a' more than once"),
        ({"uri": ["/v/a", None]}, BadTable, "a row without a uri"),
        ({"uri": ["/v/a"], "recorded_at": ["yesterday"]}, BadTable, "recorded_at 'yesterday'; write it as"),
        ({"uri": ["ftp://v/a"]}, ConfigError, "scheme 'ftp'"),
    ],
)
def test_a_bad_table_is_refused(rows: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(rows, portion=1)


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffuri,title,number\n/v/a,"two\nlines, one cell",007\n/v/b,,\n')
    pq.write_table(pa.table({"uri": ["/v/a"]}), tmp_path / "a.parquet")
    assert list(rows(tmp_path / "a.csv")) == [
        {"uri": "/v/a", "title": "two\nlines, one cell", "number": "007"},
        {"uri": "/v/b", "title": None, "number": None},
    ]
    assert list(rows(tmp_path / "a.parquet")) == [{"uri": "/v/a"}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.parquet", b"PAR1 no"),
        ("a.csv", b""),
        ("a.csv", b"uri,x\n1\n"),
        ("a.csv", b"uri\n\xff\xfe\n"),
        ("folder.csv", None),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes | None) -> None:
    (tmp_path / name).mkdir() if data is None else (tmp_path / name).write_bytes(data)
    with pytest.raises(BadTable, match=r"cannot be read as a table"):
        list(read_file(str(tmp_path / name)))
    with pytest.raises(SourceMissing, match="there is no"):
        list(read_file(str(tmp_path / "none.csv")))


def rows(path: Path) -> Iterator[dict[str, Any]]:
    for batch in read_file(str(path)):
        yield from batch.to_pylist()
