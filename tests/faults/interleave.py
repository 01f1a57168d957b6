"""The driver: every schedule of two commands, in processes that are stopped and killed at their requests to the store.

python tests/faults/interleave.py --minutes 90 --shards 2 --seed 1
python tests/faults/interleave.py --replay NAME
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.found import FOUND
from tests.faults.lane import KEYS, Lane, Outcome
from tests.faults.nursery import Nursery
from tests.faults.scenes import Scene, build_scenes, learn
from tests.faults.schedules import PAIRS, Schedule, plan
from tests.faults.stop_server import Upstream

Tell = Callable[[Outcome], None]


@dataclass
class Totals:
    """What a run did."""

    schedules: int = 0
    missed: int = 0
    kills: int = 0
    ended: int = 0  # brought to their end by all commands; the others were sound at once
    planned: int = 0
    findings: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.missed += not outcome.is_met
        self.kills += outcome.n_kills
        self.ended += outcome.is_ended
        if outcome.findings:
            self.findings.append(outcome.name)
        self.kinds.update({kind_of(finding) for finding in outcome.findings})


def kind_of(finding: str) -> str:
    """Its first word, such as missing, doubled, generation, balance, lost, unserved, trace, blocked, command, hang."""
    return finding.removeprefix("early: ").partition(":")[0]


def briefly(findings: list[str]) -> list[str]:
    """The first finding of each kind, and how many there are."""
    counts = Counter(map(kind_of, findings))
    first = {kind_of(finding): finding for finding in reversed(findings)}
    return [f"{finding} ({counts[kind]} of the kind)" for kind, finding in sorted(first.items())]


@asynccontextmanager
async def opened(n_lanes: int, scenes: Collection[str], upstream: str = "") -> AsyncIterator[list[Lane]]:
    """Lanes that share a nursery and these scenes, which the code as it is has made in memory."""
    nursery = Nursery()
    lanes: list[Lane] = []
    try:
        await nursery.open()
        lanes += [Lane(nursery) for _ in range(n_lanes)]
        await asyncio.gather(*(lane.open() for lane in lanes))
        kept = await build_scenes(lanes[0].store, lanes[0].run, scenes)
        await _spread(lanes, [partial(_learn_with, scene) for scene in kept.values()])
        if upstream:
            lanes = [Lane(nursery, Upstream(upstream, KEYS))]
            await lanes[0].open()
        for lane in lanes:
            lane.scenes = kept
        yield lanes
    finally:
        for lane in lanes:
            lane.close()
        nursery.close()


async def _learn_with(scene: Scene, lane: Lane) -> None:
    await learn(scene, lane.store, lane.run)


async def _spread(lanes: list[Lane], tasks: Iterable[Callable[[Lane], Awaitable[None]]]) -> None:
    """Do every task with one of the lanes."""
    waiting = iter(list(tasks))

    async def work(lane: Lane) -> None:
        for task in waiting:
            await task(lane)

    await asyncio.gather(*map(work, lanes))


async def record_all(lanes: list[Lane], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """What each command asks for when it is alone, by (scene, command)."""
    recorded: dict[tuple[str, str], list[str]] = {}

    async def record(scene: str, name: str, lane: Lane) -> None:
        recorded[scene, name] = await lane.record(lane.scenes[scene], name)

    await _spread(lanes, [partial(record, *pair) for pair in sorted(wanted)])
    return recorded


async def drive(options: argparse.Namespace, tell: Tell, totals: Totals) -> Totals:
    """Play schedules until all were, or the time is up; `totals` grow meanwhile."""
    replayed = [Schedule.parse(name) for name in options.replay]
    pairs = wanted_pairs(options)
    scenes = {one.scene for one in replayed} or {scene for scene, *_ in pairs}
    async with opened(options.lanes, scenes, options.upstream) as lanes:
        schedules = replayed or await planned(lanes, pairs, options)
        if not replayed and not options.pairs:
            known = (Schedule.parse(name) for name, _ in FOUND.values())
            schedules = [one for one in known if one.scene in scenes and is_wanted(one, options)] + schedules
        schedules = schedules[max(0, options.shard) :: options.shards]
        totals.planned, end = len(schedules), time.monotonic() + options.minutes * 60

        async def play(schedule: Schedule, lane: Lane) -> None:
            if time.monotonic() < end:
                outcome = await lane.play(schedule, tuple(options.relapse))
                outcome.findings = [found for found in outcome.findings if kind_of(found) not in options.ignore]
                totals.add(outcome)
                tell(outcome)

        await _spread(lanes, [partial(play, schedule) for schedule in schedules])
    return totals


async def planned(lanes: list[Lane], pairs: list[tuple[str, str, str]], options: argparse.Namespace) -> list[Schedule]:
    """The schedules of these (scene, first, second) that the options ask for, in a seeded order."""
    recorded = await record_all(lanes, {(scene, name) for scene, *pair in pairs for name in pair})
    found = plan(pairs, recorded, options.occurrences, options.samples, options.seed)
    return [one for one in found if is_wanted(one, options)]


def wanted_pairs(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(scene, first, second) that the options ask for."""
    scenes = options.scenes or list(PAIRS)
    pairs = [(scene, *pair) for scene in scenes for pair in PAIRS[scene]]
    return [pair for pair in pairs if not options.pairs or f"{pair[1]}:{pair[2]}" in options.pairs]


