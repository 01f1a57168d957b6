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
    """What one stage used and its share of the bill; the three sums add up to what it cost."""

    usage: Usage
    usd_compute: float
    usd_requests: float
    usd_egress: float

    @property
    def usd(self) -> float:
        """All of it."""
        return self.usd_compute + self.usd_requests + self.usd_egress


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost. `usd = usd_unused + sum of the stages`; an instance or a stage never costs less than nothing."""

    usd: float
    usd_unused: float
    video_hours: float
    billed_node_s: float
    instance: str
    currency: str
    price_basis: str
    stages: dict[str, StageCost]

    @property
    def usage(self) -> Usage:
        """The sum over the stages."""
        return sum((stage.usage for stage in self.stages.values()), Usage())

    @property
    def usd_busy(self) -> float:
        """The bill without the time in which the machines did nothing for this run."""
        return self.usd - self.usd_unused

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
            node_s[name] * scale * node_usd_s,
            book.request_usd(_REQUEST_KINDS.get(name, "get"), usage.requests),
            book.egress_usd(usage.bytes_read),
        )
        for name, usage in stages.items()
    }
    unused = max(0.0, billed_node_s * node_usd_s - sum(cost.usd_compute for cost in costs.values()))
    usd = unused + sum(cost.usd for cost in costs.values())
    basis = f"{price.describe(instance)}; {book.name}"
    return Cost(usd, unused, video_hours, billed_node_s, instance, book.currency, basis, costs)


def _busy_node_s(usage: Usage, price: InstancePrice, cores: int) -> float:
    """Seconds of a whole node that the usage needs at least: the busier of its cores and its GPUs decides."""
    gpu_node_s = usage.gpu_s / price.gpus if price.gpus else 0.0
    return max(usage.cpu_s / max(1, price.node_cores(cores)), gpu_node_s)
