"""What a run is going to take, from what others took: rates an hour of video times hours. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shotlake.records import Usage
from shotlake.report.cost import Cost, run_cost
from shotlake.report.prices import PriceBook


@dataclass(frozen=True, slots=True)
class Rates:
    """What an hour of video takes: usage by stage, and core-seconds for which machines are held, busy or not."""

    stages: dict[str, Usage]
    held_core_s: float
    basis: str  # where the numbers are from, for people


@dataclass(frozen=True, slots=True)
class Forecast:
    """What some hours of video are going to take on so many nodes."""

    core_hours: float
    nodes: int
    wall_s: float
    cost: Cost
    basis: str

    def to_json(self) -> dict[str, Any]:
        """`forecast` of `plan --json`."""
        names = ("usd", "usd_per_video_hour", "price_basis", "gpu_s", "bytes_read", "requests")
        cost = self.cost.to_json()
        head = {"basis": self.basis, "instance": self.cost.instance, "nodes": self.nodes, "wall_s": self.wall_s}
        head["core_hours"] = self.core_hours
        return head | {name: cost[name] for name in names}


def rates_of_runs(reports: Iterable[Mapping[str, Any]]) -> Rates | None:
    """The mean rates of runs, as `backfill --json` reports them; None if they covered no video."""
    runs = [run for run in reports if run["video_hours"] > 0 and run["video_hours_per_core_hour"] > 0]
    if not runs:
        return None
    hours = sum(run["video_hours"] for run in runs)
    held_s = sum(run["video_hours"] / run["video_hours_per_core_hour"] for run in runs) * 3600
    stages: dict[str, Usage] = {}
    for run in runs:
        for name, used in run["stages"].items():
            stages[name] = stages.get(name, Usage()) + Usage(**used)
    each = {name: used.scaled(1 / hours) for name, used in stages.items()}
    return Rates(each, held_s / hours, f"measured by {len(runs)} runs of this lake over {hours:,.2f} video-hours")


def rates_of_sample(stages: Mapping[str, Usage], hours: float, n_units: int) -> Rates | None:
    """The rates of a few units that were run to measure them; None if they covered no video."""
    if not hours:
        return None
    each = {name: used.scaled(1 / hours) for name, used in stages.items()}
    basis = f"measured on the CPU of this machine with {n_units} units, {hours * 60:,.1f} minutes of video; never idle"
    return Rates(each, sum(used.cpu_s for used in each.values()), basis)


def forecast(hours: float, rates: Rates, machine: tuple[int, int], book: PriceBook, instance: str) -> Forecast:
    """`hours` of video at these rates on `machine`: so many nodes, of so many cores where the book does not say.

    A node is held for what its cores or its GPUs need, whichever takes longer. Errors: NoPrice.
    """
    nodes, cores = machine
    price = book.price_of(instance)
    stages = {name: used.scaled(hours) for name, used in rates.stages.items()}
    gpu_s = sum(used.gpu_s for used in stages.values())
    core_s = rates.held_core_s * hours
    node_s = max(core_s / max(1, price.node_cores(cores)), gpu_s / price.gpus if price.gpus else 0.0)
    cost = run_cost(stages, node_s, cores, hours, book, instance)
    return Forecast(core_s / 3600, nodes, node_s / nodes, cost, rates.basis)
