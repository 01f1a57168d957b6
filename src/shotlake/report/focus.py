"""A run's cost as rows of the `costs` table, with the column names of the FinOps FOCUS specification.

BilledCost of a run's rows adds up to `Cost.usd`, and the x_ columns to what was used: each is set in one kind of row.
EffectiveCost equals BilledCost, because no discount is known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shotlake.report.cost import Cost

OVERHEADS = ("startup", "idle", "head")
UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Charged:
    """Which run a charge belongs to, and when it ran."""

    run_id: str
    embed_key: str
    collection: str
    started_at: datetime
    ended_at: datetime


def cost_rows(cost: Cost, run: Charged, overheads: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Rows for the machine time of each stage, for its requests and bytes if they cost money, and for the rest.

    `overheads` are measured node-seconds in which machines were held and no stage was busy, by the names in OVERHEADS.
    What they leave is the row "unexplained"; it is negative if they overlap with the stages.
    """
    run_columns = {
        "BillingCurrency": cost.currency,
        "ChargeCategory": "Usage",
        "ChargePeriodStart": run.started_at,
        "ChargePeriodEnd": run.ended_at,
        "SkuId": cost.instance,
        "x_run_id": run.run_id,
        "x_collection": run.collection,
        "x_embed_key": run.embed_key,
        "x_price_basis": cost.price_basis,
    }
    return [run_columns | charge for charge in _charges(cost, overheads or {})]


def _charges(cost: Cost, overheads: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for name, stage in cost.stages.items():
        usage = stage.usage
        yield _charge(name, "compute", stage.usd_compute, (stage.busy_node_s, "Node-Seconds")) | {
            "x_cpu_s": usage.cpu_s,
            "x_gpu_s": usage.gpu_s,
            "x_bytes_read": usage.bytes_read,
            "x_requests": usage.requests,
        }
        if stage.usd_requests:
            yield _charge(name, "requests", stage.usd_requests, (usage.requests, "Requests"))
        if stage.usd_egress:
            yield _charge(name, "egress", stage.usd_egress, (usage.bytes_read / 1e9, "GB"))
    for name in OVERHEADS:
        if name in overheads:
            yield _charge(name, "compute", overheads[name] * cost.node_usd_s, (overheads[name], "Node-Seconds"))
    node_s = cost.unused_node_s - sum(overheads.get(name, 0.0) for name in OVERHEADS)
    rest = _charge(UNEXPLAINED, "compute", node_s * cost.node_usd_s, (node_s, "Node-Seconds"))
    yield rest | {"x_video_hours": cost.video_hours}


def _charge(stage: str, service: str, usd: float, consumed: tuple[float, str]) -> dict[str, Any]:
    quantity, unit = consumed
    return {
        "BilledCost": usd,
        "EffectiveCost": usd,
        "ChargeDescription": f"{stage}: {service}",
        "ConsumedQuantity": float(quantity),
        "ConsumedUnit": unit,
        "ServiceName": service,
        "x_stage": stage,
        "x_cpu_s": 0.0,
        "x_gpu_s": 0.0,
        "x_bytes_read": 0,
        "x_requests": 0,
        "x_video_hours": 0.0,
    }
