"""What was lost is found, grouped and tried again by its code, and counted once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.flow.lakes import assert_same_lake, local_config, run

from shotlake.cli import main
from shotlake.flow.status import failure_groups
from shotlake.flow.verify import lake_balance
from shotlake.table.lake import Lake


@pytest.fixture
def lost(copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A lake where one video of four timed out three times, beside a text that is no video; and its configuration."""
    from shotlake.decode import decoder

    victim = sorted(copies.iterdir())[1]
    (copies / "text.mp4").write_text("not a video")
    honest = decoder.open_video

    def slow(video):
        from shotlake.errors import StoreError

        if video.uri == str(victim):
            raise StoreError("the line is dead")
        return honest(video)

    config = local_config(tmp_path / "lake")
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "open_video", slow)
        reports = [run(copies, config) for _ in range(4)]
    assert [report.ledger.videos["failed"] for report in reports] == [2, 2, 2, 2]
    assert [report.ledger.failed_new for report in reports] == [2, 1, 1, 0]
    return config, victim


def arguments(config, *more: str) -> list[str]:
    sets = ("flow.engine=local", "decode.isolate=false", "embed.model=mini")
    return ["--lake", config.lake, *(word for item in sets for word in ("--set", item)), *more]


def test_failures_are_counted_once_however_often_they_were_tried(lost) -> None:
    config, victim = lost
    groups = {group["code"]: group for group in failure_groups(config.lake)}
    assert {code: group["videos"] for code, group in groups.items()} == {"io_error": 1, "not_media": 1}
    assert groups["io_error"]["example"] == str(victim)
    cells = Lake.open(config.lake).read("units", ["video_id", "planned"])
    assert 0 < groups["io_error"]["cells"] < sum(cells["planned"].to_pylist())


def test_only_what_was_lost_with_the_code_is_tried_again(lost, copies: Path, tmp_path: Path, capsys) -> None:
    config, _ = lost
    shutil.copy2(sorted(copies.iterdir())[0], copies / "new.mp4")
    assert main(["retry", "--code", "io_error", "--json", "-q", *arguments(config)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["balanced"]
    counted = {name: report["videos"][name] for name in ("indexed", "unchanged", "failed", "deferred")}
    assert counted == {"indexed": 1, "unchanged": 3, "failed": 1, "deferred": 1}  # the new one waits
    assert [group["code"] for group in failure_groups(config.lake)] == ["not_media"]
    assert lake_balance(config.lake)["balanced"]
    (copies / "new.mp4").unlink()
    undisturbed = local_config(tmp_path / "undisturbed")
    run(copies, undisturbed)
    assert_same_lake(config, undisturbed)


def test_a_code_that_nothing_has_names_those_that_are_there(lost, capsys) -> None:
    config, _ = lost
    assert main(["retry", "--code", "time_out", *arguments(config)]) == 2
    assert "nothing is lost with --code time_out; this lake has io_error, not_media." in capsys.readouterr().err
