"""`shotlake models`: list, info, fetch from a hub on loopback, check; and a lake of another encoder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shotlake.cli import main
from shotlake.embed.mini.encoder import MINI_FOLDER
from shotlake.embed.mini.files import find_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = b'{"model_type": "pe_audio_video"}'


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as a download of one repository asks for: `tiny/pe-av` at one commit."""

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

    def _answer(self, with_body: bool) -> None:
        files = {"config.json": CONFIG, "model.safetensors": find_weights(MINI_FOLDER).read_bytes()}
        headers, path = {"X-Repo-Commit": COMMIT}, self.path.split("?")[0]
        names = {**files, "evil.py": b"raise SystemExit"}
        if path.startswith("/api/models/tiny/pe-av"):
            entries = [{"type": "file", "path": name, "oid": "0" * 40, "size": len(names[name])} for name in names]
            tree = {"id": "tiny/pe-av", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            body = json.dumps(entries if "/tree/" in path else tree).encode()
            headers["Content-Type"] = "application/json"
        elif path.startswith("/tiny/pe-av/resolve/") and Path(path).name in files:
            body = files[Path(path).name]
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
        else:
            headers["X-Error-Code"], body = "RepoNotFound", b""
        self.send_response(404 if "X-Error-Code" in headers else 200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def shotlake(endpoint: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the hub's address is read when its client is imported."""
    environ = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    environ |= {"no_proxy": "*", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "shotlake.cli", "models", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)


def test_fetch_prints_the_commit_to_pin_and_then_works_offline(hub: str, tmp_path: Path) -> None:
    done = shotlake(hub, tmp_path, "fetch", "tiny/pe-av", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["revision"] == COMMIT
    assert found["weights_sha256"] == hashlib.sha256(find_weights(MINI_FOLDER).read_bytes()).hexdigest()
    assert sorted(path.name for path in Path(found["folder"]).iterdir()) == ["config.json", "model.safetensors"]
    again = shotlake("http://127.0.0.1:9", tmp_path, "fetch", "tiny/pe-av", "--revision", COMMIT, "--json")
    assert json.loads(again.stdout) == found
    listed = shotlake("http://127.0.0.1:9", tmp_path, "list", "--json")
    assert "facebook/pe-av-base-16-frame" in [row["model"] for row in json.loads(listed.stdout)]


def test_fetch_of_what_is_not_there_is_one_sentence(hub: str, tmp_path: Path) -> None:
    for endpoint, name, status, words in (
        (hub, "tiny/none", 4, "no model 'tiny/none'"),
        ("http://127.0.0.1:9", "tiny/pe-av", 4, "cannot be fetched"),
        (hub, "mini", 2, "no hub id"),
    ):
        done = shotlake(endpoint, tmp_path, "fetch", name)
        assert (done.returncode, done.stdout) == (status, "")
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_info_and_check_agree_on_what_the_encoder_is(demo_lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert main(["models", "check", "--json", "--lake", demo_lake.config.lake]) == 0
    check = json.loads(capsys.readouterr().out)
    assert info.items() <= check.items()
    assert check["lake"] == "same encoder"
    assert min(check["fused_norm"], check["visual_norm"], check["audio_norm"]) > 0


@pytest.fixture
def other_weights(tmp_path: Path) -> Path:
    """A network of mini's format with other bytes, and so another fingerprint."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = tmp_path / "other"
    folder.mkdir()
    with safe_open(find_weights(MINI_FOLDER), "pt") as file:
        tensors = {name: file.get_tensor(name) * 1.01 for name in file.keys()}  # noqa: SIM118
        save_file(tensors, folder / "mini.safetensors", file.metadata())
    return folder


def test_a_lake_of_another_encoder_is_refused_before_it_is_filled(
    demo_lake, other_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--lake", demo_lake.config.lake, "--set", f"embed.model={other_weights}", "--set", "flow.engine=local"]
    (tmp_path / "empty").mkdir()
    for command in (["backfill", str(tmp_path / "empty")], ["models", "check"], ["search", "a red circle"]):
        assert main([*command, *here]) == 4
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert "weights" in error
    assert main(["backfill", str(tmp_path / "empty"), *here, "--set", "embed.new_space=true", "--index", "never"]) == 0
