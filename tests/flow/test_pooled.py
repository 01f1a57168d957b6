"""Scene and video vectors follow the segments: once for each video, again where one got more, gone with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from tests.evaluate.toy import paint_pair
from tests.flow.lakes import MadeOnce, local_config, run

from shotlake.cli import main
from shotlake.config import Config
from shotlake.embed.load import load_encoder
from shotlake.errors import BadModel, QueryError
from shotlake.flow.erasure import erase_videos
from shotlake.flow.pooled import _ranges, pool_videos
from shotlake.flow.upkeep import maintain_lake
from shotlake.query.whole import WholeSearch
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.readers import matrix, written_fingerprints
from shotlake.table.snapshots import opened

MODEL = "embed.model=python:tests.evaluate.toy.ColourEncoder"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Two seconds of one colour, two of another, and their lake."""
    folder = tmp_path_factory.mktemp("colours")
    for first, second in (("red", "blue"), ("green", "green"), ("blue", "white")):
        paint_pair(folder / f"{first}-{second}.mp4", first, second)
    return MadeOnce.of(sorted(folder.iterdir()), tmp_path_factory.mktemp("pooled"), MODEL)


@pytest.fixture
def videos(colours: MadeOnce) -> Path:
    """The folder that `config` puts back."""
    return colours.base / "videos"


@pytest.fixture
def config(colours: MadeOnce, tmp_path: Path) -> Config:
    return colours.put_back(tmp_path / "lake")[1]


def pooled(config: Config, kind: str) -> list[dict]:
    rows = Lake.open(config.lake).read("pooled", filter=pc.field("kind") == kind).to_pylist()
    return sorted(rows, key=lambda row: (row["uri"], row["start_us"]))


def test_a_video_is_the_mean_of_its_segments_and_has_its_scenes(config: Config) -> None:
    rows = pooled(config, "video")
    assert [Path(row["uri"]).stem for row in rows] == ["blue-white", "green-green", "red-blue"]
    segments = Lake.open(config.lake).read("segments", ["uri", "start_us", "end_us", "fused"])
    for row in rows:
        own = segments.filter(pc.equal(segments["uri"], row["uri"]))
        weights = (own["end_us"].to_numpy() - own["start_us"].to_numpy())[:, None]
        mean = (matrix(own["fused"].combine_chunks()) * weights).sum(axis=0)
        assert np.array(row["fused"]) @ mean / np.linalg.norm(mean) >= 0.999  # rounded to float16
        assert np.linalg.norm(row["fused"]) == pytest.approx(1, abs=1e-3)
        assert (row["start_us"], row["end_us"], row["n_segments"]) == (0, 4_000_000, 4)
        assert row["audio"] is None
    scenes = [(Path(row["uri"]).stem, row["start_us"], row["end_us"]) for row in pooled(config, "scene")]
    assert scenes == [
        ("blue-white", 0, 2_000_000), ("blue-white", 2_000_000, 4_000_000), ("green-green", 0, 4_000_000),
        ("red-blue", 0, 2_000_000), ("red-blue", 2_000_000, 4_000_000),
    ]  # fmt: skip


def test_a_second_run_changes_nothing_and_a_new_video_adds_its_own(config: Config, videos: Path) -> None:
    version, before = Lake.open(config.lake).version("pooled"), pooled(config, "video")
    run(videos, config)
    assert Lake.open(config.lake).version("pooled") == version
    paint_pair(videos / "white-red.mp4", "white", "red")
    run(videos, config)
    after = pooled(config, "video")
    assert len(after) == 4
    assert [row for row in after if row["uri"] in {old["uri"] for old in before}] == before


