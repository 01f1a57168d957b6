"""Where schedules begin: lakes that the commands themselves made, kept as dicts, each with its truth."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tests.faults import checker
from tests.faults.commands import LAKE, MOVED, SOURCE
from tests.faults.memory_s3 import MemoryS3, Objects

Run = Callable[..., Awaitable[list[dict[str, Any]]]]  # runs commands on the lake; raises if one fails


@dataclass
class Scene:
    """A lake and its sources; `given` are the arguments of commands; `truth` are ids by uri once all is done."""

    objects: Objects
    given: dict[str, Any]
    truth: dict[str, frozenset[str]] = field(default_factory=dict)
    before: dict[str, set[str]] = field(default_factory=dict)
    erased: list[checker.Erased] = field(default_factory=list)
    first: tuple[str, ...] = ()  # what has to be run before the last backfill


def lake_of(objects: Objects) -> dict[str, bytes]:
    """The lake's objects as the checker takes them."""
    start = LAKE.removeprefix("s3://") + "/"
    return {name.removeprefix(start): stored.data for name, stored in objects.items() if name.startswith(start)}


def put_tape(store: MemoryS3, number: int, version: int = 1, root: str = SOURCE) -> str:
    """A source of two units; another version is other content."""
    uri = f"{root}/tape-{number}.mp4"
    store.put(uri.removeprefix("s3://"), json.dumps({"seconds": 8, "tape": number, "version": version}).encode())
    return uri


async def build_scenes(store: MemoryS3, run: Run, wanted: Collection[str]) -> dict[str, Scene]:
    """The wanted scenes, one out of the other; what an undisturbed end of each looks like is not known yet."""
    scenes: dict[str, Scene] = {}
    for number in (1, 2):
        put_tape(store, number)
    await run(["backfill"])
    tape_3 = put_tape(store, 3)
    await run(["backfill"], sets=["limits.max_units=1"], build=False)
    put_tape(store, 4)
    await run(["checkpoint"])
    scenes["half"] = Scene(store.contents(), {"erased": tape_3})  # one unit of tape 3 is done, tape 4 is new
    if not {"half"}.issuperset(wanted):
        await run(["backfill"])
        await run(["checkpoint"])
        full = store.contents()
        if "full" in wanted:
            (draft,) = await run(["draft"])
            given = {"erased": f"{SOURCE}/tape-2.mp4", "draft": draft["value"]}
            scenes["full"] = Scene(store.contents(), given)
        if {"stale", "changed", "back"}.intersection(wanted):
            await _changed_scenes(store, full, scenes, run)
        await _moved_scenes(store, full, scenes)
    return {name: scene for name, scene in scenes.items() if name in wanted}


async def _changed_scenes(store: MemoryS3, full: Objects, scenes: dict[str, Scene], run: Run) -> None:
    store.restore(full)
    tape_5 = put_tape(store, 5)
    await run(["backfill"], build=False)
    await run(["checkpoint"])
    scenes["stale"] = Scene(store.contents(), {"erased": tape_5})  # the index is behind the table
    store.restore(full)
    tape_2 = put_tape(store, 2, version=2)
    scenes["changed"] = Scene(store.contents(), {"erased": tape_2})
    await run(["backfill"])
    await run(["checkpoint"])
    put_tape(store, 2)
    scenes["back"] = Scene(store.contents(), {"erased": tape_2})  # its first content is there again


async def _moved_scenes(store: MemoryS3, full: Objects, scenes: dict[str, Scene]) -> None:
    tapes = {name: stored for name, stored in full.items() if name.startswith(SOURCE.removeprefix("s3://"))}
    moved = {name.replace("/archive/", "/moved/"): stored for name, stored in tapes.items()}
    there = {**{name: stored for name, stored in full.items() if name not in tapes}, **moved}
    given = {"erased": f"{MOVED}/tape-2.mp4", "source": MOVED, "old": SOURCE, "new": MOVED}
    scenes["moved"] = Scene(there, given, first=("relocate",))
    store.restore(full)
    name = f"{LAKE.removeprefix('s3://')}/tables/segments/_delta_log/{0:020d}.json"
    store.put(name, _without_column(full[name].data, "text"))
    scenes["old"] = Scene(store.contents(), {"erased": f"{SOURCE}/tape-2.mp4"}, first=("migrate",))


def _without_column(log: bytes, column: str) -> bytes:
    """The first entry of a log as a version that did not know the column wrote it."""
    lines = [json.loads(line) for line in log.decode().splitlines() if line]
    for action in lines:
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            schema["fields"] = [field for field in schema["fields"] if field["name"] != column]
            action["metaData"]["schemaString"] = json.dumps(schema)
    return "\n".join(json.dumps(action) for action in lines).encode()


async def learn(scene: Scene, store: MemoryS3, run: Run) -> None:
    """Find out what an undisturbed end of the scene looks like, and what it has of the video that may be erased."""
    start = lake_of(scene.objects)
    scene.before = {} if "relocate" in scene.first else checker.live_ids(start)  # all of them get other names
    uri = scene.given["erased"]
    store.restore(scene.objects)
    await run([*scene.first, "backfill", "maintain"], **scene.given)
    end = lake_of(store.contents())
    scene.truth = {uri: frozenset(ids) for uri, ids in checker.live_ids(end).items()}
    for verdict in (checker.check_whole(end), checker.check_balance(end)):
        assert not verdict.findings, f"an undisturbed end is not sound: {verdict.findings}"
    scene.erased = [found for found in (checker.erased_of(start, uri), checker.erased_of(end, uri)) if found.ids]
