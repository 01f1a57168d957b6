"""Pictures and clips that the archive never held find what shows the same; of a file only what is asked for counts."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import av
import numpy as np
import pyarrow.compute as pc
import pytest
from fastapi.testclient import TestClient

from shotlake.config import ServeConfig
from shotlake.embed.load import load_encoder
from shotlake.errors import QueryError
from shotlake.query.request import SearchRequest
from shotlake.query.search import LakeSearch
from shotlake.serve.app import create_app
from shotlake.serve.files import FileReader
from shotlake.serve.live import LiveIndex
from shotlake.table.lake import Lake
from shotlake.world.film import Film, Span, paint_video
from shotlake.world.paint import render_frames
from shotlake.world.scenes import Scene, Shot, holds
from shotlake.world.sounds import render_sound


@pytest.fixture(scope="module")
def search(demo_lake) -> LakeSearch:
    return LakeSearch.open(demo_lake.config.lake, load_encoder(demo_lake.config.embed), demo_lake.config)


@pytest.fixture(scope="module")
def reader(search):
    reader = FileReader(search.encoder, search.config.decode)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def scenes(demo_lake) -> list[Scene]:
    """Scenes of one thing with sound, of intact videos that have both, each with a seed that is not the archive's."""
    videos = [v for v in demo_lake.truth.videos if not v.fault and v.film.has_picture and v.film.has_sound]
    found = [span.scene for video in videos for span in video.spans]
    return [Scene(s.things, s.sounds, 1_000 + n) for n, s in enumerate(found) if len(s.things) == 1 and s.sounds][:4]


def save_picture(path: Path, scene: Scene) -> None:
    with av.open(str(path), "w", format="image2") as out:
        stream = out.add_stream("png" if path.suffix == ".png" else "mjpeg", rate=25)
        stream.width, stream.height = 160, 120
        stream.pix_fmt = "rgb24" if path.suffix == ".png" else "yuvj420p"
        frame = av.VideoFrame.from_ndarray(render_frames(scene, np.array([0.5]), 160, 120)[0], format="rgb24")
        out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode())


def save_sound(path: Path, scene: Scene) -> None:
    samples = render_sound(scene, 0.0, 32_000, 16_000)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes((np.clip(samples, -1, 1) * 32_767).astype(np.int16).tobytes())


def save_clip(path: Path, scene: Scene) -> None:
    paint_video(path, [Span(0, 2_000_000, scene)], Film(fps=24))


def shown_at(hit, truth) -> list[Shot]:
    """What the scenes show that fill most of the hit."""
    video = next(v for v in truth.videos if hit.video_uri.endswith(v.path))
    overlaps = [(min(hit.end_us, s.end_us) - max(hit.start_us, s.start_us), video.shown(s.scene)) for s in video.spans]
    return [shot for overlap, shot in overlaps if overlap >= 500_000]


def ask(search, reader, path, kind, space):
    return search.answer(SearchRequest((reader.read(path, kind),), space=space, limit=1)).hits[0]


def test_a_clip_finds_the_same_scene(search, reader, scenes, demo_lake, tmp_path):
    right = []
    for number, scene in enumerate(scenes):
        save_clip(tmp_path / f"{number}.mp4", scene)
        hit = ask(search, reader, tmp_path / f"{number}.mp4", "clip", "fused")
        right.append(any(holds((scene.shot,), (shot,)) for shot in shown_at(hit, demo_lake.truth)))
    assert sum(right) >= len(scenes) - 1


def test_a_sound_finds_the_same_sound(heard_config, search, reader, scenes, demo_lake, tmp_path):
    """By the space that holds sounds alone."""
    heard = LakeSearch.open(heard_config.lake, search.encoder, heard_config)
    right = []
    for number, scene in enumerate(scenes):
        save_sound(tmp_path / f"{number}.wav", scene)
        hit = ask(heard, reader, tmp_path / f"{number}.wav", "audio", "audio")
        right.append(any(set(scene.sounds) <= set(shot.sounds) for shot in shown_at(hit, demo_lake.truth)))
    assert sum(right) >= len(scenes) - 1