def test_a_row_of_fewer_segments_is_made_again_and_lost_rows_come_back(config: Config) -> None:
    lake = Lake.open(config.lake)
    before = pooled(config, "video")
    rows = lake.read("pooled")
    short = rows.filter(pc.equal(rows["uri"], before[0]["uri"]))
    opened(lake.uri("pooled")).delete()
    lake.append("pooled", short.set_column(short.schema.get_field_index("n_segments"), "n_segments", pc.cast(
        pc.subtract(short["n_segments"], 1), "int64")))  # fmt: skip
    assert maintain_lake(config)["videos_pooled"] == 3
    assert [row["uri"] for row in pooled(config, "video")] == [row["uri"] for row in before]
    assert [row["n_segments"] for row in pooled(config, "video")] == [4, 4, 4]
    assert len(pooled(config, "scene")) == 5
    assert maintain_lake(config)["videos_pooled"] == 0


def test_range_by_range_it_is_the_same(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shotlake.flow.pooled._SAMPLED", 1)
    monkeypatch.setattr("shotlake.flow.pooled.UNITS_A_RANGE", 1)
    lake = Lake.open(config.lake)
    (key,) = written_fingerprints(lake)
    assert [within.start != "" for within in _ranges(lake, key)] == [False, True, True]
    before = pooled(config, "video"), pooled(config, "scene")
    opened(lake.uri("pooled")).delete()
    assert pool_videos(lake, key, "run", 15) == 3
    for old, new in zip(before, (pooled(config, "video"), pooled(config, "scene")), strict=True):
        for row in (*old, *new):
            del row["at"], row["run_id"]
        assert old == new
    assert pool_videos(lake, key, "run", 15) == 0


def test_one_process_at_a_time(config: Config) -> None:
    lake = Lake.open(config.lake)
    (key,) = written_fingerprints(lake)
    opened(lake.uri("pooled")).delete()
    with Lease.acquire(lake.root, f"pooled-{key}", "/", "another-run", 15):
        assert pool_videos(lake, key, "run", 15) == 0
    assert pool_videos(lake, key, "run", 15) == 3


def test_what_is_erased_is_not_pooled(config: Config) -> None:
    uri = pooled(config, "video")[0]["uri"]
    erase_videos(uri, None, "test", config)
    maintain_lake(config)
    assert uri not in {row["uri"] for row in pooled(config, "video") + pooled(config, "scene")}
    assert len(pooled(config, "video")) == 2


def test_whole_videos_and_scenes_are_searched(config: Config) -> None:
    search = WholeSearch.open(config.lake, load_encoder(config.embed), config)
    found = search.search("green")
    assert Path(found.hits[0].video_uri).stem == "green-green"
    assert found.hits[0].score == pytest.approx(1, abs=1e-3)
    assert [hit.rank for hit in found.hits] == [1, 2, 3]
    scene = search.search("white", "scene", 1).hits[0]
    assert (Path(scene.video_uri).stem, scene.start_us, scene.end_us) == ("blue-white", 2_000_000, 4_000_000)
    assert scene.scores["audio"] is None and scene.scores["visual"] == pytest.approx(1, abs=1e-3)


def test_videos_like_another(config: Config) -> None:
    """Two share a colour, though at other times: a mean knows nothing of order, which segments do."""
    search = WholeSearch.open(config.lake, load_encoder(config.embed), config)
    uri = next(row["uri"] for row in pooled(config, "video") if "red-blue" in row["uri"])
    assert [Path(hit.video_uri).stem for hit in search.like(uri).hits] == ["blue-white", "green-green"]
    with pytest.raises(QueryError, match="knows no whole video"):
        search.like("nowhere.mp4")
    with pytest.raises(BadModel):
        WholeSearch.open(config.lake, load_encoder(local_config(Path("unused")).embed), config)


def test_command(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--lake", config.lake, "--set", MODEL]
    assert main(["search", "green", "--of", "videos", "--limit", "1", *here]) == 0
    assert "green-green.mp4" in capsys.readouterr().out
    assert main(["search", "green", "--of", "pictures", *here]) == 2
    assert "moments, scenes or videos" in capsys.readouterr().err