def is_wanted(schedule: Schedule, options: argparse.Namespace) -> bool:
    """Whether the options ask for its mode and its clocks."""
    return (not options.modes or schedule.mode in options.modes) and (options.twists or not schedule.twist)


def parsed(words: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=80, help="of playing; what comes before takes one or two")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1, help="processes")
    parser.add_argument("--shard", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--lanes", type=int, default=2, help="schedules side by side in a process")
    parser.add_argument("--occurrences", type=int, default=2, help="of each kind of request")
    parser.add_argument("--samples", type=int, default=40, help="pairs of stops a pair of commands")
    parser.add_argument("--pairs", nargs="*", default=[], metavar="A:B")
    parser.add_argument("--scenes", nargs="*", default=[])
    parser.add_argument("--modes", nargs="*", default=[])
    parser.add_argument("--no-twists", dest="twists", action="store_false")
    parser.add_argument("--relapse", nargs="*", default=[])
    parser.add_argument("--replay", nargs="*", default=[])
    parser.add_argument("--upstream", default="", metavar="URL", help="play on this S3 server instead of memory")
    parser.add_argument("--ignore", nargs="*", default=[], metavar="KIND", help="of findings that are known")
    parser.add_argument("--all", action="store_true", help="a line a schedule, not a finding")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Print a line a finding and a line of totals; 1 if there were findings."""
    options = parsed(words)
    if options.shards > 1 and options.shard < 0:
        return asyncio.run(_shards(options, words))
    options.shard = max(0, options.shard)
    began = time.monotonic()

    def tell(outcome: Outcome) -> None:
        if outcome.findings or options.all or options.replay:
            found = outcome.findings if options.replay else briefly(outcome.findings)
            said = {"schedule": outcome.name, "met": outcome.is_met, "ended": outcome.ended, "findings": found}
            print(json.dumps(said), flush=True)

    totals = Totals()
    with suppress(KeyboardInterrupt):  # what was played so far is told
        asyncio.run(drive(options, tell, totals))
    said = {
        "schedules": totals.schedules,
        "planned": totals.planned,
        "missed": totals.missed,
        "kills": totals.kills,
        "ended": totals.ended,
        "findings": len(totals.findings),
        "kinds": totals.kinds,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    print(json.dumps({"totals": said}), flush=True)
    return int(bool(totals.findings))


async def _shards(options: argparse.Namespace, words: list[str]) -> int:
    """The same in several processes, each with its part; totals are added up."""
    program = [sys.executable, __file__, *words, "--shard"]
    pipe = asyncio.subprocess.PIPE
    running = [await asyncio.create_subprocess_exec(*program, str(n), stdout=pipe) for n in range(options.shards)]
    totals: Counter[str] = Counter()

    async def follow(process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            said = json.loads(line)
            if "totals" in said:
                totals.update({name: n for name, n in said["totals"].items() if isinstance(n, int)})
            else:
                print(line.decode().rstrip(), flush=True)

    await asyncio.gather(*(follow(process) for process in running))
    failed = [process for process in running if await process.wait() not in (0, 1)]
    print(json.dumps({"totals": totals, "shards_failed": len(failed)}), flush=True)
    return int(bool(totals["findings"] or failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
