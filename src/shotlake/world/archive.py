"""A whole archive of painted videos and the truth about it: what is on, in which file, from when to when.

The same seed gives the same files. Most motions that have a reverse are planted beside it (the same thing and sound),
and pictures come again with other sounds, so that direction and sound alone decide queries. The truth is written last.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shotlake.world.film import Film, Span, paint_video
from shotlake.world.scenes import (
    REVERSE,
    SOUNDS,
    Scene,
    Shot,
    Thing,
    choose,
    draw_scene,
    draw_seed,
    draw_sounds,
    draw_thing,
)

TRUTH_FILE = "truth.json"
_VERSION = 2
_WORLD = 3  # of backgrounds that no encoder was trained on
_FOLDERS = ("morning", "afternoon/east", "afternoon/west")
_SIZES = ((160, 120), (192, 108), (128, 128), (108, 192), (256, 64))
_RATES = (10, 15, 24, 25, 30, 50)

Fault = Literal["", "truncated", "not_media"]


@dataclass(frozen=True, slots=True)
class VideoTruth:
    """One file of the archive: its path below the root, what it holds, and what is wrong with it."""

    path: str
    film: Film
    spans: tuple[Span, ...]
    fault: Fault = ""

    @property
    def duration_us(self) -> int:
        """Length of the video before anything was cut off."""
        return self.spans[-1].end_us

    def shown(self, scene: Scene) -> Shot:
        """What of a scene can be seen or heard in this file."""
        return Shot(scene.things if self.film.has_picture else (), scene.sounds if self.film.has_sound else ())


@dataclass(frozen=True, slots=True)
class Truth:
    """All files of an archive."""

    seed: int
    videos: tuple[VideoTruth, ...]


def paint_archive(
    root: Path, seed: int, n_videos: int = 60, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Truth:
    """Paint the archive of a seed under `root`, or find it painted there already; `progress(done, all)` a file.

    Some videos have no sound track; from 4 videos on one has sound only and one is a text, from 6 on one is truncated.
    Files of another archive that was painted here before are removed.
    """
    truth = plan_archive(seed, n_videos)
    if _is_painted(root, truth):
        return truth
    _remove_painted(root)
    for video in truth.videos:
        (root / video.path).parent.mkdir(parents=True, exist_ok=True)
    for done, _ in enumerate(_paint_all(root, truth, workers), start=1):
        if progress:
            progress(done, n_videos)
    sizes = {video.path: (root / video.path).stat().st_size for video in truth.videos}
    document = {"version": _VERSION, "sizes_bytes": sizes, **asdict(truth)}
    (root / TRUTH_FILE).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return truth


def read_truth(root: Path) -> Truth:
    """The truth of an archive that was painted before. Errors: FileNotFoundError."""
    document = json.loads((root / TRUTH_FILE).read_text(encoding="utf-8"))
    return Truth(document["seed"], tuple(_video_from_json(video) for video in document["videos"]))


def plan_archive(seed: int, n_videos: int) -> Truth:
    """What will be painted for a seed; nothing is written."""
    rng = np.random.default_rng([_VERSION, seed])
    scenes = _scenes(rng)
    videos = []
    for number in range(n_videos):
        from_end = n_videos - 1 - number
        fault: Fault = "not_media" if from_end == 0 and n_videos >= 4 else ""
        fault = "truncated" if from_end == 2 and n_videos >= 6 else fault
        sound_only = from_end == 1 and n_videos >= 4
        silent = number % 8 == 2 and not sound_only and not fault
        width_px, height_px = _SIZES[int(rng.integers(len(_SIZES)))]
        quality = {
            "fps": choose(_RATES, rng),
            "crf": int(rng.integers(20, 31)),
            "bit_rate": choose((64_000, 96_000), rng),
        }
        film = Film(width_px, height_px, **quality, has_picture=not sound_only, has_sound=not silent)
        suffix = "mkv" if fault == "truncated" or (fault == "" and number % 3 == 1) else "mp4"
        path = f"{_FOLDERS[number % len(_FOLDERS)]}/tape-{number:03d}.{suffix}"
        videos.append(VideoTruth(path, film, _draw_spans(scenes, rng), fault))
    return Truth(seed, tuple(videos))


def _scenes(rng: np.random.Generator) -> Iterator[Scene]:
    """Endless scenes: shuffled hands of twins that differ in direction, twins that differ in sound, and single ones."""
    while True:
        hand: list[Scene] = []
        while len(hand) < 40:
            scene = _more_things(draw_scene(rng, silent_ratio=0.05, world=_WORLD), rng)
            hand.append(scene)
            thing = scene.things[0]
            if len(scene.things) == 1 and thing.motion in REVERSE and rng.random() < 0.6:
                turned = replace(thing, motion=REVERSE[thing.motion])
                hand.append(replace(scene, things=(turned,), seed=draw_seed(rng)))
            elif rng.random() < 0.5:
                others = [sound for sound in SOUNDS if sound not in scene.sounds]
                hand.append(replace(scene, sounds=(choose(others, rng),), seed=draw_seed(rng)))
        yield from (hand[place] for place in rng.permutation(len(hand)))


def _more_things(scene: Scene, rng: np.random.Generator) -> Scene:
    """One scene in four shows two or three things, and one in eight has two sounds."""
    if rng.random() < 0.125:
        scene = replace(scene, sounds=draw_sounds(rng, double_ratio=1.0))
    first, lot = scene.things[0], rng.random()
    if lot < 0.08:
        return replace(scene, things=(replace(first, count=int(rng.integers(2, 4))),))
    return replace(scene, things=(first, draw_thing(rng))) if lot < 0.25 else scene


def _draw_spans(scenes: Iterator[Scene], rng: np.random.Generator) -> tuple[Span, ...]:
    """Scenes of 4 to 8 s until 20 to 40 s are full; cut to the millisecond, on no grid."""
    spans: list[Span] = []
    at_us, wanted_us = 0, int(rng.integers(20_000, 34_000)) * 1000
    while at_us < wanted_us:
        end_us = at_us + int(rng.integers(4_000, 8_000)) * 1000
        spans.append(Span(at_us, end_us, next(scenes)))
        at_us = end_us
    return tuple(spans)


def _paint_all(root: Path, truth: Truth, workers: int) -> Iterator[str]:
    """Paint every file; the path of each as it is done."""
    if workers <= 1:
        yield from (_paint_one(root, video) for video in truth.videos)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_paint_one, root, video) for video in truth.videos]):
            yield future.result()


def _paint_one(root: Path, video: VideoTruth) -> str:
    path = root / video.path
    if video.fault == "not_media":
        path.write_text("This tape was never digitised; the sleeve was.\n" * 40, encoding="utf-8")
        return video.path
    paint_video(path, video.spans, video.film)
    if video.fault == "truncated":
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 6 // 10])
    return video.path


def _is_painted(root: Path, truth: Truth) -> bool:
    try:
        document = json.loads((root / TRUTH_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if document.get("version") != _VERSION or read_truth(root) != truth:
        return False
    sizes = document["sizes_bytes"]
    return all((root / path).is_file() and (root / path).stat().st_size == size for path, size in sizes.items())


def _remove_painted(root: Path) -> None:
    """Remove the files that an earlier truth names, and no others."""
    try:
        earlier = json.loads((root / TRUTH_FILE).read_text(encoding="utf-8"))["sizes_bytes"]
    except (OSError, ValueError, KeyError):
        return
    (root / TRUTH_FILE).unlink()
    for path in earlier:
        (root / path).unlink(missing_ok=True)


def _video_from_json(video: dict[str, Any]) -> VideoTruth:
    spans = tuple(Span(span["start_us"], span["end_us"], _scene_from_json(span["scene"])) for span in video["spans"])
    return VideoTruth(video["path"], Film(**video["film"]), spans, video["fault"])


def _scene_from_json(scene: dict[str, Any]) -> Scene:
    things = tuple(Thing(**thing) for thing in scene["things"])
    return Scene(**{**scene, "things": things, "sounds": tuple(scene["sounds"])})
