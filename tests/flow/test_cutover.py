"""Two spaces in one lake: the one that is chosen answers where no model is named, and the choice is undone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.evaluate.toy import paint_pair
from tests.flow.lakes import local_config, run

from shotlake import storage
from shotlake.cli import main
from shotlake.config import Config, load_config
from shotlake.embed.load import load_encoder
from shotlake.errors import NoIndex, PreflightError, UsageError
from shotlake.flow.cutover import cut_over, spaces
from shotlake.flow.erasure import erase_videos
from shotlake.flow.space import open_space
from shotlake.index.default import DEFAULTS, default_space, set_default_space
from shotlake.query.default import with_default_model
from shotlake.query.request import SearchRequest, Term
from shotlake.query.search import LakeSearch
from shotlake.query.whole import WholeSearch
from shotlake.serve.live import LiveIndex
from shotlake.serve.opener import Opener

COLOURS = "embed.model=python:tests.evaluate.toy.ColourEncoder"
FINE, COARSE = (COLOURS, "index.min_queries=0"), (COLOURS, "embed.window_s=2", "index.min_queries=0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colours in windows of one second and of two, and `mini` beside them; the last published is `mini`."""
    base = tmp_path_factory.mktemp("cutover")
    for first, second in (("red", "blue"), ("green", "white")):
        paint_pair(base / "videos" / f"{first}-{second}.mp4", first, second)
    for sets in (FINE, COARSE):
        run(base / "videos", local_config(base / "lake", *sets), build=True)
    run(base / "videos", local_config(base / "lake", "embed.new_space=true"), build=True)
    return base


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Path:
    """A copy of that lake."""
    return Path(shutil.copytree(made / "lake", tmp_path / "lake"))


def key_of(lake: Path, *sets: str) -> str:
    return open_space(local_config(lake, *sets)).key


def answering(config: Config) -> str:
    """The space that answers what a person asks with this configuration."""
    asked = with_default_model(config)
    encoder = load_encoder(asked.embed)
    found = LakeSearch.open(asked.lake, encoder, asked).search("red" if asked.embed.model != "mini" else "a red circle")
    assert found.hits
    return found.embed_key


def default_of(config: Config) -> str:
    chosen = default_space(storage.join(config.lake, "index"))
    return chosen.embed_key if chosen else ""


def test_the_chosen_space_answers_until_another_is_chosen(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unnamed = load_config(None, [f"lake={lake}"], {})
    fine, coarse, mini = key_of(lake, *FINE), key_of(lake, *COARSE), key_of(lake)
    assert answering(unnamed) == mini
    assert answering(local_config(lake, COLOURS)) == coarse  # of its two grids the last published
    named = cut_over(fine, unnamed)
    assert (named["before"], named["missing"], named["pointer"]) == (mini, 0, 1)
    colours = local_config(lake, COLOURS)
    assert answering(unnamed) == answering(colours) == fine
    assert WholeSearch.open(str(lake), load_encoder(colours.embed), colours).embed_key == fine
    assert answering(local_config(lake)) == mini  # who names a model gets it
    assert cut_over(fine[:8], unnamed)["pointer"] == 1
    assert main(["models", "cutover", "mini", "--lake", str(lake), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["before"] == fine
    assert answering(unnamed) == mini
    assert answering(local_config(lake, COLOURS)) == coarse
    assert [row["embed_key"] for row in spaces(unnamed)] == [mini, coarse, fine]
    assert main(["models", "cutover", "--lake", str(lake)]) == 0
    assert capsys.readouterr().out.count("*") == 1
    assert main(["search", "a red circle", "--lake", str(lake), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["index"]["embed_key"] == mini


def test_a_service_follows_the_choice(lake: Path) -> None:
    """From one model to another, and from one grid of a model to another."""
    unnamed = load_config(None, [f"lake={lake}"], {})
    fine, coarse, mini = key_of(lake, *FINE), key_of(lake, *COARSE), key_of(lake)
    for config, choices in (
        (unnamed, {fine: fine, mini: mini}),
        (local_config(lake, COLOURS), {coarse: coarse, fine: fine}),
    ):
        opener = Opener(config)
        live = LiveIndex(opener.open, opener.is_moved)
        live.refresh()
        for chosen, answers in choices.items():
            cut_over(chosen, unnamed)
            live.refresh()
            words = "a red circle" if answers == mini else "red"
            found = live.answer(SearchRequest((Term("text", words),)))
            assert (found.embed_key, live.error) == (answers, None) and found.hits
        loaded = live.current()
        live.refresh()
        assert live.current() is loaded  # nothing has changed
    before = live.current()
    (lake / "index" / DEFAULTS / "99.json").write_text("no pointer")
    live.refresh()
    assert live.error is not None and live.error.code == "corrupt_generation" and live.current() is before


def test_what_cannot_answer_is_refused(made: Path, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(None, [f"lake={lake}"], {})
    fine, coarse = key_of(lake, *FINE), key_of(lake, *COARSE)
    with pytest.raises(NoIndex, match=f"{fine[:8]} \\(colours\\)"):
        cut_over("nobody/model", config)
    with pytest.raises(UsageError, match="give the embed_key"):
        cut_over("colours", config)
    new = made / "videos" / "zz.mp4"
    paint_pair(new, "white", "red")
    run(made / "videos", local_config(lake))  # mini has one more now
    new.unlink()
    with pytest.raises(PreflightError, match="1 videos of the space that answers now"):
        cut_over(fine, config)
    assert main(["models", "cutover", fine, "--lake", str(lake)]) == 4
    assert "--allow-missing" in capsys.readouterr().err
    assert default_of(config) == ""
    assert main(["models", "cutover", fine, "--lake", str(lake), "--allow-missing"]) == 0
    assert default_of(config) == fine
    erase_videos(str(new), None, "gone", local_config(lake))
    cut_over("mini", config)
    assert cut_over(coarse, config)["missing"] == 0  # what is erased is not missed


def test_pointers_are_only_ever_created(tmp_path: Path) -> None:
    root = str(tmp_path / "index")
    assert default_space(root) is None
    assert [set_default_space(root, key) for key in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    assert storage.names(f"{root}/{DEFAULTS}") == ["1.json", "2.json", "3.json"]
    shutil.copy(f"{root}/{DEFAULTS}/1.json", f"{root}/{DEFAULTS}/10.json")
    found = default_space(root)
    assert found is not None and found.embed_key == "a"
