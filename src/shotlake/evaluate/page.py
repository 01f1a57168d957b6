"""The result of an evaluation as one HTML page that needs nothing else: numbers with intervals, bars, curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from shotlake.evaluate.metrics import recall_curve

Row = dict[str, Any]

_METRICS = (
    ("r_at_1", "R@1", 100), ("r_at_5", "R@5", 100), ("r_at_10", "R@10", 100), ("ndcg_at_10", "nDCG@10", 100),
    ("median_rank", "MdR", 1), ("mean_rank", "MnR", 1),
)  # fmt: skip
_DIRECTIONS = (("text_to_video", "Text to video"), ("video_to_text", "Video to text"))
_COLOURS = ("#2563eb", "#d97706", "#059669", "#be185d", "#6d28d9", "#475569", "#0891b2", "#a16207")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1e293b; background: #fff; max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem }
p, dl { color: #475569; max-width: 60rem } dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem }
dt { color: #64748b } dd { margin: 0; overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e2e8f0; white-space: nowrap }
th { color: #64748b; font-weight: 600 } td small { color: #64748b; display: block; font-size: .75em }
td.name, th.name { text-align: left } tr.best td { background: #eff6ff }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif } svg text { fill: #475569 }
"""


def render_page(result: dict[str, Any]) -> str:
    """The page of a result of `shotlake eval retrieval`."""
    model, gallery, clips = result["model"], result["gallery"], result["clips"]
    facts = {
        "model": f"{model['model_id']} {model['revision']} (weights {model['weights_sha256'][:12]})",
        "gallery": f"{gallery['items']} items, {gallery['queries']} captions; "
        f"{len(gallery['missing'])} videos missing, {len(gallery['without_vectors'])} without a vector",
        "clips": f"{clips['n_frames']} frames of {clips['width_px']} x {clips['height_px']} px over "
        f"{clips['window_us'] / 1e6:g} s, sound at {clips['sample_rate_hz']} Hz",
        "prompts": "; ".join(f"{name}: {text!r}" for name, text in result["prompts"].items()) or "none",
        "captions refused": str(result["refused_queries"]),
        "made": f"{result['at']} by shotlake {result['shotlake']}",
    }
    parts = [f"<h1>Retrieval on {escape(result['dataset'])}</h1>", _facts(facts)]
    parts += [f"<p>{escape(note)}</p>" for note in result["notes"]]
    for direction, title in _DIRECTIONS:
        rows = [row for row in result["rows"] if row["direction"] == direction]
        if rows:
            parts += [f"<h2>{title}</h2>", _table(rows), _bars(rows), _curves(rows, gallery["items"])]
    if result["paired"]:
        parts += ["<h2>Against the other run, on the same queries</h2>", _paired(result["paired"])]
    parts.append(
        "<p>Small numbers are 95% intervals over resampled videos. Published: one clip a video. Max, mean: the best "
        "segment, the mean of the segments. Index: the best segment as a search finds it.</p>"
    )
    body = "\n".join(parts)
    title = escape(f"Retrieval on {result['dataset']}")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n'


def name_of(row: Row) -> str:
    """How a row is called."""
    return f"{row['method']}, {row['protocol']}, {row['space']}"


def _facts(facts: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in facts.items())}</dl>"


def _table(rows: Sequence[Row]) -> str:
    best = max(row["r_at_1"]["value"] for row in rows)
    head = "".join(f"<th>{label}</th>" for _, label, _ in _METRICS)
    lines = [f'<tr><th class="name">method, protocol, space</th>{head}</tr>']
    for row in rows:
        cells = "".join(f"<td>{_cell(row.get(key), scale)}</td>" for key, _, scale in _METRICS)
        mark = ' class="best"' if row["r_at_1"]["value"] == best else ""
        lines.append(f'<tr{mark}><td class="name">{escape(name_of(row))}</td>{cells}</tr>')
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cell(interval: dict[str, float] | None, scale: float) -> str:
    if interval is None:
        return "-"
    value, low, high = (interval[name] * scale for name in ("value", "low", "high"))
    return f"{value:.1f}<small>{low:.1f} - {high:.1f}</small>"


