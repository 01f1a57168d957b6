"""The published formats, written by hand as they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shotlake.errors import ConfigError
from shotlake.evaluate.datasets import Item, place, read_dataset, read_descriptions


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_msrvtt_1k_a(tmp_path: Path) -> None:
    text = "key,vid_key,video_id,sentence\nret0,msr9770,video9770,a person is connecting something\n" \
        'ret1,msr9771,video9771,"a little girl, alone"\n'  # fmt: skip
    assert read_dataset("msrvtt", write(tmp_path / "MSRVTT_JSFUSION_test.csv", text)) == [
        Item(("video9770",), ("a person is connecting something",)),
        Item(("video9771",), ("a little girl, alone",)),
    ]


def test_msrvtt_json_has_many_captions_and_only_its_videos(tmp_path: Path) -> None:
    tree = {
        "videos": [{"video_id": "video1"}],
        "sentences": [{"video_id": "video1", "caption": "one"}, {"video_id": "video2", "caption": "other split"},
                      {"video_id": "video1", "caption": "two"}],
    }  # fmt: skip
    assert read_dataset("msrvtt", write(tmp_path / "a.json", tree)) == [Item(("video1",), ("one", "two"))]


def test_didemo_joins_descriptions_and_sees_30_s(tmp_path: Path) -> None:
    rows = [{"video": name, "description": text, "times": [[0, 0]]}
            for name, text in (("a.mov", "a dog."), ("b.mp4", "a cat."), ("a.mov", "it runs."))]  # fmt: skip
    data = write(tmp_path / "test_data.json", rows)
    assert [item.names[0] for item in read_dataset("didemo", data)] == ["a.mov", "b.mp4"]
    write(tmp_path / "test_list.txt", "a.mov\nc.mov\n")
    assert read_dataset("didemo", tmp_path) == [Item(("a.mov",), ("a dog. it runs.",), 0, 30_000_000)]


def test_activitynet_joins_sentences_of_the_listed_videos(tmp_path: Path) -> None:
    tree = {"v_x": {"duration": 9.0, "timestamps": [[0, 4], [4, 9]], "sentences": ["One. ", " Two."]},
            "v_y": {"duration": 2.0, "timestamps": [], "sentences": ["Three."]}}  # fmt: skip
    write(tmp_path / "val_1.json", tree)
    write(tmp_path / "val_ids.json", ["v_x"])
    assert read_dataset("activitynet", tmp_path) == [Item(("v_x", "x"), ("One. Two.",))]


def test_vatex_and_audiocaps_keep_several_captions(tmp_path: Path) -> None:
    vatex = write(tmp_path / "v.json", [{"videoID": "Ab_c_000001_000011", "enCap": ["one", "two"], "chCap": ["x"]}])
    assert read_dataset("vatex", vatex) == [Item(("Ab_c_000001_000011", "Ab_c"), ("one", "two"))]
    text = "audiocap_id,youtube_id,start_time,caption\n1,Q-x,30,rain\n2,Q-x,30,thunder and rain\n3,z,0,a bell\n"
    first, second = read_dataset("audiocaps", write(tmp_path / "a.csv", text))
    assert first.captions == ("rain", "thunder and rain")
    assert {"Q-x_30", "Q-x_30000_40000", "YQ-x_30000", "Q-x"} <= set(first.names)
    assert second.captions == ("a bell",)


def test_jsonl_has_moments(tmp_path: Path) -> None:
    lines = '{"video": "a", "caption": "x"}\n\n{"video": "a.mp4", "captions": ["y", "z"], "start_s": 1.5, "end_s": 2}\n'
    assert read_dataset("jsonl", write(tmp_path / "a.jsonl", lines)) == [
        Item(("a",), ("x",)),
        Item(("a.mp4",), ("y", "z"), 1_500_000, 2_000_000),
    ]


@pytest.mark.parametrize(
    ("dataset", "content", "words"),
    [
        ("msrvtt", "video,caption\na,b\n", "not in the format of msrvtt"),
        ("vatex", {"videoID": 1}, "not in the format of vatex"),
        ("jsonl", "{", "not in the format of jsonl"),
        ("jsonl", "", "holds no caption"),
        ("imagenet", "", "known are msrvtt"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, dataset: str, content: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_dataset(dataset, write(tmp_path / "annotations.csv", content))


def test_missing_annotations_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no annotations"):
        read_dataset("msrvtt", tmp_path / "none.csv")


def test_videos_are_found_by_name_with_any_suffix_in_any_folder() -> None:
    items = [Item(("video1",), ("x",)), Item(("a@b.mov",), ("y",)), Item(("v_q", "q"), ("z",)), Item(("none",), ("w",))]
    placed, missing = place(items, ["s3://b/x/video1.mp4", "/data/a@b.mp4", "q.webm", "video10.mp4"])
    assert [uri for _, uri in placed] == ["s3://b/x/video1.mp4", "/data/a@b.mp4", "q.webm"]
    assert missing == ["none"]


def test_descriptions(tmp_path: Path) -> None:
    lines = write(tmp_path / "d.jsonl", '{"video": "a", "description": "a dog"}\n')
    assert read_descriptions(lines) == {"a": "a dog"}
    with pytest.raises(ConfigError, match="video, description"):
        read_descriptions(write(tmp_path / "bad.jsonl", '{"video": "a"}\n'))
