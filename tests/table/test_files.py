"""Data files hold what was given to them, small and with statistics; what they report is proved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakes import KEY, OTHER_KEY, make_rows, make_unit, make_video

from shotlake import storage
from shotlake.errors import InvalidFile
from shotlake.records import WorkUnit
from shotlake.table.files import FileReport, check_file, copy_units, data_uri, write_segments
from shotlake.table.schemas import SEGMENTS, file_schema


def test_one_file_a_space_and_collection(root: str) -> None:
    other = WorkUnit(make_video(3, collection="odd /%2F ü"), KEY, 0, 4)
    rows = [make_rows(make_unit(1)), make_rows(make_unit(2, key=OTHER_KEY)), make_rows(other)]
    reports = write_segments(root, "r1", pa.concat_tables(rows))
    found = {(report.embed_key, report.collection): report for report in reports}
    assert {where: report.n_rows for where, report in found.items()} == {
        (KEY, "news"): 10, (OTHER_KEY, "news"): 10, (KEY, "odd /%2F ü"): 4
    }  # fmt: skip
    for report in reports:
        assert sum(span.n_rows for span in check_file(root, report)) == report.n_rows
        assert FileReport.from_json(report.to_json()) == report


def test_the_same_rows_twice_are_two_files(tmp_path: Path) -> None:
    rows = make_rows(make_unit(1))
    assert write_segments(str(tmp_path), "r1", rows)[0].path != write_segments(str(tmp_path), "r1", rows)[0].path


def test_vectors_are_rounded_to_float16_and_split_by_byte(tmp_path: Path) -> None:
    rows = make_rows(make_unit(1))
    raw = np.random.default_rng(1).normal(size=(10, 7)).astype(np.float32)
    at = SEGMENTS.get_field_index("visual")
    values = [None if i == 3 else row for i, row in enumerate(raw)]
    rows = rows.set_column(at, SEGMENTS.field(at), pa.array(values, SEGMENTS.field(at).type))
    (report,) = write_segments(str(tmp_path), "r1", rows)
    file = pq.ParquetFile(data_uri(str(tmp_path), report.path))
    expected = [None if i == 3 else row.astype(np.float16).astype(float).tolist() for i, row in enumerate(raw)]
    assert file.read(["visual"])["visual"].to_pylist() == expected
    chunks = {file.metadata.row_group(0).column(i).path_in_schema: i for i in range(file.metadata.num_columns)}
    for space in ("fused", "visual", "audio"):
        column = file.metadata.row_group(0).column(chunks[f"{space}.list.element"])
        assert "BYTE_STREAM_SPLIT" in column.encodings and column.compression == "ZSTD"


def test_a_sliced_table_is_written_as_it_looks(tmp_path: Path) -> None:
    unit = make_unit(1)
    rows = make_rows(unit)
    (report,) = write_segments(str(tmp_path), "r1", rows.slice(3, 4))
    file = pq.read_table(data_uri(str(tmp_path), report.path))
    for column in ("cell", "fused", "audio"):
        assert file[column].to_pylist() == rows[column].to_pylist()[3:7]


def test_statistics_bound_the_key_columns(tmp_path: Path) -> None:
    (report,) = write_segments(str(tmp_path), "r1", make_rows(make_unit(1, first_cell=5)))
    assert report.stats["numRecords"] == 10
    assert (report.stats["minValues"]["start_us"], report.stats["maxValues"]["end_us"]) == (10_000_000, 30_000_000)
    assert report.stats["minValues"]["recorded_at"] == "2026-03-01T12:00:00.123456Z"
    assert json.loads(report.to_json())["stats"] == report.stats


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="columns"):
        write_segments(str(tmp_path), "r1", make_rows(make_unit(1)).drop_columns(["uri"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size_bytes": 1}, "bytes, not the 1"),
        ({"n_rows": 9}, "10 rows, not the 9"),
        ({"unit_rows": {"aa": 10}}, "rows of each unit"),
        ({"path": "gone.parquet"}, "not there"),
    ],
)
def test_a_report_that_is_not_true_is_refused(root: str, change: dict[str, object], words: str) -> None:
    (report,) = write_segments(root, "r1", make_rows(make_unit(1)))
    false = FileReport(**{**json.loads(report.to_json()), **change})
    with pytest.raises(InvalidFile, match=words):
        check_file(root, false)


def test_another_schema_and_doubled_cells_are_refused(tmp_path: Path) -> None:
    root, unit = str(tmp_path), make_unit(1)
    (report,) = write_segments(root, "r1", pa.concat_tables([make_rows(unit, n=2), make_rows(unit, n=2)]))
    with pytest.raises(InvalidFile, match="twice"):
        check_file(root, report)
    path = Path(data_uri(root, report.path))
    pq.write_table(pq.read_table(path).drop_columns(["etag"]), path)
    short = FileReport(**{**json.loads(report.to_json()), "size_bytes": path.stat().st_size})
    with pytest.raises(InvalidFile, match="columns"):
        check_file(root, short)


def test_units_are_copied_to_a_file_of_their_own(root: str) -> None:
    one, two = make_unit(1), make_unit(2)
    (report,) = write_segments(root, "r1", pa.concat_tables([make_rows(one), make_rows(two)]))
    copy = copy_units(root, "r1", report, [two.unit_id])
    assert copy.unit_rows == {two.unit_id: 10}
    (span,) = check_file(root, copy)
    assert (span.first_cell, span.last_cell, span.n_rows) == (0, 9, 10)
    assert storage.exists(data_uri(root, report.path))
    assert "embed_key" not in file_schema("segments").names
