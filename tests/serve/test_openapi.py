"""What OpenAPI says of the service is what it does: asked by a generator of requests, and by a made client."""

from __future__ import annotations

import importlib
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from shotlake.config import ServeConfig
from shotlake.query.search import LakeSearch
from shotlake.serve.app import create_app
from shotlake.serve.guard import UPLOAD_PATH
from shotlake.serve.live import LiveIndex

pytestmark = pytest.mark.long
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; `make setup` does that")

GENERATOR = Path(__file__).parents[2] / ".venv-client" / "bin" / "openapi-python-client"


@pytest.fixture(scope="module")
def url(full_lake) -> Iterator[str]:
    """A service on loopback."""
    live = LiveIndex(lambda: LakeSearch.open(full_lake.config.lake, full_lake.encoder, full_lake.config))
    live.refresh()
    server = uvicorn.Server(uvicorn.Config(create_app(live, ServeConfig()), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        threading.Event().wait(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_whatever_is_asked_is_answered_as_described(url, full_lake, mode):
    """What the description lets through may still be no query: a text of which no word is known, a wrong filter."""
    described = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/search", UPLOAD_PATH, "/v1/index", "/readyz"}
    for operation in operations:
        ask_many(operation, mode)
        answer = httpx.post(f"{url}/v1/search", json={"query": full_lake.captions[3], "limit": 1})
        assert answer.status_code == 200 and len(answer.json()["hits"]) == 1


def ask_many(operation, mode) -> None:
    @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.call_and_validate(excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")])

    with suppress(Unsatisfiable):  # nothing can be wrong with what has no parameters
        ask()


@pytest.fixture(scope="module")
def client_folder(url, tmp_path_factory) -> Path:
    """The folder of a client that was made from the description."""
    if not GENERATOR.exists():
        pytest.skip("no .venv-client: `make test-long` installs it where a package registry is reachable")
    folder = tmp_path_factory.mktemp("client")
    description = folder / "openapi.json"
    description.write_text(httpx.get(f"{url}/openapi.json").text)
    command = [GENERATOR, "generate", "--path", description, "--output-path", folder / "made", "--meta", "none"]
    with_ruff = os.environ | {"PATH": f"{GENERATOR.parent}:{os.environ['PATH']}"}
    made = subprocess.run([*command, "--fail-on-warning"], capture_output=True, text=True, env=with_ruff)
    assert made.returncode == 0, made.stdout + made.stderr
    (folder / "made").rename(folder / "shotlake_client")
    return folder


def test_a_made_client_reads_an_answer_and_an_error(client_folder, url, full_lake, monkeypatch):
    monkeypatch.syspath_prepend(str(client_folder))
    made = importlib.import_module("shotlake_client")
    models = importlib.import_module("shotlake_client.models")
    search = importlib.import_module("shotlake_client.api.default.search_v1_search_post")
    state = importlib.import_module("shotlake_client.api.default.index_v1_index_get")
    with made.Client(base_url=url) as client:
        found = search.sync(client=client, body=models.SearchBody(query=full_lake.captions[3], limit=2))
        assert isinstance(found, models.SearchAnswer)
        assert [hit.rank for hit in found.hits] == [1, 2] and found.hits[0].video_uri == "/archive/000.mp4"
        assert state.sync(client=client).rows == 60
        wrong = search.sync(client=client, body=models.SearchBody(query="zzqx bleurgh"))
        assert isinstance(wrong, models.Problem)
        assert (wrong.status, wrong.code) == (422, "query") and "bleurgh" in wrong.detail
