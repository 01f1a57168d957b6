"""Which schedules there are: two commands on a scene, where the first is stopped, and what happens there.

A name says all of it, so that a finding can be played again:
`half~backfill~erase~between~after.PUT:leases/run/#.json.1`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.faults.shapes import is_mutation
from tests.faults.stop_server import Stop

MODES = ("between", "kill", "kill-between", "pair", "pair-kill")
CLOCKS = {"": (0, 0), "store+90": (90, 0), "store-90": (-90, 0), "rival+90": (0, 90), "rival-90": (0, -90)}
OTHER_HOST = "hosts"  # the two commands are on different machines, so that only silence tells of a death

# Which commands meet in a scene; each also meets itself where two of it may be at work.
PAIRS: dict[str, Sequence[tuple[str, str]]] = {}


def _meet(scene: str, *names: str) -> None:
    PAIRS[scene] = [(one, other) for one in names for other in names]


_meet("half", "backfill", "part", "erase", "maintain", "update")
_meet("full", "erase", "maintain", "build", "publish", "backfill")
_meet("stale", "update", "erase", "maintain", "build", "compact")
_meet("back", "backfill", "maintain", "erase")
_meet("changed", "backfill", "flaky", "maintain", "erase", "update")
_meet("moved", "relocate", "maintain", "erase", "backfill", "build")
_meet("old", "migrate", "maintain", "erase", "backfill")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`first` is stopped at `stop`; `second` comes in between, whole or up to `other_stop`. `twist`: clock or hosts.

    In `pair-kill` it is the second that is killed at its stop, and run again once the first has ended.
    """

    scene: str
    first: str
    second: str
    mode: str
    stop: Stop
    other_stop: Stop | None = None
    twist: str = ""

    def __str__(self) -> str:
        mode = self.mode + (f"@{self.twist}" if self.twist else "")
        parts = [self.scene, self.first, self.second, mode, str(self.stop)]
        return "~".join([*parts, str(self.other_stop)] if self.other_stop else parts)

    @classmethod
    def parse(cls, name: str) -> Schedule:
        scene, first, second, mode, stop, *other = name.split("~")
        mode, _, twist = mode.partition("@")
        return cls(scene, first, second, mode, Stop.parse(stop), Stop.parse(other[0]) if other else None, twist)

    @property
    def kills(self) -> bool:
        return self.mode.startswith("kill")


def stops_of(order: Sequence[str], occurrences: int) -> list[Stop]:
    """The stops of a command that asked for these kinds: of each so many occurrences, first and last among them.

    Reads are stopped before they are done, mutations after that as well.
    """
    stops = []
    for kind, n in Counter(order).items():
        if occurrences == 1 or n == 1:
            chosen = [1]
        else:
            chosen = sorted({1 + round(step * (n - 1) / (occurrences - 1)) for step in range(occurrences)})
        for nth in chosen:
            stops += [Stop(moment, kind, nth) for moment in (("before", "after") if is_mutation(kind) else ("before",))]
    return stops


def _deaths(stops: list[Stop]) -> list[Stop]:
    """Where a death differs from one at another stop: behind each mutation."""
    return [stop for stop in stops if stop.moment == "after"] or stops[:1]


def plan(
    pairs: Sequence[tuple[str, str, str]],
    recorded: dict[tuple[str, str], list[str]],
    occurrences: int,
    n_pairs: int,
    seed: int,
) -> Iterator[Schedule]:
    """Every schedule of these (scene, first, second) in a seeded order; `recorded`: what commands ask for alone."""
    chance = random.Random(seed)
    found: list[Schedule] = []
    for scene, first, second in pairs:
        stops = stops_of(recorded[scene, first], occurrences)
        others = stops_of(recorded[scene, second], occurrences)
        deaths, other_deaths = _deaths(stops), _deaths(others)
        found += [Schedule(scene, first, second, "between", stop) for stop in stops]
        found += [Schedule(scene, first, second, "kill-between", stop) for stop in deaths]
        if first == second:
            found += [Schedule(scene, first, "", "kill", stop) for stop in deaths]
        for _ in range(n_pairs):
            found.append(Schedule(scene, first, second, "pair", chance.choice(stops), chance.choice(others)))
            found.append(Schedule(scene, first, second, "pair-kill", chance.choice(stops), chance.choice(other_deaths)))
    twists = [*CLOCKS, OTHER_HOST][1:]
    twisted = [replace(one, twist=chance.choice(twists)) for one in chance.sample(found, len(found) // 4)]
    found = list(dict.fromkeys(found + twisted))
    chance.shuffle(found)
    yield from found
