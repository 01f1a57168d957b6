"""A run reads tables beside the archive: which videos there are, what they are called, and what is said in them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from tests.flow.lakes import local_config, run

from shotlake.config import Config
from shotlake.errors import BadTable
from shotlake.flow.build_index import build_index
from shotlake.flow.space import open_space
from shotlake.index.columns import ShardColumns
from shotlake.query.filters import parse_filter
from shotlake.table.lake import Lake
from shotlake.table.readers import latest_videos

SRT = "1\n00:00:00,000 --> 00:00:01,000\n<i>Good evening</i>\n"


def told(config: Config, root: Path) -> dict[str, dict[str, str]]:
    rows = latest_videos(Lake.open(config.lake), str(root)).to_pylist()
    return {Path(row["uri"]).name: dict(row["metadata"]) for row in rows}


def found(config: Config, text: str) -> set[tuple[str, int]]:
    """(name, start_us) of the indexed rows that pass a filter."""
    manifest = build_index(config, open_space(config))
    folder = Path(config.lake) / "index" / manifest.embed_key
    shards = [ShardColumns(path) for path in sorted(folder.glob(f"{manifest.generation}/fused/shards/*/columns.arrow"))]
    rows = [shard.take(shard.where(parse_filter(text).rows)[0], ["uri", "start_us"]).to_pylist() for shard in shards]
    return {(Path(row["uri"]).name, row["start_us"]) for part in rows for row in part}


def test_a_delta_table_names_the_videos_and_what_is_known_of_them(copies: Path, tmp_path: Path) -> None:
    one, two, *_ = sorted(copies.iterdir())
    source = tmp_path / "list"
    columns = {"uri": [str(one), str(two)], "collection": ["news", None], "title": ["Rain", "Sun"]}
    write_deltalake(source, pa.table(columns))
    one.with_suffix(".srt").write_text(SRT)
    config = local_config(tmp_path / "lake")
    report = run(source, config)
    assert (report.ledger.videos["listed"], report.ledger.videos["indexed"]) == (2, 2)
    assert told(config, source) == {one.name: {"title": "Rain"}, two.name: {"title": "Sun"}}
    rows = Lake.open(config.lake).read("segments", ["uri", "collection", "text", "start_us"]).to_pylist()
    assert {(Path(row["uri"]).name, row["collection"]) for row in rows} == {(one.name, "news"), (two.name, "list")}
    assert {row["start_us"] for row in rows if row["text"]} == {0}
    assert found(config, 'text contains "good evening"') == {(one.name, 0)}
    assert {name for name, _ in found(config, "meta.title = Sun")} == {two.name}

    write_deltalake(source, pa.table({**columns, "title": ["Rain", "Sunshine"]}), mode="overwrite")
    again = run(source, config)
    assert (again.ledger.videos["unchanged"], again.ledger.cells["written"]) == (2, 0)
    assert told(config, source) == {one.name: {"title": "Rain"}, two.name: {"title": "Sunshine"}}
    assert len(Lake.open(config.lake).read("videos", ["uri"])) == 3  # the one that is called otherwise now
    assert found(config, "meta.title = Sun") == set()
    assert {name for name, _ in found(config, "meta.title = Sunshine")} == {two.name}


def test_metadata_are_read_beside_a_folder(copies: Path, tmp_path: Path) -> None:
    first = min(copies.iterdir())
    table = tmp_path / "told.csv"
    table.write_text(f"uri,title,recorded_at\n{first},Rain,2024-07-01T12:00\n/else/where,Sun,\n")
    config = local_config(tmp_path / "lake", f"catalog.metadata={table}", "catalog.time_zone=Europe/Berlin")
    assert run(copies, config).ledger.videos["indexed"] == 4
    rows = {Path(row["uri"]).name: row for row in latest_videos(Lake.open(config.lake), str(copies)).to_pylist()}
    said = rows[first.name]
    assert (dict(said["metadata"]), said["recorded_from"]) == ({"title": "Rain"}, "table")
    assert (said["recorded_zone"], said["recorded_at"].hour) == ("Europe/Berlin", 10)
    assert all(not row["metadata"] for name, row in rows.items() if name != first.name)
    dated = {(row["uri"], row["recorded_at"]) for row in Lake.open(config.lake).read("segments").to_pylist()}
    assert (str(first), said["recorded_at"]) in dated


@pytest.mark.parametrize(
    ("content", "words"),
    [("url\nx\n", "one has to be called uri"), ("uri\n/a\n/a\n", "more than once"), ("", "cannot be read as a table")],
)
def test_a_bad_table_stops_a_run_before_it_writes(copies: Path, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "told.csv").write_text(content)
    with pytest.raises(BadTable, match=words):
        run(copies, local_config(tmp_path / "lake", f"catalog.metadata={tmp_path / 'told.csv'}"))
    with pytest.raises(BadTable, match="a CSV or Parquet file or a Delta table is allowed"):
        run(copies, local_config(tmp_path / "lake", f"catalog.metadata={copies}"))
    assert not (tmp_path / "lake").exists()
