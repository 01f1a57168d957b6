"""A build that was killed anywhere is taken up by the next one: what is finished is not done again, and bytes agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_vectors import IVF, KEY, build, clustered, rows_of

from shotlake import storage
from shotlake.errors import NoIndex
from shotlake.index import fill
from shotlake.index.manifest import Manifest
from shotlake.index.publish import current, list_generations, publish
from shotlake.index.searcher import Searcher

BUILDER = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import faiss
from toy_vectors import IVF, build, clustered, rows_of
from shotlake import storage
from shotlake.index.publish import publish

def die_at(function, position, word):
    real = getattr(storage, function)
    def dying(*args):
        if word and word in str(args[position]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    setattr(storage, function, dying)

faiss.omp_set_num_threads(1)
die_at("upload", 1, {upload!r})
die_at("create", 0, {create!r})
publish({root!r}, build({root!r}, rows_of(clustered(3000, 32, seed=5)), IVF))
"""


def start(root: str, upload: str = "", create: str = "") -> subprocess.Popen:
    """A builder in a process of its own, which kills itself before it stores what is named."""
    program = BUILDER.format(folder=str(Path(__file__).parent), root=root, upload=upload, create=create)
    return subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "OMP_NUM_THREADS": "1"})


def contents(manifest: Manifest) -> dict[str, str]:
    """Hashes of a generation's files by their names below it; reports and statistics say how long it took."""
    return {
        file.path.split("/", 1)[1].removeprefix(manifest.generation): file.sha256
        for file in manifest.files
        if not file.path.startswith("epochs/") and not file.path.endswith((".json", ".npz"))
    }


@pytest.fixture(scope="module")
def table():
    return rows_of(clustered(3000, 32, seed=5))


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory):
    return build(str(tmp_path_factory.mktemp("undisturbed")), table, IVF)


@pytest.fixture
def work(monkeypatch):
    """How many spaces are trained and how many shards are filled."""
    done = {"train_space": 0, "build_shard": 0}

    def counted(name):
        real = getattr(fill, name)

        def call(*args):
            done[name] += 1
            return real(*args)

        return call

    for name in done:
        monkeypatch.setattr(fill, name, counted(name))
    return done


@pytest.mark.parametrize(
    ("killed_at", "trained", "filled"),
    [
        ({"create": "epochs.npz"}, 2, 3),
        ({"upload": "fused/shards/00000/ivf"}, 0, 3),
        ({"upload": "visual/shards/00001/rows"}, 0, 2),
        ({"create": "shard-00001.npz"}, 0, 2),
        ({"create": "manifest.json"}, 0, 0),
        ({"create": "CURRENT/1.json"}, 2, 3),  # that generation is whole, and the next build another
    ],
)
def test_a_killed_build_is_taken_up(table, undisturbed, work, tmp_path, killed_at, trained, filled):
    root = str(tmp_path / "index")
    assert start(root, **killed_at).wait() == -signal.SIGKILL
    with pytest.raises(NoIndex):
        current(root, KEY)
    manifest = build(root, table, IVF)
    assert work == {"train_space": trained, "build_shard": filled}
    assert contents(manifest) == contents(undisturbed)
    for space, entry in manifest.spaces.items():
        expected = undisturbed.spaces[space]
        assert [p.recall for p in entry.tuning["text"].curve] == [p.recall for p in expected.tuning["text"].curve]
        assert entry.first_shards == 3
    assert publish(root, manifest) == 1
    Searcher.load(root, current(root, KEY))
    assert not [name for name in storage.names(root) if "drafts/" in name]


def test_a_finished_shard_that_is_damaged_is_filled_again(table, undisturbed, work, tmp_path):
    root = str(tmp_path / "index")
    start(root, create="manifest.json").wait()
    rows = next(Path(root).rglob("fused/shards/00001/rows.f16"))
    data = bytearray(rows.read_bytes())
    data[100] ^= 1
    rows.write_bytes(bytes(data))
    receipt = next(Path(root).rglob("shard-00002.npz"))
    receipt.write_bytes(receipt.read_bytes()[:-100])
    manifest = build(root, table, IVF)
    assert work == {"train_space": 0, "build_shard": 2}
    assert contents(manifest) == contents(undisturbed)
    Searcher.load(root, manifest)


def test_other_rows_or_queries_take_nothing_up(table, work, tmp_path):
    root = str(tmp_path / "index")
    start(root, create="manifest.json").wait()
    build(root, table, IVF, version=2)
    assert work == {"train_space": 2, "build_shard": 3}


def test_two_builders_race_and_both_publish_a_whole_generation(tmp_path):
    root = str(tmp_path / "index")
    builders = [start(root) for _ in range(2)]
    assert [builder.wait() for builder in builders] == [0, 0]
    manifests = list_generations(root, KEY)
    assert len(manifests) == 2
    for manifest in manifests:
        vectors = clustered(3000, 32, seed=5)
        assert Searcher.load(root, manifest).search_vectors(vectors[7:8], "fused", 1)[1].tolist() == [[7]]
