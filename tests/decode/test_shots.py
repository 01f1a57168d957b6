"""Painted cuts and fades are found where they are; edges move to them and the number of cells does not change."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from painted import CONFIG, SPEC, Sound, columns, decode, paint, units_of, video_of

from shotlake.decode.shots import ShotDetector
from shotlake.records import WorkUnit

SNAP = CONFIG.model_copy(update={"snap_to_shots": True})


def scene(seed: int, time_s: float, size=(160, 96)) -> np.ndarray:
    """A textured scene that pans and holds a moving disc, under camera noise."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 220, (8, 12, 3))
    across = (np.arange(size[0]) / size[0] * 8 + 0.6 * time_s) % 8
    down = np.arange(size[1]) / size[1] * 6
    picture = coarse[down.astype(int)[:, None], across.astype(int)]
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    disc = (x - 80 - 50 * np.sin(2 * time_s)) ** 2 + (y - 48) ** 2 < 300
    picture[disc] = random.uniform(0, 255, 3)
    return picture + np.random.default_rng([seed, int(1000 * time_s)]).normal(0, 3, picture.shape)


def film(path, edges_s: list[float], fade: bool = False, fps: int = 25, seed: int = 0, flash_s: float = -1):
    """Scenes between the edges; with `fade` each scene goes to black and comes from it within 0.4 s on each side."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": "60", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(round(edges_s[-1] * fps)):
            time_s = number / fps
            part = int(np.searchsorted(edges_s, time_s, side="right"))
            picture = scene(100 * seed + part, time_s)
            if fade:
                away = min(abs(time_s - edge) for edge in edges_s[1:-1])
                picture *= np.clip((away - 0.08) / 0.4, 0, 1)
            if abs(time_s - flash_s) < 0.5 / fps:
                picture = np.full_like(picture, 255)
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def boundaries(path) -> list[float]:
    detector = ShotDetector()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            detector.add(frame, round(frame.time * 1e6))
    detector.finish()
    return [boundary / 1e6 for boundary in detector.boundaries]


def f1(found: list[float], truth: list[float]) -> float:
    hits = sum(any(abs(edge - other) <= 0.2 for other in found) for edge in truth)
    return 2 * hits / (len(found) + len(truth))


@pytest.mark.parametrize("fade", [False, True])
def test_painted_boundaries_are_found(tmp_path, fade):
    random, scores = np.random.default_rng(5), []
    for seed in range(3):
        edges = np.cumsum([0, *random.uniform(1.2, 3.0, 8)]).round(2).tolist()
        found = boundaries(film(tmp_path / "a.mp4", edges, fade, seed=seed))
        scores.append(f1(found, edges[1:-1]))
    assert np.mean(scores) >= 0.95, scores


def test_a_flash_and_a_pan_are_no_cuts(tmp_path):
    assert boundaries(film(tmp_path / "a.mp4", [0.0, 6.0], flash_s=3.0)) == []


def test_edges_move_and_the_number_of_cells_does_not(tmp_path):
    path = film(tmp_path / "a.mp4", [0.0, 2.2, 3.85, 5.0, 8.1, 11.0])
    plain, snapped = (columns(decode(units_of(path), config=config)[0]) for config in (CONFIG, SNAP))
    assert plain["start_us"].tolist() == [0, 2_000_000, 4_000_000, 6_000_000, 8_000_000, 10_000_000]
    assert snapped["cell"].tolist() == plain["cell"].tolist()
    assert np.abs(snapped["start_us"] - [0, 2_200_000, 3_850_000, 6_000_000, 8_100_000, 10_000_000]).max() <= 200_000
    assert snapped["end_us"][:-1].tolist() == snapped["start_us"][1:].tolist()
    assert snapped["end_us"][-1] == 11_000_000
    still = snapped["start_us"] == plain["start_us"]
    still &= snapped["end_us"] == plain["end_us"]
    np.testing.assert_array_equal(snapped["frames"][still], plain["frames"][still])
    moved = snapped["frame_us"]
    assert ((moved >= snapped["start_us"][:, None] - 40_000) & (moved < snapped["end_us"][:, None])).all()
    wanted = (
        snapped["start_us"][:, None] + (np.arange(16) + 0.5) * (snapped["end_us"] - snapped["start_us"])[:, None] / 16
    )
    assert np.abs(moved - wanted).max() <= 62_500


def test_snapping_is_the_same_for_split_units(tmp_path):
    edges = np.cumsum([0, 2.2, 1.65, 2.3, 2.0, 1.8, 2.1, 2.2, 1.75, 2.0, 2.0]).tolist()
    path = film(tmp_path / "a.mp4", edges)
    whole = columns(decode(units_of(path), config=SNAP)[0])
    apart = columns([batch for unit in units_of(path, 3) for batch in decode([unit], config=SNAP)[0]])
    together, outcomes = decode(units_of(path, 3), config=SNAP)
    assert (whole["start_us"] != whole["cell"] * 2_000_000).sum() >= 4
    for column in whole:
        np.testing.assert_array_equal(apart[column], whole[column], err_msg=column)
        np.testing.assert_array_equal(columns(together)[column], whole[column], err_msg=column)
    assert sum(outcome.covered_us for outcome in outcomes) == sum(outcome.declared_us for outcome in outcomes)


def test_sound_moves_with_the_edges(tmp_path):
    path = paint(tmp_path / "a.wav", None, Sound(6.0, codec="pcm_s16le"))
    plain, snapped = (columns(decode(units_of(path), config=config)[0]) for config in (CONFIG, SNAP))
    np.testing.assert_array_equal(plain["waveform"], snapped["waveform"])
    spec = replace(SPEC, stride_us=1_000_000)
    clips = columns(decode([WorkUnit(video_of(path), "key", 0, 0)], spec, SNAP)[0])
    assert clips["cell"].tolist() == list(range(len(clips["cell"])))
