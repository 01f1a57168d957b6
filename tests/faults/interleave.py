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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.lane import Lane, Outcome
from tests.faults.nursery import Nursery
from tests.faults.scenes import build_scenes
from tests.faults.schedules import PAIRS, Schedule, plan

Tell = Callable[[Outcome], None]


@dataclass
class Totals:
    """What a run did."""

    schedules: int = 0
    missed: int = 0
    kills: int = 0
    planned: int = 0
    findings: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.missed += not outcome.is_met
        self.kills += outcome.n_kills
        if outcome.findings:
            self.findings.append(outcome.name)
        self.kinds.update(finding.removeprefix("early: ").partition(":")[0] for finding in outcome.findings)


@asynccontextmanager
async def opened(n_lanes: int, relapses: tuple[str, ...] = ()) -> AsyncIterator[list[Lane]]:
    """Lanes that share a nursery and scenes."""
    nursery = Nursery()
    try:
        await nursery.open()
        lanes = [Lane(nursery, relapses) for _ in range(n_lanes)]
        for lane in lanes:
            await lane.open()
        # scenes are made by the code as it is, whatever the children put back later
        lanes[0].relapses = ()
        scenes = await build_scenes(lanes[0].store, lanes[0].run)
        for lane in lanes:
            lane.scenes, lane.relapses = scenes, relapses
        yield lanes
        for lane in lanes:
            lane.close()
    finally:
        nursery.close()


async def record_all(lanes: list[Lane], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """What each command asks for when it is alone, by (scene, command)."""
    waiting, recorded = iter(sorted(wanted)), {}

    async def work(lane: Lane) -> None:
        for scene, name in waiting:
            recorded[scene, name] = await lane.record(lane.scenes[scene], name)

    await asyncio.gather(*map(work, lanes))
    return recorded


async def drive(options: argparse.Namespace, tell: Tell) -> Totals:
    """Play schedules until all were, or the time is up."""
    totals, end = Totals(), time.monotonic() + options.minutes * 60
    async with opened(options.lanes, tuple(options.relapse)) as lanes:
        if options.replay:
            schedules = [Schedule.parse(name) for name in options.replay]
        else:
            pairs = wanted_pairs(options)
            recorded = await record_all(lanes, {(scene, name) for scene, *pair in pairs for name in pair})
            found = plan(pairs, recorded, options.occurrences, options.samples, options.seed)
            schedules = [one for one in found if is_wanted(one, options)][options.shard :: options.shards]
        totals.planned = len(schedules)
        waiting = iter(schedules)
        await asyncio.gather(*(_work(lane, waiting, end, totals, tell) for lane in lanes))
    return totals


def wanted_pairs(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(scene, first, second) that the options ask for."""
    scenes = options.scenes or list(PAIRS)
    pairs = [(scene, *pair) for scene in scenes for pair in PAIRS[scene]]
    return [pair for pair in pairs if not options.pairs or f"{pair[1]}:{pair[2]}" in options.pairs]


def is_wanted(schedule: Schedule, options: argparse.Namespace) -> bool:
    """Whether the options ask for its mode and its clocks."""
    return (not options.modes or schedule.mode in options.modes) and (options.twists or not schedule.twist)


async def _work(lane: Lane, waiting: Iterator[Schedule], end: float, totals: Totals, tell: Tell) -> None:
    for schedule in waiting:
        if time.monotonic() > end:
            return
        outcome = await lane.play(schedule)
        totals.add(outcome)
        tell(outcome)


def parsed(words: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=90)
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
            print(json.dumps({"schedule": outcome.name, "met": outcome.is_met, "ended": outcome.ended,
                              "findings": outcome.findings}), flush=True)  # fmt: skip

    totals = asyncio.run(drive(options, tell))
    said = {
        "schedules": totals.schedules,
        "planned": totals.planned,
        "missed": totals.missed,
        "kills": totals.kills,
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
