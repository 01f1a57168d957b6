"""Annotations of public retrieval sets, as they are published, and our own JSON lines: which caption is right for what.

A gallery is a list of items. Captions of a paragraph set (DiDeMo, ActivityNet) are joined to one; sets with several
captions a clip keep them apart, and each is a query.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shotlake.errors import ConfigError

DIDEMO_CUT_US = 30_000_000  # the published protocol sees the first 30 s
_AUDIOCAPS_US = 10_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a gallery: a video, or its range [start_us, end_us), and the captions that are right for it.

    `names`: what its file may be called, without or with a suffix; the first one is its own.
    """

    names: tuple[str, ...]
    captions: tuple[str, ...]
    start_us: int = 0
    end_us: int | None = None


def read_dataset(dataset: str, annotations: Path) -> list[Item]:
    """The items of a gallery, in the order of the file. Errors: ConfigError."""
    if dataset not in READERS:
        raise ConfigError(f"--dataset is {dataset!r}; known are {', '.join(READERS)}")
    if not annotations.exists():
        raise ConfigError(f"there are no annotations at {str(annotations)!r}; correct --annotations")
    try:
        items = READERS[dataset](annotations)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{str(annotations)!r} is not in the format of {dataset}: {error!r}") from None
    if not items:
        raise ConfigError(f"{str(annotations)!r} holds no caption; correct --annotations")
    return items


def place(items: Iterable[Item], uris: Iterable[str]) -> tuple[list[tuple[Item, str]], list[str]]:
    """Items with the uri of their video, and the names of those without one."""
    known: dict[str, str] = {}
    for uri in sorted(uris):
        name = uri.rsplit("/", 1)[-1]
        known.setdefault(name, uri)
        known.setdefault(name.rsplit(".", 1)[0], uri)
    placed, missing = [], []
    for item in items:
        found = next((known[name] for name in _spellings(item) if name in known), None)
        if found is None:
            missing.append(item.names[0])
        else:
            placed.append((item, found))
    return placed, missing


def _spellings(item: Item) -> Iterable[str]:
    yield from item.names
    yield from (name.rsplit(".", 1)[0] for name in item.names)


def _msrvtt(path: Path) -> list[Item]:
    """MSRVTT_JSFUSION_test.csv (video_id, sentence), or the JSON with `videos` and `sentences`."""
    if path.suffix == ".csv":
        return _grouped((row["video_id"], row["sentence"]) for row in _rows(path))
    tree = json.loads(path.read_text(encoding="utf-8"))
    wanted = {video["video_id"] for video in tree["videos"]}
    return _grouped((row["video_id"], row["caption"]) for row in tree["sentences"] if row["video_id"] in wanted)


def _didemo(path: Path) -> list[Item]:
    """test_data.json, or the folder with it; test_list.txt beside it names the gallery."""
    data = path / "test_data.json" if path.is_dir() else path
    gallery = _listed(data.with_name("test_list.txt"))
    texts: dict[str, list[str]] = {}
    for row in json.loads(data.read_text(encoding="utf-8")):
        texts.setdefault(row["video"], []).append(row["description"])
    wanted = gallery if gallery is not None else texts
    return [Item((name,), (" ".join(texts[name]),), 0, DIDEMO_CUT_US) for name in wanted if name in texts]


def _activitynet(path: Path) -> list[Item]:
    """val_1.json, or the folder with it; val_ids.json beside it names the gallery."""
    data = path / "val_1.json" if path.is_dir() else path
    ids = data.with_name("val_ids.json")
    tree = json.loads(data.read_text(encoding="utf-8"))
    wanted = json.loads(ids.read_text(encoding="utf-8")) if ids.exists() else tree
    return [
        Item((name, name.removeprefix("v_")), (" ".join(text.strip() for text in tree[name]["sentences"]),))
        for name in wanted
        if name in tree
    ]


def _vatex(path: Path) -> list[Item]:
    """A list of {videoID, enCap}; a videoID is the clip's YouTube id and its two times."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    return [Item((row["videoID"], row["videoID"].rsplit("_", 2)[0]), tuple(row["enCap"])) for row in tree]


def _audiocaps(path: Path) -> list[Item]:
    """A CSV of audiocap_id, youtube_id, start_time, caption; files are called by the id, with or without the time."""
    clips: dict[tuple[str, int], list[str]] = {}
    for row in _rows(path):
        clips.setdefault((row["youtube_id"], int(float(row["start_time"]))), []).append(row["caption"])
    return [Item(_audiocaps_names(name, start_s), tuple(texts)) for (name, start_s), texts in clips.items()]


def _audiocaps_names(name: str, start_s: int) -> tuple[str, ...]:
    start_ms = start_s * 1000
    timed = (f"{name}_{start_s}", f"{name}_{start_ms}", f"{name}_{start_ms}_{start_ms + _AUDIOCAPS_US // 1000}")
    return (*timed, *(f"Y{spelling}" for spelling in timed), name, f"Y{name}")


def _jsonl(path: Path) -> list[Item]:
    """A line an item: {"video", "caption" or "captions", and for a moment "start_s", "end_s"}."""
    items = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            row = json.loads(line)
            captions = row["captions"] if "captions" in row else [row["caption"]]
            end_us = round(row["end_s"] * 1e6) if "end_s" in row else None
            items.append(Item((row["video"],), tuple(captions), round(row.get("start_s", 0) * 1e6), end_us))
    return items


READERS: Mapping[str, Callable[[Path], list[Item]]] = MappingProxyType(
    {
        "msrvtt": _msrvtt,
        "didemo": _didemo,
        "activitynet": _activitynet,
        "vatex": _vatex,
        "audiocaps": _audiocaps,
        "jsonl": _jsonl,
    }
)


def read_descriptions(path: Path) -> dict[str, str]:
    """Text that another program wrote of each video: lines of {"video", "description"}. Errors: ConfigError."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {str(row["video"]): str(row["description"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{str(path)!r} is not lines of {{video, description}}: {error!r}") from None


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _listed(path: Path) -> list[str] | None:
    return path.read_text(encoding="utf-8").split() if path.exists() else None


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[Item]:
    captions: dict[str, list[str]] = {}
    for name, text in pairs:
        captions.setdefault(name, []).append(text)
    return [Item((name,), tuple(texts)) for name, texts in captions.items()]
