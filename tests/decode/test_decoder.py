"""Truth painted into pixels and tones comes back at the stated times, however the file keeps its clock."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from painted import (
    CONFIG,
    SPEC,
    Picture,
    Sound,
    check_beeps,
    check_pictures,
    clock_zero_s,
    columns,
    decode,
    frame_times,
    info_of,
    paint,
    read_number,
    units_of,
    video_of,
)

from shotlake.decode import decoder as decoder_module
from shotlake.decode.decoder import ClipDecoder, contiguous_runs, decoder_versions
from shotlake.decode.run import decode_run
from shotlake.errors import AccessDenied, SourceChanged, StoreError
from shotlake.records import LostRange, UnitOutcome, WorkUnit
from shotlake.storage import ObjectReader

NTSC = Fraction(30_000, 1001)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("fps", [Fraction(25), NTSC, Fraction(24_000, 1001), Fraction(60_000, 1001), Fraction(8)])
def test_constant_rates(tmp_path, name, fps):
    times_s = frame_times(round(5 * fps), fps)
    path = paint(tmp_path / name, Picture(times_s), Sound(5.0))
    batches, (outcome,) = decode(units_of(path))
    clips = columns(batches)
    assert outcome.status == "ok", outcome
    assert clips["frame_mask"].all()
    assert clips["cell"].tolist() == [0, 1, 2]
    zero_s = clock_zero_s(path)
    check_pictures(clips, times_s, zero_s)
    assert check_beeps(clips, zero_s) >= 4


@pytest.mark.parametrize(("video_s", "audio_s"), [(0, 1.5), (Fraction(3, 2), 0.0), (Fraction(12), 0.0), (0, 12.0)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_streams_that_begin_apart(tmp_path, name, video_s, audio_s):
    times_s = frame_times(int(400 - video_s * 25), 25, Fraction(video_s))
    path = paint(tmp_path / name, Picture(times_s), Sound(16.0, audio_s, codec="flac"))
    batches, (outcome,) = decode(units_of(path))
    clips = columns(batches)
    assert (outcome.status, outcome.written) == ("ok", 8)
    early = clips["end_us"] <= max(video_s, audio_s) * 1_000_000
    assert early.sum() == int(max(video_s, audio_s) / 2)
    assert clips["frame_mask"][early].all() == (audio_s > 0 or not early.any())
    assert clips["sample_mask"][early].all() == (video_s > 0 or not early.any())
    shown = clips["frame_us"][clips["frame_mask"]]
    assert (np.diff(shown) >= 0).all()
    numbers = [read_number(pixels) for pixels in clips["frames"][clips["frame_mask"]]]
    assert np.abs(shown - (np.array(numbers) / 25 + float(video_s)) * 1_000_000).max() <= 1000
    assert check_beeps(clips) >= 3


@pytest.mark.parametrize("policy", ["exact", "reference"])
@pytest.mark.parametrize(("picture_s", "sound_s"), [(5, 30.0), (30, 5.0)])
def test_streams_that_end_apart(tmp_path, picture_s, sound_s, policy):
    """The last frame fills its cell; behind it there is sound only, and the other way round; nothing was lost."""
    path = paint(tmp_path / "a.mp4", Picture(frame_times(25 * picture_s)), Sound(sound_s, codec="flac"))
    batches, (outcome,) = decode(units_of(path), config=CONFIG.model_copy(update={"policy": policy}))
    clips = columns(batches)
    assert (outcome.status, outcome.written) == ("ok", 15)
    assert clips["frame_mask"].any(axis=1).sum() == -(-picture_s // 2)
    assert (clips["frame_mask"].any(axis=1) == clips["frame_mask"].all(axis=1)).all()
    assert clips["sample_mask"].any(axis=1).sum() == -(-int(sound_s) // 2)
    check_pictures(clips, frame_times(25 * picture_s))


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_sound_only_at_any_rate(tmp_path, layout, rate_hz):
    path = paint(tmp_path / "a.mka", None, Sound(5.0, 0.0, rate_hz, layout, "flac"))
    batches, (outcome,) = decode(units_of(path))
    clips = columns(batches)
    assert (outcome.status, outcome.written, outcome.media.video_codec) == ("ok", 3, None)
    assert not clips["frame_mask"].any()
    assert not clips["frames"].any()
    assert check_beeps(clips) == 5
    assert abs(int(clips["sample_mask"].sum()) - 80_000) <= 16  # Matroska counts milliseconds


def test_picture_only(tmp_path):
    path = paint(tmp_path / "a.webm", Picture(frame_times(60), codec="libvpx-vp9", options={"cpu-used": "8"}))
    batches, (outcome,) = decode(units_of(path))
    assert (outcome.status, outcome.written, outcome.media.audio_codec) == ("ok", 2, None)
    assert not columns(batches)["sample_mask"].any()
    check_pictures(columns(batches), frame_times(60))


def test_a_gap_in_the_sound_is_silence_under_the_mask(tmp_path):
    path = paint(tmp_path / "a.mkv", Picture(frame_times(100)), Sound(4.0, codec="flac", silent=(1.5, 2.5)))
    clips = columns(decode(units_of(path))[0])
    heard = clips["sample_mask"].reshape(-1)
    edges = np.flatnonzero(np.diff(heard.astype(int))) / 16_000
    assert np.abs(edges - [1.5, 2.5]).max() < 0.12  # a packet of flac is 0.1 s
    assert not clips["waveform"].reshape(-1)[~heard].any()


def test_split_units_equal_the_single_pass(tmp_path):
    """Units decoded by themselves, from a key frame in the middle, give the same bits as one pass."""
    for name, codec in (("a.mp4", "aac"), ("a.mkv", "flac"), ("a.ts", "mp2")):
        path = paint(
            tmp_path / name,
            Picture(frame_times(16 * 25), options={"preset": "ultrafast", "g": "60", "bf": "3"}),
            Sound(16.0, rate_hz=48_000, codec=codec),
        )
        whole = columns(decode(units_of(path))[0])
        together = columns(decode(units_of(path, cells_a_unit=3))[0])
        apart = columns([batch for unit in units_of(path, cells_a_unit=3) for batch in decode([unit])[0]])
        for column in whole:
            np.testing.assert_array_equal(together[column], whole[column])
            if column == "waveform" and codec != "flac":  # dither and noise substitution have a random state
                np.testing.assert_allclose(apart[column], whole[column], atol=1e-3)
            else:
                np.testing.assert_array_equal(apart[column], whole[column], err_msg=f"{name} {column}")


def test_overlapping_windows_and_frames_by_rate(tmp_path):
    spec = replace(SPEC, stride_us=1_000_000, sampling="fps", fps=4.0, n_frames=8)
    path = paint(tmp_path / "a.mp4", Picture(frame_times(130)), Sound(5.2))
    batches, (outcome,) = decode(units_of(path, spec=spec), spec)
    clips = columns(batches)
    assert outcome.written == len(clips["cell"]) == 5
    assert outcome.covered_us == outcome.declared_us == 5_200_000  # overlap is counted once
    np.testing.assert_allclose(clips["frame_us"][1], 1_000_000 + (np.arange(8) + 0.5) * 250_000, atol=20_001)
    assert clips["frame_mask"].sum(axis=1).tolist() == [8, 8, 8, 8, 5]
    np.testing.assert_allclose(clips["waveform"][0, 16_000:], clips["waveform"][1, :16_000], atol=1e-5)


def test_memory_is_bounded_by_the_batch(tmp_path):
    """The first batch leaves long before the file was read, and a batch is never larger than configured."""
    path = paint(
        tmp_path / "a.mp4", Picture(frame_times(60 * 25)), Sound(60.0, codec="flac"), {"movflags": "faststart"}
    )
    config = CONFIG.model_copy(update={"clips_per_batch": 2})
    data = path.read_bytes()
    reader = ObjectReader(lambda start, end: data[start:end], len(data), 1 << 14)
    items = decode_run(units_of(path), SPEC, config, lambda video: reader)
    first = next(items)
    assert len(first["cell"]) == 2
    assert reader.bytes_read < len(data) / 2
    assert sum(len(item["cell"]) for item in items if not isinstance(item, UnitOutcome)) == 28


def test_open_ended_unit_is_all_that_is_found(tmp_path):
    path = paint(tmp_path / "a.mkv", Picture(frame_times(130)), Sound(5.2))
    batches, (outcome,) = decode([WorkUnit(video_of(path), "key", 0, 0)])
    clips = columns(batches)
    assert (outcome.status, outcome.planned, outcome.written) == ("ok", 3, 3)
    assert abs(clips["end_us"][-1] - 5_200_000) < 50_000
    assert abs(outcome.covered_us - 5_200_000) < 50_000


def test_usage_is_measured(tmp_path):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(200)), Sound(8.0))
    _, outcomes = decode(units_of(path, cells_a_unit=2))
    assert all(outcome.usage.cpu_s > 0 and outcome.usage.wall_s > 0 for outcome in outcomes)
    assert sum(outcome.usage.bytes_read for outcome in outcomes) == path.stat().st_size
    assert sum(outcome.usage.requests for outcome in outcomes) == 1


def test_a_file_that_was_read_whole_is_hashed(tmp_path):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(400), noise=20), None, {"movflags": "faststart"})
    data = path.read_bytes()

    def hashes(units):
        reader = ObjectReader(lambda start, end: data[start:end], len(data), 1 << 16)
        items = decode_run(units, SPEC, CONFIG, lambda video: reader)
        return [item.content_sha256 for item in items if isinstance(item, UnitOutcome)]

    units = units_of(path, cells_a_unit=2)
    assert hashes(units) == [None, None, None, hashlib.sha256(data).hexdigest()]
    assert hashes(units[:2]) == [None, None]


def test_runs_are_contiguous_units_of_one_video(tmp_path):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(200)))
    one, two, three, four = units_of(path, cells_a_unit=1)
    assert list(contiguous_runs([one, two, four])) == [[one, two], [four]]
    assert list(contiguous_runs([three, one])) == [[three], [one]]
    assert list(contiguous_runs([])) == []


def test_a_replaced_object_fails_its_unit_and_no_other(tmp_path):
    old = paint(tmp_path / "old.mp4", Picture(frame_times(50)))
    good = paint(tmp_path / "good.mp4", Picture(frame_times(50)))
    units = [*units_of(old), *units_of(good)]
    old.write_bytes(good.read_bytes())
    _, (changed, fine) = decode(units)
    assert (changed.status, changed.code, changed.retryable) == ("failed", SourceChanged.code, False)
    assert changed.lost == (LostRange(0, 1, SourceChanged.code),)
    assert fine.status == "ok"


@pytest.mark.parametrize("when", ["open", "read"])
def test_errors_of_the_store(tmp_path, monkeypatch, when):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(500)), Sound(20.0, codec="flac"), {"movflags": "faststart"})
    units, size_bytes = units_of(path), path.stat().st_size

    def break_with(error):
        def fetch(start, end):
            if start > size_bytes // 2 and end < size_bytes:
                raise error
            return path.read_bytes()[start:end]

        def open_object(*arguments):
            if when == "open":
                raise error
            return ObjectReader(fetch, size_bytes, 1 << 14)

        monkeypatch.setattr(decoder_module.storage, "open_object", open_object)

    break_with(StoreError("the line is dead"))
    *_, outcome = ClipDecoder(SPEC, CONFIG)(units)
    assert (outcome.status, outcome.code, outcome.retryable, outcome.written) == ("failed", "io_error", True, 0)
    break_with(AccessDenied("no"))
    with pytest.raises(AccessDenied):
        list(ClipDecoder(SPEC, CONFIG)(units))


def test_probe_and_outcome_tell_the_same_media(tmp_path):
    path = paint(tmp_path / "a.mp4", Picture(frame_times(50)), Sound(2.0))
    _, (outcome,) = decode(units_of(path))
    assert outcome.media == info_of(path)
    assert outcome.media.duration_us == 2_000_000
    assert "libavcodec" in decoder_versions()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_padding_of_the_sound_codec_is_no_cell(tmp_path, name):
    path = paint(tmp_path / name, Picture(frame_times(100)), Sound(4.03))
    assert info_of(path).duration_us == 4_000_000
    assert [outcome.planned for outcome in decode(units_of(path))[1]] == [2]
