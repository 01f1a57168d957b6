"""The whole job with a public architecture: a tiny random PE-AV from decoding to an answer."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from tests.embed.checkpoints import save_pe_av
from tests.flow.lakes import local_config, run

from shotlake.config import Config
from shotlake.embed.load import load_encoder
from shotlake.errors import BadModel
from shotlake.flow.steps import provenance
from shotlake.query.search import LakeSearch
from shotlake.table.lake import Lake
from shotlake.table.readers import matrix

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed; the extra `models` brings it")


@pytest.fixture(scope="module")
def config(demo_archive, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The lake of a silent video and of one with sound, 10 s a segment."""
    root, truth = demo_archive
    folder = tmp_path_factory.mktemp("public")
    good = [video for video in truth.videos if not video.fault and video.film.has_picture]
    chosen = [next(v for v in good if not v.film.has_sound), next(v for v in good if v.film.has_sound)]
    for video in chosen:
        (folder / "videos").mkdir(exist_ok=True)
        shutil.copy2(root / video.path, folder / "videos" / Path(video.path).name)
    model = save_pe_av(folder / "model")
    config = local_config(folder / "lake", f"embed.model={model}", "embed.batch_size=4")
    report = run(folder / "videos", config, build=True)
    assert report.ledger.videos["indexed"] == 2
    return config


def test_rows_are_what_the_encoder_gives(config: Config) -> None:
    rows = Lake.open(config.lake).read("segments")
    encoder = load_encoder(config.embed)
    assert len(rows) >= 4
    assert set(rows["dtype"].to_pylist()) == {"float32"}
    assert set(rows["model_id"].to_pylist()) == {"pe_audio_video"}
    assert set(rows["weights_sha256"].to_pylist()) == {encoder.fingerprint.weights_sha256}
    assert (pc.max(pc.subtract(rows["end_us"], rows["start_us"])).as_py()) == 10_000_000
    for space, there in (("fused", pc.true_unless_null(rows["segment_id"])), ("audio", rows["has_audio"])):
        assert pc.is_valid(rows[space]).equals(there)
        vectors = matrix(rows[space].combine_chunks().drop_null())
        assert vectors.shape[1] == encoder.dim
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)


def test_it_is_indexed_and_answers(config: Config) -> None:
    search = LakeSearch.open(config.lake, load_encoder(config.embed), config)
    assert search.manifest.recall_at_10("fused")["text"] == 1
    result = search.search("a dog barking in the rain", limit=2)
    assert len(result.hits) == 2
    assert result.hits[0].score >= result.hits[1].score


def test_another_checkpoint_of_the_same_family_is_refused(config: Config, tmp_path: Path) -> None:
    other = config.model_copy(
        update={"embed": config.embed.model_copy(update={"model": str(save_pe_av(tmp_path / "other", seed=1))})}
    )
    (tmp_path / "videos").mkdir()
    with pytest.raises(BadModel, match="the lake's vectors are of pe_audio_video"):
        run(tmp_path / "videos", other)


def test_provenance_says_what_the_actor_computes_in(config: Config) -> None:
    encoder = load_encoder(config.embed)
    assert provenance(encoder, "cpu")["dtype"] == "float32"
    assert provenance(encoder, "cuda")["dtype"] == "bfloat16"
    high = load_encoder(config.embed.model_copy(update={"dtype": "float32"}))
    assert provenance(high, "cuda")["dtype"] == "float32"