def _bars(rows: Sequence[Row]) -> str:
    """R@1 of every row, with its interval."""
    step, left, width = 24, 290, 560
    lines = []
    for at, row in enumerate(rows):
        value, low, high = (row["r_at_1"][name] for name in ("value", "low", "high"))
        top, x = at * step + 4, left + width * np.array([low, high])
        lines.append(f'<text x="{left - 8}" y="{top + 12}" text-anchor="end">{escape(name_of(row))}</text>')
        lines.append(f'<rect x="{left}" y="{top}" width="{width * value:.1f}" height="16" fill="#93c5fd"/>')
        lines.append(f'<path d="M{x[0]:.1f} {top + 8}H{x[1]:.1f}" stroke="#1e293b" stroke-width="1.5"/>')
        lines.append(f'<text x="{x[1] + 6:.1f}" y="{top + 12}">{100 * value:.1f}</text>')
    height = len(rows) * step + 22
    grid = "".join(
        f'<path d="M{left + width * share} 0V{height - 18}" stroke="#e2e8f0"/>'
        f'<text x="{left + width * share}" y="{height - 4}" text-anchor="middle">{round(100 * share)}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    return _svg(left + width + 60, height, "R@1 in percent, with 95% intervals", grid + "".join(lines))


def _curves(rows: Sequence[Row], n_items: int) -> str:
    """Share of queries answered within the first k, for the best rows of each method and protocol."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row["method"], row["protocol"])
        if key not in best or row["r_at_1"]["value"] > best[key]["r_at_1"]["value"]:
            best[key] = row
    left, top, width, height = 44, 10, 520, 240
    span = math.log(max(2, n_items))
    lines = [
        f'<path d="M{left} {top + height * (1 - share):.1f}h{width}" stroke="#e2e8f0"/>'
        f'<text x="{left - 6}" y="{top + height * (1 - share) + 4:.1f}" text-anchor="end">{round(100 * share)}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    for at, row in enumerate(best.values()):
        ranks = np.array([np.inf if rank is None else rank for rank in row["ranks"]])
        curve = recall_curve(ranks, n_items)
        points = " ".join(
            f"{left + width * math.log(cut) / span:.1f},{top + height * (1 - share):.1f}" for cut, share in curve
        )
        colour = _COLOURS[at % len(_COLOURS)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = top + 14 + 20 * at
        lines.append(f'<path d="M{left + width + 20} {y - 4}h18" stroke="{colour}" stroke-width="3"/>')
        lines.append(f'<text x="{left + width + 44}" y="{y}">{escape(name_of(row))}</text>')
    for cut in (10**power for power in range(6)):
        if cut <= n_items:
            x = left + width * math.log(cut) / span
            lines.append(f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">{cut}</text>')
    lines.append(f'<text x="{left + width}" y="{top + height + 34}" text-anchor="end">answers looked at (k)</text>')
    return _svg(left + width + 300, top + height + 42, "Share of queries answered within k, percent", "".join(lines))


def _paired(rows: Sequence[Row]) -> str:
    lines = [
        '<tr><th class="name">method, protocol, space</th><th>R@1, points</th><th>p</th><th>R@10, points</th></tr>'
    ]
    for row in rows:
        first, tenth = row["r_at_1"], row["r_at_10"]
        cells = f"<td>{_cell(first['difference'], 100)}</td><td>{first['p']:.3g}</td>"
        cells += f"<td>{_cell(tenth['difference'], 100)}</td>"
        lines.append(f'<tr><td class="name">{escape(name_of(row))}, {row["direction"]}</td>{cells}</tr>')
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _svg(width: float, height: float, label: str, content: str) -> str:
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<p>{escape(label)}</p><svg {box} role="img" aria-label="{escape(label)}">{content}</svg>'
