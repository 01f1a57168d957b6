"""A cost as people read it: one line, and a table by stage."""

from __future__ import annotations

from shotlake.report.accounts import CostReport
from shotlake.report.cost import Cost


def cost_line(cost: Cost) -> str:
    """What was covered, used and spent, in one sentence that says how far to trust the price."""
    usage = cost.usage
    gpu = f", {usage.gpu_s:,.0f} GPU-s" if usage.gpu_s else ""
    hourly = f"{dollars(cost.usd_per_video_hour)} an hour of video" if cost.video_hours else "no new video"
    return (
        f"{cost.video_hours:,.2f} video-hours, {usage.cpu_s:,.0f} CPU-s{gpu}, {size(usage.bytes_read)} read "
        f"= {dollars(cost.usd)} ({cost.price_basis}), {hourly}"
    )


def stage_table(cost: Cost) -> str:
    """Stages below each other: CPU and GPU seconds, bytes, dollars and their share of the bill."""
    lines = [f"{'stage':<12}{'CPU-s':>10}{'GPU-s':>10}{'read':>12}{'dollars':>12}{'share':>8}"]
    for name, stage in cost.stages.items():
        usage = stage.usage
        lines.append(
            f"{name:<12}{usage.cpu_s:>10,.1f}{usage.gpu_s:>10,.1f}{size(usage.bytes_read):>12}"
            f"{dollars(stage.usd):>12}{_share(stage.usd, cost.usd):>8}"
        )
    lines.append(f"{'unused':<44}{dollars(cost.usd_unused):>12}{_share(cost.usd_unused, cost.usd):>8}")
    lines.append(f"{'billed':<44}{dollars(cost.usd):>12}{_share(cost.usd, cost.usd):>8}")
    return "\n".join(lines)


def report_lines(report: CostReport) -> list[str]:
    """A cost report: the rate, where each billed second went, and the dollars cut in four ways."""
    tree = report.to_json()
    hourly = f"{dollars(tree['usd_per_video_hour'])} an hour of video" if report.video_hours else "no video was covered"
    lines = [f"{dollars(report.usd)} for {report.video_hours:,.2f} video-hours: {hourly}"]
    lines += [f"priced by {basis}" for basis in report.price_basis]
    lines += ["", "billed node-seconds"]
    bridge = tree["bridge"]
    billed_s = bridge.pop("billed_node_s")
    seconds = [*bridge.items(), ("billed_s", billed_s)]
    lines += [f"  {name.removesuffix('_s'):<24}{s:>12,.1f}{_share(s, billed_s):>8}" for name, s in seconds]
    for cut, parts in report.by.items():
        lines += ["", f"dollars by {cut}"]
        ranked = sorted(parts.items(), key=lambda part: -part[1])
        lines += [f"  {name or '(none)':<24}{dollars(usd):>12}{_share(usd, report.usd):>8}" for name, usd in ranked]
    return lines


def dollars(usd: float) -> str:
    """Dollars with at least two digits that mean something: $1,234.50, $0.0013."""
    if usd >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.2g}" if usd >= 0.0001 or not usd else f"${usd:.6f}"


def size(n_bytes: int) -> str:
    """Bytes in the decimal unit that keeps the number short."""
    amount, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"
