"""The embedding step on clips that no encoder can take: they become lost cells, each with its code."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shotlake.config import EmbedConfig
from shotlake.embed.load import load_encoder
from shotlake.flow.steps import EmbedClips, WriteVectors, provenance
from shotlake.records import MediaInfo, Video, WorkUnit, media_to_json, work_unit_to_json

N_CLIPS = 3


def test_who_decodes_and_writes_does_not_load_torch() -> None:
    """It would take each decoder a second and 180 MB, at every start of its pool."""
    program = "import sys, shotlake.flow.steps; print(*sorted({'torch', 'transformers', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.fixture(scope="module")
def embed() -> EmbedClips:
    return EmbedClips(EmbedConfig(), 0.0, load_encoder(EmbedConfig()).fingerprint)


def clip_rows(embed: EmbedClips) -> dict[str, np.ndarray]:
    """Rows of noise as the decoding step hands them over, of one unit."""
    spec, rng = embed.encoder.clip_spec, np.random.default_rng(0)
    unit = WorkUnit(Video("a.mp4", "tag", 1, datetime.now(UTC), "c"), "key", 0, N_CLIPS)
    texts = {"unit": work_unit_to_json(unit), "media": media_to_json(MediaInfo()), "outcome": "", "text": ""}
    rows: dict[str, Any] = {name: np.full(N_CLIPS, text, dtype=object) for name, text in texts.items()}
    return rows | {
        "decoded_at_us": np.zeros(N_CLIPS, np.int64),
        "segment_id": np.array([f"s{number}" for number in range(N_CLIPS)], dtype=object),
        "cell": np.arange(N_CLIPS),
        "start_us": np.arange(N_CLIPS) * spec.stride_us,
        "end_us": np.arange(1, N_CLIPS + 1) * spec.stride_us,
        "frames": rng.integers(0, 256, (N_CLIPS, spec.n_frames, spec.height_px, spec.width_px, 3), dtype=np.uint8),
        "frame_mask": np.ones((N_CLIPS, spec.n_frames), bool),
        "frame_us": np.zeros((N_CLIPS, spec.n_frames), np.int64),
        "waveform": rng.standard_normal((N_CLIPS, spec.n_samples)).astype(np.float32) * 0.1,
        "sample_mask": np.ones((N_CLIPS, spec.n_samples), bool),
    }


def lost_codes(rows: dict[str, np.ndarray], embed: EmbedClips, tmp_path: Path) -> dict[int, str]:
    """Cells without a vector, with their code; the others are in data files."""
    report = json.loads(WriteVectors(str(tmp_path), "run", provenance(embed.encoder, "cpu"))(embed(rows))["report"][0])
    lost = {cell: code for _, cell, code in report["lost"]}
    written = sum(json.loads(text)["n_rows"] for text in report["files"])
    assert written == N_CLIPS - len(lost)
    return lost


def test_good_clips_have_vectors(embed: EmbedClips, tmp_path: Path) -> None:
    assert lost_codes(clip_rows(embed), embed, tmp_path) == {}


def test_no_picture_and_no_sound_costs_that_clip(embed: EmbedClips, tmp_path: Path) -> None:
    rows = clip_rows(embed)
    rows["frame_mask"][1], rows["sample_mask"][1] = False, False
    assert lost_codes(rows, embed, tmp_path) == {1: "bad_clip"}


def test_a_sample_that_is_no_number_costs_that_clip(embed: EmbedClips, tmp_path: Path) -> None:
    rows = clip_rows(embed)
    rows["waveform"][2, 100] = np.nan
    assert lost_codes(rows, embed, tmp_path) == {2: "non_finite_vector"}


def test_pixels_that_are_no_numbers_are_refused(embed: EmbedClips, tmp_path: Path) -> None:
    rows = clip_rows(embed)
    rows["frames"] = np.full(rows["frames"].shape, np.nan, np.float32)
    assert lost_codes(rows, embed, tmp_path) == dict.fromkeys(range(N_CLIPS), "bad_clip")


def test_a_waveform_of_another_rate_is_refused(embed: EmbedClips, tmp_path: Path) -> None:
    rows = clip_rows(embed)
    rows["waveform"], rows["sample_mask"] = (np.repeat(rows[name], 3, axis=1) for name in ("waveform", "sample_mask"))
    assert lost_codes(rows, embed, tmp_path) == dict.fromkeys(range(N_CLIPS), "bad_clip")
