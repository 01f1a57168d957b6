"""Every real file beside the checkout has its status: those without an oddity are ok, none is lost without a code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted import CONFIG, columns, decode, info_of, units_of, video_of

from shotlake.errors import MediaError
from shotlake.records import WorkUnit

MEDIA = Path(__file__).parents[2].parent / "shared" / "media"
pytestmark = pytest.mark.skipif(not (MEDIA / "INDEX.tsv").is_file(), reason="no ../shared/media beside the checkout")

REFUSED = {
    "bear-640x360-v_frag-cenc-senc.mp4": "encrypted",
    "bomb_stsz_count.mp4": "unreadable",
    "ffconcat.mp4": "not_media",
    "heapbof.png": "not_media",
    "m3u8_file.mp4": "not_media",
    "m3u8_http.mp4": "not_media",
    "no_audio_video.webm": "no_streams",
    "nul_1MB.mp4": "not_media",
    "png.mp4": "not_media",
    "sine_mono_mp3.swf": "not_media",  # Flash is not on the list of formats: its parser is not worth the risk
    "text.mp4": "not_media",
    "trunc_406B.mp4": "unsupported_codec",
    "trunc_50pct_moov_end.mp4": "unreadable",
    "zero.mp4": "empty",
}
PARTIAL = {
    "corrupt_mdat_500.mp4": "corrupt",
    "nonzero-start-time.webm": "truncated",
    "trunc_50pct_moov_front.mp4": "truncated",
    "trunc_mid.webm": "truncated",
}
SOUND_ONLY = {
    "bear-320x240-audio-only.webm",
    "bear-alac.mp4",
    "bear-flac.mp4",
    "nasa_13013.mp4.audio.mp3",
    "reproduce_seek_bug.wav",
    "sine_mono_s32_8000.wav",
}


def names() -> list[str]:
    if not (MEDIA / "INDEX.tsv").is_file():
        return []
    return [line.split("\t")[0] for line in (MEDIA / "INDEX.tsv").read_text().splitlines()[1:]]


@pytest.mark.parametrize("name", sorted(set(names()) - set(REFUSED)))
def test_files_that_decode(name):
    batches, (outcome,) = decode(units_of(MEDIA / name))
    clips = columns(batches)
    assert (outcome.status, outcome.code) == (("partial", PARTIAL[name]) if name in PARTIAL else ("ok", "")), outcome
    assert outcome.planned == outcome.written or name in PARTIAL
    assert clips["frame_mask"].any() == (name not in SOUND_ONLY)
    assert clips["sample_mask"].any() == outcome.media.has_audio
    if name not in PARTIAL:
        assert abs(outcome.covered_us - outcome.declared_us) <= 100_000
    shown = clips["frame_us"][clips["frame_mask"]]
    assert (shown >= 0).all()
    assert (shown <= outcome.media.duration_us + 200_000).all()


@pytest.mark.parametrize("name", ["bear-1280x720.mp4", "bear-1280x720-hevc.mp4", "interlaced_mpeg2.mpg", "vfr.mp4"])
def test_leaving_out_frames_changes_no_clip(name):
    exact, reference = (
        columns(decode(units_of(MEDIA / name), config=CONFIG.model_copy(update={"policy": policy}))[0])
        for policy in ("exact", "reference")
    )
    for column in exact:
        np.testing.assert_array_equal(reference[column], exact[column], err_msg=column)


@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_files_that_do_not(name, code):
    with pytest.raises(MediaError) as refused:
        info_of(MEDIA / name)
    assert refused.value.code == code
    for n_cells in (0, 7):
        batches, (outcome,) = decode([WorkUnit(video_of(MEDIA / name), "key", 0, n_cells)])
        assert (batches, outcome.status, outcome.code, outcome.written) == ([], "failed", code, 0)
        assert not outcome.retryable


def test_the_table_is_complete():
    """Every row has its status; one without an oddity is ok (but Flash, see above)."""
    rows = [line.split("\t") for line in (MEDIA / "INDEX.tsv").read_text().splitlines()[1:]]
    assert len(rows) == 62
    assert not (REFUSED.keys() | PARTIAL.keys() | SOUND_ONLY) - set(names())
    plain = {row[0] for row in rows if not row[-1].strip()}
    assert plain & (REFUSED.keys() | PARTIAL.keys()) == {"sine_mono_mp3.swf"}


@pytest.mark.slow
def test_the_child_gives_the_same_of_every_file():
    units = [WorkUnit(video_of(MEDIA / name), "key", 0, 0) for name in names()]
    (here, said_here), (there, said_there) = (
        decode(units, config=CONFIG.model_copy(update={"isolate": isolate})) for isolate in (False, True)
    )
    assert [(o.status, o.code, o.written) for o in said_there] == [(o.status, o.code, o.written) for o in said_here]
    assert len(here) == len(there)
    for ours, theirs in zip(here, there):
        np.testing.assert_array_equal(theirs["frames"], ours["frames"])
        np.testing.assert_allclose(theirs["waveform"], ours["waveform"], atol=2e-3)  # codecs that draw noise


def test_facts_of_odd_files():
    rotated, hdr, aspect = (
        info_of(MEDIA / name)
        for name in ("nasa_13013_rotated.mp4", "nasa_13013_hdr.mp4", "bear-640x360-non_square_pixel-with_pasp.mp4")
    )
    assert (rotated.rotation_deg, rotated.width_px, rotated.height_px) == (90, 270, 480)
    assert hdr.hdr
    assert (aspect.width_px, aspect.height_px) == (640, 360)
    best = info_of(MEDIA / "nasa_13013.mp4")
    assert (best.width_px, best.height_px, best.sample_rate_hz) == (480, 270, 16_000)
