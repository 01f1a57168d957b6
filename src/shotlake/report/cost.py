"""From measured seconds to dollars: pure arithmetic over `Usage`, billed node-seconds and the price book.

What was billed is the whole time that machines were held; each stage is charged its busy share of it, and what no
stage used is a row of its own, so that the rows always add up to the bill.
"""

from __future__ import annotations

from dataclasses import dataclass

from shotlake.records import Usage
from shotlake.report.prices import InstancePrice, PriceBook, RequestKind

# What the requests of a stage are, for their price; a stage that is not named here reads.
_REQUEST_KINDS: dict[str, RequestKind] = {"list": "list", "write": "put", "index": "put"}


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage used and its share of the bill, in node-seconds and in dollars."""

    usage: Usage
    busy_node_s: float
    usd_compute: float
    usd_requests: float
    usd_egress: float

    @property
    def usd(self) -> float:
        """All of it."""
        return self.usd_compute + self.usd_requests + self.usd_egress


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost: the machines for as long as they were held, and what the store charges."""

    stages: dict[str, StageCost]
    billed_node_s: float
    node_usd_s: float
    video_hours: float
    instance: str
    currency: str
    price_basis: str

    @property
    def usage(self) -> Usage:
        """The sum over the stages."""
        return sum((stage.usage for stage in self.stages.values()), Usage())

    @property
    def unused_node_s(self) -> float:
        """Seconds in which a machine was held and no stage was busy on it."""
        return max(0.0, self.billed_node_s - sum(stage.busy_node_s for stage in self.stages.values()))

    @property
    def usd_unused(self) -> float:
        """What the unused seconds cost."""
        return self.unused_node_s * self.node_usd_s

    @property
    def usd_busy(self) -> float:
        """The sum over the stages: the bill without unused machines."""
        return sum(stage.usd for stage in self.stages.values())

    @property
    def usd(self) -> float:
        """The bill."""
        return self.usd_busy + self.usd_unused

    @property
    def usd_per_video_hour(self) -> float:
        """Dollars an hour of newly covered video; 0 if none was covered."""
        return self.usd / self.video_hours if self.video_hours else 0.0

    def to_json(self) -> dict[str, float | int | str]:
        """The `cost` object of `backfill --json`."""
        usage = self.usage
        return {
            "usd": self.usd,
            "usd_busy": self.usd_busy,
            "usd_per_video_hour": self.usd_per_video_hour,
            "price_basis": self.price_basis,
            "cpu_s": usage.cpu_s,
            "gpu_s": usage.gpu_s,
            "bytes_read": usage.bytes_read,
            "requests": usage.requests,
        }


def run_cost(
    stages: dict[str, Usage], billed_node_s: float, cores: int, video_hours: float, book: PriceBook, instance: str
) -> Cost:
    """Price a run. `cores` is one node's, used where the instance is priced by the core.

    `billed_node_s` is the sum over nodes of the seconds that each was held. Errors: NoPrice.
    """
    price = book.price_of(instance)
    node_usd_s = price.node_usd_per_hour(cores) / 3600
    node_s = {name: _busy_node_s(usage, price, cores) for name, usage in stages.items()}
    # Stages overlap where one keeps the cores busy and another the GPUs: then they share what was billed.
    scale = min(1.0, billed_node_s / max(sum(node_s.values()), 1e-9))
    costs = {
        name: StageCost(
            usage,
            node_s[name] * scale,
            node_s[name] * scale * node_usd_s,
            book.request_usd(_REQUEST_KINDS.get(name, "get"), usage.requests),
            book.egress_usd(usage.bytes_read),
        )
        for name, usage in stages.items()
    }
    basis = f"{price.describe(instance)}; {book.name}"
    return Cost(costs, billed_node_s, node_usd_s, video_hours, instance, book.currency, basis)


def _busy_node_s(usage: Usage, price: InstancePrice, cores: int) -> float:
    """Seconds of a whole node that the usage needs at least: the busier of its cores and its GPUs decides."""
    gpu_node_s = usage.gpu_s / price.gpus if price.gpus else 0.0
    return max(usage.cpu_s / max(1, price.node_cores(cores)), gpu_node_s)
