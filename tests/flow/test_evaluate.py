"""An evaluation through the real pipeline, on videos whose right answers can be worked out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.toy import PAIRS, paint_pair
from tests.flow.lakes import local_config

from shotlake.cli import main
from shotlake.errors import ConfigError
from shotlake.evaluate.page import render_page
from shotlake.flow.evaluate import Task, evaluate

MODEL = "embed.model=python:tests.evaluate.toy.ColourEncoder"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pairs of four colours, and a video that nobody annotated."""
    folder = tmp_path_factory.mktemp("colours") / "videos"
    for number, (first, second) in enumerate(PAIRS):
        paint_pair(folder / f"{number % 3}" / f"video{number}.mp4", first, second)
    paint_pair(folder / "other.mp4", "red", "green")
    return folder


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As MSR-VTT publishes them, with a video that is not there and a caption that names no colour."""
    path = tmp_path_factory.mktemp("annotations") / "test.csv"
    rows = [f"video{number},{first} then {second}" for number, (first, second) in enumerate(PAIRS)]
    path.write_text("\n".join(["video_id,sentence", *rows, "video0,a sunset", "video99,white then red"]))
    return path


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody described the first half of the videos."""
    path = tmp_path_factory.mktemp("described") / "d.jsonl"
    rows = [{"video": f"video{number}", "description": " then ".join(pair)} for number, pair in enumerate(PAIRS[:8])]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def result(
    videos: Path, annotations: Path, descriptions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    config = local_config(tmp_path_factory.mktemp("lake") / "lake", MODEL, "limits.tolerated_failure_ratio=1")
    yield evaluate(Task("msrvtt", annotations, str(videos), descriptions), config, lambda stage, done, total: None)


def value(result: dict[str, Any], method: str, protocol: str, metric: str = "r_at_1", **more: str) -> float:
    wanted = {"method": method, "protocol": protocol, "space": "fused", "direction": "text_to_video", **more}
    (row,) = [row for row in result["rows"] if all(row[key] == text for key, text in wanted.items())]
    return float(row[metric]["value"])


def test_the_gallery_and_what_is_missing_are_told(result: dict[str, Any]) -> None:
    assert result["gallery"] == {"items": 16, "queries": 17, "missing": ["video99"], "without_vectors": []}
    assert result["refused_queries"] == 1
    assert result["clips"]["n_frames"] == 4
    assert result["prompts"] == {"query": "{text}"}


def test_one_clip_a_video_tells_all_pairs_apart(result: dict[str, Any]) -> None:
    """The query that was refused finds nothing; the other 16 are right, in both directions."""
    assert value(result, "shotlake", "published") == pytest.approx(16 / 17, abs=1e-6)
    assert value(result, "shotlake", "published", direction="video_to_text") == 1
    assert value(result, "shotlake", "published", "median_rank") == 1


def test_segments_of_a_second_see_one_colour_each(result: dict[str, Any]) -> None:
    """'red then blue' scores 0.5 with every second that is red or blue, so only pairs of one colour are found first."""
    assert value(result, "shotlake", "max") < 0.3
    assert 0 < value(result, "shotlake", "mean") < value(result, "shotlake", "published")


def test_a_still_picture_is_worse_than_the_clip(result: dict[str, Any]) -> None:
    assert value(result, "middle frame", "published") < 0.3


def test_descriptions_are_a_baseline_as_good_as_they_are(result: dict[str, Any]) -> None:
    assert value(result, "descriptions", "published") == pytest.approx(8 / 17, abs=1e-6)


def test_the_index_answers_as_the_exact_scores_do(result: dict[str, Any]) -> None:
    """Up to ties, which an index breaks by order."""
    assert value(result, "shotlake", "index", "r_at_10") >= value(result, "shotlake", "max", "r_at_10") - 0.2
    assert value(result, "shotlake", "index") > 0.15


def test_every_space_and_their_best_have_rows(result: dict[str, Any]) -> None:
    spaces = {row["space"] for row in result["rows"] if row["method"] == "shotlake" and row["protocol"] == "published"}
    assert spaces == {"fused", "visual", "max of spaces"}
    for row in result["rows"]:
        for metric in ("r_at_1", "r_at_5", "r_at_10", "ndcg_at_10"):
            assert row[metric]["low"] <= row[metric]["value"] <= row[metric]["high"]


def test_the_page_needs_nothing_else(result: dict[str, Any]) -> None:
    page = render_page(result)
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert page.count("<svg") == 4
    assert "shotlake, published, max of spaces" in page
    assert "94.1" in page


def test_command_against_an_earlier_result(
    videos: Path, annotations: Path, result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "before.json").write_text(json.dumps(result))
    command = ["eval", "retrieval", "--dataset", "msrvtt", "--annotations", str(annotations), "--videos", str(videos)]
    command += ["--lake", str(tmp_path / "lake"), "--out", str(tmp_path / "out"), "--set", MODEL, "--json", "-q"]
    command += [
        "--set",
        "flow.engine=local",
        "--set",
        "decode.isolate=false",
        "--against",
        str(tmp_path / "before.json"),
    ]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert main([word for word in command if word != "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "16 items, 17 captions; 1 videos missing, 0 without a vector"
    assert any(line.split()[:3] == ["shotlake", "published", "fused"] and " 94.1 " in line for line in lines)
    written = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    assert (tmp_path / "out" / "retrieval.html").read_text() == render_page(written)
    assert "ranks" in written["rows"][0] and "ranks" not in told["rows"][0]
    assert told["paired"][0]["r_at_1"]["difference"]["value"] == 0
    assert told["paired"][0]["r_at_1"]["p"] == 1


def test_moments_of_one_video_are_items_of_their_own(tmp_path: Path) -> None:
    paint_pair(tmp_path / "videos" / "a.mp4", "red", "blue")
    lines = [{"video": "a", "caption": "red", "start_s": 0, "end_s": 2}, {"video": "a.mp4", "caption": "blue",
             "start_s": 2, "end_s": 4}]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = Task("jsonl", tmp_path / "a.jsonl", str(tmp_path / "videos"))
    found = evaluate(task, local_config(tmp_path / "lake", MODEL), lambda stage, done, total: None)
    assert found["gallery"] == {"items": 2, "queries": 2, "missing": [], "without_vectors": []}
    assert value(found, "shotlake", "max") == value(found, "shotlake", "mean") == 1
    assert found["notes"] == ["no row of the published protocol: items are moments, not videos"]


def test_a_video_that_cannot_be_read_is_told_and_ranked_last(tmp_path: Path) -> None:
    paint_pair(tmp_path / "videos" / "a.mp4", "red", "red")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video at all" * 100)
    lines = [{"video": "a", "caption": "red"}, {"video": "broken", "caption": "blue"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = Task("jsonl", tmp_path / "a.jsonl", str(tmp_path / "videos"))
    found = evaluate(task, local_config(tmp_path / "lake", MODEL), lambda stage, done, total: None)
    assert found["gallery"]["without_vectors"] == ["broken"]
    assert value(found, "shotlake", "published") == 0.5


def test_an_encoder_that_sees_no_whole_video_says_so(demo_archive, tmp_path: Path) -> None:
    """`mini` sees 2 s; of its captions only those of its world are understood."""
    root, truth = demo_archive
    good = next(video for video in truth.videos if not video.fault and video.film.has_picture)
    lines = [{"video": Path(good.path).name, "captions": ["a red circle", "a quarterly report"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / Path(good.path).name).write_bytes((root / good.path).read_bytes())
    task = Task("jsonl", tmp_path / "a.jsonl", str(tmp_path / "videos"))
    found = evaluate(task, local_config(tmp_path / "lake"), lambda stage, done, total: None)
    assert found["refused_queries"] == 1
    assert "mini sees 2 s at the most" in found["notes"][0]
    assert {row["protocol"] for row in found["rows"]} == {"max", "mean", "index"}
    assert "visual + audio by rank" in {row["space"] for row in found["rows"]}


def test_the_job_is_the_command() -> None:
    job = Path(__file__).parents[2] / "jobs" / "evaluate.py"
    done = subprocess.run([sys.executable, job, "--help"], capture_output=True, text=True, timeout=240, check=True)
    assert "--annotations" in done.stdout


def test_a_result_of_other_captions_is_not_compared(result: dict[str, Any], tmp_path: Path) -> None:
    paint_pair(tmp_path / "videos" / "a.mp4", "red", "red")
    (tmp_path / "a.jsonl").write_text(json.dumps({"video": "a", "caption": "red"}))
    (tmp_path / "before.json").write_text(json.dumps(result))
    task = Task("jsonl", tmp_path / "a.jsonl", str(tmp_path / "videos"), against=tmp_path / "before.json")
    with pytest.raises(ConfigError, match="other captions or on another gallery"):
        evaluate(task, local_config(tmp_path / "lake", MODEL), lambda stage, done, total: None)


def test_wrong_annotations_stop_before_anything_is_indexed(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video_id,sentence\n")
    config = local_config(tmp_path / "lake", MODEL)
    with pytest.raises(ConfigError, match="holds no caption"):
        evaluate(Task("msrvtt", tmp_path / "a.csv", str(videos)), config, lambda stage, done, total: None)
    assert not (tmp_path / "lake").exists()
