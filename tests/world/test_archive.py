"""Archives are repeatable, varied as they promise, and painted once."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import pytest

from shotlake.world.archive import Truth, paint_archive, plan_archive, read_truth
from shotlake.world.scenes import REVERSE


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def truth(root: Path) -> Truth:
    return paint_archive(root, seed=3, n_videos=6, workers=1)


def test_what_is_painted_is_what_the_truth_says(root: Path, truth: Truth) -> None:
    assert read_truth(root) == truth
    assert {path.relative_to(root).as_posix() for path in root.rglob("*.m??")} == {video.path for video in truth.videos}
    for video in truth.videos:
        if video.fault:
            continue
        with av.open(str(root / video.path)) as container:
            assert abs(container.duration - video.duration_us) < 100_000
            assert bool(container.streams.video) == video.film.has_picture
            assert bool(container.streams.audio) == video.film.has_sound


def test_faults_are_faults(root: Path, truth: Truth) -> None:
    faults = {video.fault: video for video in truth.videos if video.fault}
    assert faults.keys() == {"truncated", "not_media"}
    with pytest.raises(av.InvalidDataError):
        av.open(str(root / faults["not_media"].path))
    with av.open(str(root / faults["truncated"].path)) as container:
        seen_us = max(int(frame.time * 1e6) for frame in container.decode(video=0))
    assert seen_us < 0.9 * faults["truncated"].duration_us


def test_painting_again_finds_it_painted_and_repairs_what_is_not(root: Path, truth: Truth) -> None:
    calls: list[tuple[int, int]] = []
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.m??")}
    assert paint_archive(root, 3, 6, 1, lambda *done: calls.append(done)) == truth and not calls
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.m??")} == before
    stranger = root / "morning" / "mine.mp4"
    stranger.write_bytes(b"not ours")
    victim = root / truth.videos[1].path
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    paint_archive(root, 3, 6, 1, lambda *done: calls.append(done))
    assert calls == [(number, 6) for number in range(1, 7)]
    assert victim.read_bytes() == whole and stranger.read_bytes() == b"not ours"


def test_two_processes_paint_the_same_bytes(root: Path, truth: Truth, tmp_path: Path) -> None:
    paint_archive(tmp_path, 3, 6, workers=2)
    assert all((tmp_path / v.path).read_bytes() == (root / v.path).read_bytes() for v in truth.videos)


@pytest.mark.parametrize("seed", range(4))
def test_the_plan_of_sixty_is_varied(seed: int) -> None:
    videos = plan_archive(seed, 60).videos
    assert Counter(video.fault for video in videos) == {"": 58, "truncated": 1, "not_media": 1}
    assert sum(not video.film.has_picture for video in videos) == 1
    assert 4 <= sum(not video.film.has_sound for video in videos) <= 10
    assert {Path(video.path).suffix for video in videos} == {".mp4", ".mkv"}
    assert len({Path(video.path).parent for video in videos}) == 3
    assert {video.film.fps for video in videos} == {10, 15, 24, 25, 30, 50}
    for video in videos:
        assert 20_000_000 <= video.duration_us <= 42_000_000
        assert all(4_000_000 <= span.end_us - span.start_us < 8_000_000 for span in video.spans)
        assert all(a.end_us == b.start_us for a, b in zip(video.spans, video.spans[1:], strict=False))
    scenes = [span.scene for video in videos for span in video.spans]
    pictures = {scene.things for scene in scenes}
    twins = [t for t in pictures if len(t) == 1 and (replace(t[0], motion=REVERSE.get(t[0].motion)),) in pictures]
    assert len(twins) >= 60
    n_things = Counter(sum(thing.count for thing in scene.things) for scene in scenes)
    assert n_things[1] > len(scenes) / 2 and n_things[2] >= 20 and n_things[3] >= 3
    assert sum(len(scene.sounds) == 2 for scene in scenes) >= 15
    assert {scene.camera for scene in scenes} == {"still", "panning", "swaying"}


def test_seeds_differ() -> None:
    assert plan_archive(1, 8).videos != plan_archive(2, 8).videos
