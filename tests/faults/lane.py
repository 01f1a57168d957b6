"""One schedule after the other on one store: restore, stop, meddle, go on, finish, judge."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import checker
from tests.faults.memory_s3 import MemoryS3
from tests.faults.nursery import Child, Nursery
from tests.faults.scenes import Scene, lake_of
from tests.faults.schedules import CLOCKS, OTHER_HOST, Schedule
from tests.faults.stop_server import Client, Stop, Upstream, listen

KEYS = {
    "AWS_ACCESS_KEY_ID": "testkey",
    "AWS_SECRET_ACCESS_KEY": "testsecret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "AWS_EC2_METADATA_DISABLED": "true",
}
HANG_S = 60
KILLED = -9
AGE_S = 2 * 86_400  # how old what a scene holds is: maintenance may remove what nothing needs
# What is run where rows do not fit units, traces are left or a command was refused, and by lot.
END = ("backfill", "maintain", "status", "balance", "index_status")

# How a refusal beside another command begins, or what it says; anything else that a command raises is a finding.
REFUSALS = {
    "": ("LeaseHeld", "LeaseLost", "use rollback to go back on purpose"),
    "erase": ("SourceMissing",),
    "publish": ("CorruptGeneration", "IndexingError", "NoIndex"),
    "backfill": ("LakeFormat",),
    "relocate": ("SourceMissing",),
}


@dataclass
class Outcome:
    """How a schedule went: `findings` are faults, `is_met` whether the stop was reached."""

    name: str
    findings: list[str] = field(default_factory=list)
    is_met: bool = False
    n_kills: int = 0
    is_ended: bool = False  # whether the commands of END were run as well
    ended: dict[str, str] = field(default_factory=dict)


def is_drawn(schedule: Schedule) -> bool:
    """One in four, the same ones each time."""
    return zlib.crc32(str(schedule).encode()) % 4 == 0


class Hang(Exception):
    """A command did not end in time."""


class Lane:
    """A store with a port for each command. `relapses`: faults that the children put back."""

    def __init__(self, nursery: Nursery, store: MemoryS3 | Upstream | None = None) -> None:
        self.nursery, self.store = nursery, store or MemoryS3()
        self.relapses: tuple[str, ...] = ()
        self.clients = {role: Client() for role in "ABC"}
        self.urls: dict[str, str] = {}
        self.scenes: dict[str, Scene] = {}
        self._cache = Path(tempfile.mkdtemp(prefix="interleave-cache-"))
        self._alive: list[Child] = []
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Listen."""
        for role, client in self.clients.items():
            server, self.urls[role] = await listen(self.store, client)
            self._servers.append(server)

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
        shutil.rmtree(self._cache, ignore_errors=True)

    async def start(self, role: str, names: list[str], given: dict[str, Any], stop: Stop | None = None) -> Child:
        """Run commands in a process of their own, as A, B or C."""
        self.clients[role].rewind(stop)
        environ = {
            **KEYS,
            "AWS_ENDPOINT_URL": self.urls[role],
            "XDG_CACHE_HOME": str(self._cache / (given.get("host") or "here")),
        }
        child = await self.nursery.start(names, {"relapses": self.relapses, **given}, environ)
        self._alive.append(child)
        return child

    async def run(self, names: list[str], role: str = "C", **given: Any) -> list[dict[str, Any]]:
        """Run commands to their end. Errors: AssertionError if one fails."""
        child = await self.start(role, names, given)
        await self._end(child)
        self._alive.remove(child)
        for entry in (ended := child.result()):
            assert not entry["error"], f"{entry['command']}: {entry['error']}: {entry['value']}"
        return ended

    async def record(self, scene: Scene, name: str) -> list[str]:
        """The kinds of request that a command makes alone, in order."""
        self._begin(scene)
        child = await self.start("A", [name], scene.given)
        await self._end(child)
        self._alive.remove(child)
        return list(self.clients["A"].order)

    async def play(self, schedule: Schedule, relapses: tuple[str, ...] = ()) -> Outcome:
        """Play one schedule and judge it; the children put these faults back."""
        self.relapses = relapses
        scene, outcome = self.scenes[schedule.scene], Outcome(str(schedule))
        self.store.clock_s = CLOCKS.get(schedule.twist, (0, 0))[0]
        self._begin(scene)
        try:
            await self._meet(schedule, scene, outcome)
            await self._finish(schedule, scene, outcome)
        except Hang as hang:
            outcome.findings.append(f"hang: {hang}")
        finally:
            for child in self._alive:
                child.kill()
            for client in self.clients.values():
                client.go.set()
            self._alive.clear()
            self.store.clock_s = 0
        return outcome

    def _begin(self, scene: Scene) -> None:
        aged = {name: stored._replace(modified=stored.modified - AGE_S) for name, stored in scene.objects.items()}
        self.store.restore(aged)
        shutil.rmtree(self._cache, ignore_errors=True)

    async def _meet(self, schedule: Schedule, scene: Scene, outcome: Outcome) -> None:
        """What the schedule says, up to the end of both commands."""
        clock_s = CLOCKS.get(schedule.twist, (0, 0))[1]
        hosts = ("one", "other", "third") if schedule.twist == OTHER_HOST else ("", "", "")
        given, others, again = ({"host": host, **scene.given} for host in hosts)
        others["clock_s"] = clock_s
        first = await self.start("A", [schedule.first], given, schedule.stop)
        outcome.is_met = await self._until_stop("A", first)
        if schedule.kills and outcome.is_met:
            await self._kill("A", first, outcome)
        if schedule.mode != "kill":
            second = await self.start("B", [schedule.second], others, schedule.other_stop)
            if schedule.other_stop is None:
                await self._end(second)
            elif await self._until_stop("B", second) and schedule.mode == "pair-kill":
                await self._kill("B", second, outcome)
        if schedule.kills and outcome.is_met:
            first = await self.start("A", [schedule.first], again)
        self.clients["A"].go.set()
        await self._end(first)
        self._book(schedule.first, first, schedule, outcome)
        if schedule.mode != "kill":
            if second.status == KILLED:
                second = await self.start("B", [schedule.second], others)
            self.clients["B"].go.set()
            await self._end(second)
            self._book(schedule.second, second, schedule, outcome)

    async def _kill(self, role: str, child: Child, outcome: Outcome) -> None:
        """SIGKILL; what was held is not done."""
        child.kill()
        await self._end(child)
        outcome.n_kills += 1
        await asyncio.sleep(0.01)  # the server hears of the closed connection before the stop is lifted
        self.clients[role].go.set()

    async def _finish(self, schedule: Schedule, scene: Scene, outcome: Outcome) -> None:
        """Judge what there is; if it is not sound, or by lot, bring everything to its end and judge again."""
        is_erased = "erase" in (schedule.first, schedule.second)
        erased = scene.given["erased"] if is_erased else ""
        lake = lake_of(self.store.contents())
        early = checker.check_whole(lake).findings + checker.check_served(lake, scene.before, erased).findings
        outcome.findings += [f"early: {finding}" for finding in early]
        is_sound = all(finding.startswith("lost:") for finding in self._lacking(scene, erased))  # not done yet
        if is_sound and not any(outcome.ended.values()) and not is_drawn(schedule):
            return
        outcome.is_ended = True
        end = [*scene.first, *END]
        if is_erased and outcome.ended.get("erase"):  # it was refused, or failed
            end.insert(len(scene.first), "erase")
        child = await self.start("C", end, scene.given)
        await self._end(child)
        for entry in child.result():
            if entry["error"] and not (entry["command"] == "erase" and entry["error"] == "SourceMissing"):
                outcome.findings.append(
                    f"end: {entry['command']} fails: {entry['error']}: {str(entry['value'])[-300:]}"
                )
        outcome.findings += self._lacking(scene, erased)

    def _lacking(self, scene: Scene, erased: str) -> list[str]:
        """What speaks against the lake as the end of all commands."""
        lake = lake_of(self.store.contents())
        truth = {uri: ids for uri, ids in scene.truth.items() if uri != erased}
        verdicts = [checker.check_whole(lake), checker.check_balance(lake), checker.check_ids(lake, truth)]
        verdicts.append(checker.check_retention(lake))
        if erased:
            verdicts += [checker.check_traces(lake | self._cached(), found) for found in scene.erased]
        return list(dict.fromkeys(finding for verdict in verdicts for finding in verdict.findings))

    def _cached(self) -> dict[str, bytes]:
        """What the commands keep on this machine; others drop theirs at their next poll."""
        files = (path for path in (self._cache / "here").rglob("*") if path.is_file())
        return {f"cache/{path.relative_to(self._cache)}": path.read_bytes() for path in files}

    def _book(self, name: str, child: Child, schedule: Schedule, outcome: Outcome) -> None:
        for entry in child.result():
            outcome.ended[name] = entry["error"]
            said = f"{entry['error']}: {str(entry['value'])[-300:]}"
            if said.startswith("LeaseHeld") and schedule.kills and outcome.is_met:
                outcome.findings.append(f"blocked: {name} by a dead one: {said}")
            elif entry["error"] and not any(part in said for part in (*REFUSALS[""], *REFUSALS.get(name, ()))):
                outcome.findings.append(f"command: {name} fails: {said}")

    async def _until_stop(self, role: str, child: Child) -> bool:
        """True once the command is held; False if it has ended before. Errors: Hang."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.clients[role].reached, child.ended)]
        done, rest = await asyncio.wait(waits, timeout=HANG_S, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        if not done:
            raise Hang(f"command {role} neither ends nor comes to its stop in {HANG_S} s")
        return self.clients[role].reached.is_set()

    async def _end(self, child: Child) -> None:
        try:
            await asyncio.wait_for(child.ended.wait(), HANG_S)
        except TimeoutError:
            raise Hang(f"process {child.pid} does not end in {HANG_S} s") from None