def test_a_file_of_the_archive_has_the_mean_of_its_segments_vectors(reader, demo_lake):
    video = next(v for v in demo_lake.truth.videos if not v.fault and v.film.has_picture and v.film.has_sound)
    path = demo_lake.archive / video.path
    columns = ["start_us", "end_us", "fused", "visual", "audio"]
    rows = Lake.open(demo_lake.config.lake).read("segments", columns, pc.field("uri") == str(path))
    durations = np.asarray(rows["end_us"]) - np.asarray(rows["start_us"])
    for kind, spaces in (("clip", ("fused", "visual", "audio")), ("audio", ("audio",))):
        asked = reader.read(path, kind).vectors
        for space in spaces:
            mean = durations @ np.stack(rows[space].to_pylist())
            assert asked[space] @ mean / np.linalg.norm(mean) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_finds_its_colour_and_shape(search, reader, scenes, demo_lake, tmp_path, suffix):
    right = []
    for number, scene in enumerate(scenes):
        save_picture(tmp_path / f"{number}.{suffix}", scene)
        hit = ask(search, reader, tmp_path / f"{number}.{suffix}", "image", "visual")
        wanted = (scene.things[0].colour, scene.things[0].shape)
        shown = shown_at(hit, demo_lake.truth)
        right.append(any(wanted == (thing.colour, thing.shape) for shot in shown for thing in shot.things))
    assert sum(right) >= len(scenes) - 2


def test_of_a_video_only_what_is_asked_for_counts(reader, scenes, tmp_path):
    save_clip(tmp_path / "a.mp4", scenes[0])
    spaces = {kind: set(reader.read(tmp_path / "a.mp4", kind).vectors) for kind in ("image", "audio", "clip")}
    assert spaces == {"image": {"fused", "visual"}, "audio": {"fused", "audio"}, "clip": {"fused", "visual", "audio"}}


def test_what_is_no_medium_or_has_not_what_counts_is_said(reader, scenes, tmp_path):
    save_sound(tmp_path / "a.wav", scenes[0])
    save_picture(tmp_path / "a.png", scenes[0])
    (tmp_path / "a.txt").write_text("a red circle")
    for name, kind, words in (
        ("a.wav", "image", "no picture"),
        ("a.png", "audio", "no sound"),
        ("a.txt", "clip", "cannot be read"),
        ("none.mp4", "clip", "none.mp4"),
    ):
        with pytest.raises(QueryError, match=words):
            reader.read(tmp_path / name, kind)


def test_the_service_takes_a_file_and_joins_it_to_words(search, reader, scenes, tmp_path):
    live = LiveIndex(lambda: search)
    live.refresh()
    save_clip(tmp_path / "a.mp4", scenes[0])
    content = (tmp_path / "a.mp4").read_bytes()
    term = reader.read(tmp_path / "a.mp4", "clip")
    app = create_app(live, ServeConfig(max_upload_bytes=len(content)))
    with TestClient(app, base_url="http://localhost") as client:

        def upload(body=content, **parameters):
            return client.post("/v1/search:upload", content=body, params={"kind": "clip", **parameters})

        alone = upload(search=json.dumps({"limit": 3})).json()
        assert [hit["score"] for hit in alone["hits"]] == pytest.approx(
            [hit.score for hit in search.answer(SearchRequest((term,), limit=3)).hits], abs=1e-5
        )
        words = {"query": "a siren", "limit": 3, "filter": "duration_s > 0"}
        joined = upload(weight=2, search=json.dumps(words)).json()
        assert joined["hits"][0]["score"] != alone["hits"][0]["score"]
        refused = {
            413: upload(content + b"x"),
            422: upload(b"no film", search="{}"),
        }
        assert {status: answer.status_code for status, answer in refused.items()} == {413: 413, 422: 422}
        assert upload(kind="smell").status_code == upload(search='{"limt": 1}').status_code == 422
        assert "limt" in upload(search='{"limt": 1}').json()["detail"]
        assert upload(search="{").json()["code"] in ("bad_json", "bad_request")
