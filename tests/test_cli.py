"""The command line: every command explains itself, every wrong input gets one sentence and the right exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from shotlake.cli import app, main

BAD_INPUTS = {
    "a missing folder": (["backfill", "{tmp}/nowhere", "--lake", "{tmp}/lake"], 4, "there is no folder"),
    "another scheme": (["backfill", "http://example.org/a.mp4", "--lake", "{tmp}/lake"], 2, "scheme 'http'"),
    "no source": (["backfill", "--lake", "{tmp}/lake"], 2, "'sources'"),
    "a typo in a key": (["backfill", "{tmp}", "--set", "embed.modle=mini"], 2, "did you mean embed.model"),
    "a unit behind a number": (["backfill", "{tmp}", "--set", "table.commit_s=1min"], 2, "table.commit_s is '1min'"),
    "no equals sign": (["backfill", "{tmp}", "--set", "embed.model"], 2, "has no '='"),
    "a config file that is not there": (["status", "--config", "{tmp}/none.yaml"], 2, "cannot read the config file"),
    "a model that is not there": (
        ["backfill", "{tmp}", "--lake", "{tmp}/lake", "--set", "embed.model={tmp}/none"], 4, "none"),
    "a model without safetensors": (
        ["backfill", "{tmp}", "--lake", "{tmp}/lake", "--set", "embed.model={tmp}/model"], 4, "safetensors"),
    "no lake": (["search", "a red circle", "--lake", "{tmp}/lake"], 4, "run `shotlake backfill` first"),
    "status of no lake": (["status", "--lake", "{tmp}/lake"], 4, "there is no lake"),
    "an instance without a price": (
        ["backfill", "{tmp}", "--lake", "{tmp}/lake", "--set", "report.instance=p9.huge"], 4, "no price of 'p9.huge'"),
    "an unknown command": (["bakfill"], 2, "bakfill"),
    "an unknown option": (["status", "--laek", "x"], 2, "--laek"),
    "a plan of no rows": (["index", "plan", "--rows", "0", "--lake", "{tmp}/lake"], 2, "'--rows'"),
    "a plan of fewer": (["index", "plan", "--rows", "-5", "--lake", "{tmp}/lake"], 2, "'--rows'"),
    "a plan of no values": (["index", "plan", "--rows", "9", "--dim", "0", "--lake", "{tmp}/lake"], 2, "'--dim'"),
    "a plan of no lake": (["index", "plan", "--lake", "{tmp}/lake"], 4, "there is no lake"),
    "a negative budget": (
        ["index", "plan", "--lake", "{tmp}/lake", "--set", "index.max_ram_bytes=-1"], 2, "index.max_ram_bytes"),
    "a word for --index that is none": (["backfill", "{tmp}", "--index", "maybe"], 2, "auto or never"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_gets_one_sentence_and_writes_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"not loaded")
    arguments, status, words = BAD_INPUTS[name]
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == status
    out, err = capsys.readouterr()
    assert words in err
    assert err.startswith("shotlake: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "lake").exists()


def test_a_lake_without_an_index_says_how_to_get_one(
    demo_lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    assert main(["backfill", str(tmp_path), "--lake", str(lake), "--set", "flow.engine=local"]) == 0
    capsys.readouterr()
    assert main(["search", "a red circle", "--lake", str(lake)]) == 4
    assert "shotlake" in capsys.readouterr().err


def test_a_lake_of_a_newer_format_is_left_alone(demo_lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    lake = tmp_path / "lake"
    shutil.copytree(demo_lake.config.lake, lake)
    log = lake / "tables" / "segments" / "_delta_log" / "00000000000000000000.json"
    log.write_text(log.read_text().replace('"shotlake.lake_format":"1"', '"shotlake.lake_format":"99"'))
    assert main(["backfill", str(demo_lake.archive), "--lake", str(lake), "--set", "flow.engine=local"]) == 4
    assert "has format 99" in capsys.readouterr().err


def test_a_query_of_unknown_words_names_them(demo_lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "quarterly earnings", "--lake", demo_lake.config.lake]) == 2
    assert "quarterly" in capsys.readouterr().err


def test_search_goes_on_behind_its_cursor_and_obeys_a_filter(demo_lake, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(*more: str) -> dict[str, Any]:
        words = ["search", "a red circle", "--lake", demo_lake.config.lake, "--json", "--limit", "3", *more]
        assert main(words) == 0
        return json.loads(capsys.readouterr().out)

    first = ask()
    second = ask("--cursor", first["cursor"])
    assert [hit["rank"] for hit in (*first["hits"], *second["hits"])] == [1, 2, 3, 4, 5, 6]
    assert not {i for hit in first["hits"] for i in hit["segment_ids"]} & {
        i for hit in second["hits"] for i in hit["segment_ids"]
    }
    assert all("/morning/" in hit["video_uri"] for hit in ask("--filter", 'uri ~ "*/morning/*"')["hits"])
    assert len({hit["video_uri"] for hit in ask("--group-size", "2")["hits"]}) == 3
    assert ask("--generation", first["index"]["generation"])["hits"] == first["hits"]
    assert ask("--recall", "0.5", "--time-limit-ms", "0.01")["hits"] == first["hits"], "an exact index has one point"
    assert main(["search", "a red circle", "--lake", demo_lake.config.lake, "--time-limit-ms", "0"]) == 2
    assert "time_limit_ms is 0.0; a number of milliseconds above 0 is allowed" in capsys.readouterr().err
    assert main(["search", "a blue circle", "--lake", demo_lake.config.lake, "--cursor", first["cursor"]]) == 2
    assert "of another query" in capsys.readouterr().err


def test_search_json_has_the_documented_keys(demo_lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "a red circle", "--lake", demo_lake.config.lake, "--json", "--limit", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"index", "took_ms", "partial", "coverage", "spent", "match", "cursor", "hits"}
    assert set(answer["index"]) >= {"generation", "embed_key", "table_version", "unindexed_rows", "recall_at_10"}
    assert set(answer["took_ms"]) >= {"encode", "search", "columns", "total"}
    assert len(answer["hits"]) == 2
    assert set(answer["hits"][0]) == {
        "rank", "score", "video_uri", "start_s", "end_s", "n_segments", "segment_ids", "scores",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["failures"], ["verify"], ["index", "list"], ["index", "plan"], ["cost", "report"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_commands_that_only_read_speak_to_people_and_to_programs(
    arguments: list[str], demo_lake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = ["--lake", demo_lake.config.lake]
    assert main([*arguments, *lake]) == 0
    assert capsys.readouterr().out.strip()
    assert main([*arguments, *lake, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_config_schema_lists_every_key_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)
    assert any(line.startswith("embed.model ") for line in lines)


def commands(group, path: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize("path", [path for path, _ in commands(typer.main.get_command(app))], ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    command = dict(commands(typer.main.get_command(app)))[path]
    assert command.help
    assert (command.epilog or "").startswith(f"Example: shotlake {' '.join(path)}")


def test_help_is_the_answer_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) in (0, 2)
    assert "backfill" in capsys.readouterr().out


def test_no_credentials_are_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shotlake.storage import s3_client

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3_client.check_credentials.cache_clear()
    s3_client.filesystem.cache_clear()
    assert main(["backfill", "s3://somebodys-archive/masters", "--lake", str(tmp_path / "lake")]) == 4
    assert "no AWS credentials" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()
    s3_client.filesystem.cache_clear()


@pytest.mark.s3
def test_an_empty_prefix_is_a_warning(s3_root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["backfill", s3_root, "--lake", str(tmp_path / "lake"), "--set", "flow.engine=local"]
    assert main(arguments) == 0
    assert "warning: no object" in capsys.readouterr().err


def test_a_missing_bucket_is_said(s3_environ, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backfill", "s3://there-is-no-such-bucket", "--lake", str(tmp_path / "lake")]) == 4
    assert "there is no bucket" in capsys.readouterr().err


def test_near_duplicates_are_told_in_groups(demo_lake, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["near-duplicates", "--lake", demo_lake.config.lake, "--likeness", "0.7"]
    assert main([*arguments, "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert groups and all(len({segment["video_id"] for segment in group}) > 1 for group in groups)
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"1. {len(groups[0])} segments\n")
    assert main([*arguments[:-1], "0.9999"]) == 0
    assert "no two videos" in capsys.readouterr().out
    assert main([*arguments, "--space", "audio"]) == 2
    assert "no space 'audio'" in capsys.readouterr().err
