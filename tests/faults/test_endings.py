"""Every command ends as it says: by its exit status, not by a signal and not never, however its scans were left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.flow.lakes import local_config

from shotlake.config import Config
from shotlake.flow.build_index import build_index
from shotlake.table.lake import Lake
from shotlake.table.readers import written_fingerprints

FEW, MANY = 5, pytest.param(50, marks=pytest.mark.slow)
DEATHS = ("Fatal", "Segmentation", "terminate called", "Aborted", "Traceback", "panicked")
MINI = ("--set", "embed.model=mini", "--set", "report.instance=local", "--set", "flow.engine=local")

# words -> the status that they end with; `indexed` is a lake with an index, `bare` one without
COMMANDS = {
    "models check --lake {bare}": 0,
    "status --lake {bare}": 0,
    "search 'a red circle' --lake {bare}": 4,
    "backfill {archive} --lake {bare} --set embed.model={other}": 4,
    "doctor {archive} --lake {bare}": 0,
    "verify --lake {bare}": 0,
    "verify --sample 2 --lake {bare}": 0,
    "failures --lake {bare}": 0,
    "cost report --lake {bare}": 0,
    "plan {archive} --lake {bare}": 0,
    "backfill {archive} --lake {bare} --index never": 0,
    "index build --lake {indexed}": 0,
    "index status --lake {indexed}": 0,
    "index list --lake {indexed}": 0,
    "index plan --lake {indexed}": 0,
    "search 'a red circle' --lake {indexed}": 0,
    "near-duplicates --lake {indexed}": 0,
    "status --lake {archive}": 4,
    "backfill {archive}/nothing --lake {bare}": 4,
    "backfill {archive} --lake {bare} --set embed.modle=mini": 2,
}

# Under a lease: one after the other.
WRITING = ("backfill {archive} --lake {bare} --index never", "index build --lake {indexed}")

# What a process may do to a scan before it ends at once.
SCANS = {
    "left": "next(lake.batches('segments', names))",
    "head": "lake.dataset('segments').head(1, columns=names)",
    "whole": "lake.read('segments', names)",
    "held": "held = lake.batches('segments', names); next(held); sys.held = held",
    "failed": "lake.read('segments', names)",
}


@pytest.fixture(scope="module")
def places(archive: Path, undisturbed: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("endings")
    for name in ("bare", "indexed"):
        shutil.copytree(undisturbed.lake, folder / name)
    build_index(local_config(folder / "indexed"))
    return {
        "archive": str(archive),
        "bare": str(folder / "bare"),
        "indexed": str(folder / "indexed"),
        "other": str(_other_model(folder / "other")),
    }


def _other_model(folder: Path) -> Path:
    """mini with a bit of its last tensor turned: another encoder."""
    import shotlake.embed.mini.encoder as shipped

    folder.mkdir()
    data = bytearray((shipped.MINI_FOLDER / "mini.safetensors").read_bytes())
    data[-10] ^= 1
    (folder / "mini.safetensors").write_bytes(data)
    return folder


def _end(words: list[str]) -> tuple[int, str]:
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    # a process that hangs burns nothing: the limit is for a machine with much else to do
    ended = subprocess.run([sys.executable, *words], env=environ, capture_output=True, text=True, timeout=240)
    return ended.returncode, ended.stderr


def _assert_all_end(words: list[str], times: int, status: int, at_once: int = 2) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        ends = list(pool.map(_end, [words] * times))
    assert [code for code, _ in ends] == [status] * times, ends
    assert not [said for _, said in ends if any(word in said for word in DEATHS)]


@pytest.mark.parametrize("times", [FEW, MANY])
@pytest.mark.parametrize("scan", SCANS)
def test_a_process_that_ends_behind_a_scan_ends_well(
    scan: str, times: int, places: dict[str, str], tmp_path: Path
) -> None:
    root = places["bare"]
    if scan == "failed":
        root = str(shutil.copytree(root, tmp_path / "lake"))
        sorted(Path(root, "tables", "segments").rglob("*.parquet"))[4].unlink()
    failing = "with contextlib.suppress(NotFound): " if scan == "failed" else ""
    program = (
        "import contextlib, sys\nfrom shotlake.errors import NotFound\nfrom shotlake.table.lake import Lake\n"
        f"lake, names = Lake.open({root!r}), ['model_id', 'weights_sha256']\n{failing}{SCANS[scan]}\n"
    )
    _assert_all_end(["-c", program], times, 0)
    if scan == "failed":
        shutil.rmtree(root)  # nothing is to be held against it


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [2, pytest.param(5, marks=pytest.mark.long), MANY])  # of twenty commands
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_end_as_they_say(command: str, times: int, places: dict[str, str]) -> None:
    _assert_all_end(_words(command, places), times, COMMANDS[command], at_once=1 if command in WRITING else 2)


def _words(command: str, places: dict[str, str]) -> list[str]:
    words = [word.format(**places) for word in command.replace("'a red circle'", "circle").split()]
    return ["-m", "shotlake.cli", *words, *(MINI if "modle" not in command and "other" not in command else MINI[2:])]


def test_a_question_for_a_row_reads_no_file_behind_it(places: dict[str, str], tmp_path: Path) -> None:
    """The other files are gone, and the answer is the same."""
    whole = Lake.open(places["bare"])
    expected = written_fingerprints(whole)
    lake = Lake(str(shutil.copytree(places["bare"], tmp_path / "lake")))
    first = next(iter(lake.dataset("segments").get_fragments())).path.rpartition("/")[2]
    for file in Path(lake.root, "tables", "segments").rglob("*.parquet"):
        if file.name != first:
            file.unlink()
    assert written_fingerprints(lake) == expected != {}
    shutil.rmtree(lake.root)  # nothing is to be held against it
