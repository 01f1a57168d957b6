"""Rows of a lake are made again from their sources; what cannot be says why, and what differs is found."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.flow.lakes import run

from shotlake.cli import main
from shotlake.config import Config
from shotlake.flow.verify import verify_sample


def test_rows_of_the_demo_can_be_made_again(demo_lake, capsys) -> None:
    arguments = ["verify", "--sample", "6", "--lake", demo_lake.config.lake, "--set", "decode.isolate=false"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["balanced"] and found["sample"]["sound"]
    assert found["sample"]["verdicts"] == {"equal": 6}
    assert found["sample"]["min_cosine"] >= 0.999
    assert main(arguments) == 0
    assert "{'equal': 6}" in capsys.readouterr().out


def test_it_says_what_changed(done: tuple[Path, Config]) -> None:
    copies, config = done
    gone, changed, *_ = sorted(copies.iterdir())
    gone.unlink()
    changed.touch()
    found = verify_sample(config, 100)
    assert found["verdicts"] == {"source_gone": 1, "source_changed": 1, "equal": 2}
    assert {Path(row["uri"]).name: row["verdict"] for row in found["rows"]} == {
        gone.name: "source_gone", changed.name: "source_changed"
    }  # fmt: skip
    assert found["sound"]


def test_other_settings_at_hand_do_not_matter_and_a_missing_model_does(
    done: tuple[Path, Config], tmp_path: Path
) -> None:
    copies, config = done
    other = config.model_copy(update={"embed": config.embed.model_copy(update={"stride_s": 1.0})})
    assert verify_sample(other, 2)["verdicts"] == {"equal": 2}
    from shotlake.embed.mini.encoder import MINI_FOLDER

    mine = tmp_path / "mine"
    shutil.copytree(MINI_FOLDER, mine)
    named = config.model_copy(update={"embed": config.embed.model_copy(update={"model": str(mine)}),
                                      "lake": str(tmp_path / "second")})  # fmt: skip
    run(copies, named)
    for path in mine.glob("*.safetensors"):
        path.unlink()
    assert verify_sample(named, 2)["verdicts"] == {"model_missing": 2}


def test_a_row_that_is_not_what_its_source_gives_is_found(done: tuple[Path, Config]) -> None:
    """Bytes that changed under the same time and size, as a failing disk leaves them."""
    copies, config = done
    small, large = sorted((path for path in copies.iterdir()), key=lambda path: path.stat().st_size)[::3]
    was = large.stat()
    large.write_bytes(small.read_bytes().ljust(was.st_size, b"\0"))
    os.utime(large, ns=(was.st_atime_ns, was.st_mtime_ns))
    found = verify_sample(config, 100)
    assert found["verdicts"] == {"equal": 3, "different": 1} and not found["sound"]
    assert main(["verify", "--sample", "100", "--lake", config.lake, "--set", "decode.isolate=false"]) == 1
