"""What the lake's own tables say that its video has cost, and where each billed second went.

Arrow tables in, numbers out. Dollars of a run are split by collection and codec in proportion to the CPU seconds of
its units, because those are measured for each of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.report.focus import OVERHEADS, UNEXPLAINED

NODE_SECONDS = "Node-Seconds"


@dataclass(frozen=True, slots=True)
class Bridge:
    """Billed node-seconds and what they were spent on; the terms add up, and `unexplained_s` is what is left over."""

    useful_s: float
    retry_s: float
    failed_s: float
    startup_s: float
    idle_s: float
    head_s: float
    unexplained_s: float
    billed_node_s: float


@dataclass(frozen=True, slots=True)
class CostReport:
    """Dollars of some runs, by stage, run, collection and codec, and the bridge from billed to useful seconds."""

    usd: float
    video_hours: float
    price_basis: tuple[str, ...]
    bridge: Bridge
    by: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """The object of `cost report --json`; the hourly rate is 0 where no video was covered."""
        hourly = self.usd / self.video_hours if self.video_hours else 0.0
        head = {"usd": self.usd, "video_hours": self.video_hours, "usd_per_video_hour": hourly}
        return head | {"price_basis": list(self.price_basis), "bridge": asdict(self.bridge), "by": self.by}


def cost_report(costs: pa.Table, units: pa.Table, videos: pa.Table) -> CostReport:
    """Report on the runs in `costs`, with the `units` and `videos` rows of the same lake."""
    units = _with_codec(units.filter(pc.is_in(units["run_id"], costs["x_run_id"].combine_chunks())), videos)
    by_run = _dollars(costs, "x_run_id")
    return CostReport(
        usd=_total(costs["BilledCost"]),
        video_hours=_total(costs["x_video_hours"]),
        price_basis=tuple(sorted(basis for basis in pc.unique(costs["x_price_basis"]).to_pylist() if basis)),
        bridge=bridge(costs, units),
        by={
            "stage": _dollars(costs, "x_stage"),
            "run": by_run,
            "collection": _split(by_run, units, "collection"),
            "codec": _split(by_run, units, "codec"),
        },
    )


def bridge(costs: pa.Table, units: pa.Table) -> Bridge:
    """Node-seconds by what they were spent on, from the charges and the units of the same runs.

    A unit that ended without a vector was for nothing (failed); one that was tried before is a retry. Their shares of
    the units' CPU seconds are taken off the stage that decodes; all other busy time was useful.
    """
    machine = costs.filter(pc.equal(costs["ConsumedUnit"], NODE_SECONDS))
    stages = _sums(machine, "x_stage", "ConsumedQuantity")
    failed = pc.equal(units["status"], "failed")
    again = pc.and_(pc.invert(failed), pc.greater(units["attempts"], 1))
    cpu_s = max(_total(units["cpu_s"]), 1e-9)
    decode_s = stages.get("decode", 0.0)
    failed_s = decode_s * _total(units.filter(failed)["cpu_s"]) / cpu_s
    retry_s = decode_s * _total(units.filter(again)["cpu_s"]) / cpu_s
    busy_s = sum(seconds for name, seconds in stages.items() if name not in (*OVERHEADS, UNEXPLAINED))
    overheads = {f"{name}_s": stages.get(name, 0.0) for name in OVERHEADS}
    return Bridge(
        useful_s=busy_s - failed_s - retry_s,
        retry_s=retry_s,
        failed_s=failed_s,
        unexplained_s=stages.get(UNEXPLAINED, 0.0),
        billed_node_s=sum(stages.values()),
        **overheads,
    )


def _with_codec(units: pa.Table, videos: pa.Table) -> pa.Table:
    """The units with the codec of their video, or of its sound if it has no picture."""
    codec = pc.coalesce(videos["video_codec"], videos["audio_codec"])
    probed = pa.table({"video_id": videos["video_id"], "codec": codec}).filter(pc.is_valid(codec))
    probed = probed.group_by("video_id").aggregate([("codec", "min")]).rename_columns(["video_id", "codec"])
    narrow = units.select(["run_id", "video_id", "collection", "status", "attempts", "cpu_s"])
    joined = narrow.join(probed, "video_id", join_type="left outer")
    filled = pc.fill_null(joined["codec"], "unknown")
    return joined.set_column(joined.schema.get_field_index("codec"), "codec", filled)


def _split(by_run: dict[str, float], units: pa.Table, column: str) -> dict[str, float]:
    """Each run's dollars by the values of a column of its units; a run without units is under ""."""
    sums = units.group_by(["run_id", column]).aggregate([("cpu_s", "sum")]).to_pylist()
    totals = _sums(units, "run_id", "cpu_s")
    dollars: dict[str, float] = {}
    for row in sums:
        run, value = row["run_id"], row[column]
        share = row["cpu_s_sum"] / totals[run] if totals[run] else 0.0
        dollars[value] = dollars.get(value, 0.0) + by_run[run] * share
    rest = sum(by_run.values()) - sum(dollars.values())
    return dollars | ({"": rest} if rest > 1e-12 else {})


def _dollars(costs: pa.Table, column: str) -> dict[str, float]:
    return _sums(costs, column, "BilledCost")


def _sums(table: pa.Table, key: str, value: str) -> dict[str, float]:
    found = table.group_by(key).aggregate([(value, "sum")])
    return dict(zip(found[key].to_pylist(), found[f"{value}_sum"].to_pylist()))


def _total(column: pa.ChunkedArray) -> float:
    return float(pc.sum(column).as_py() or 0.0)
