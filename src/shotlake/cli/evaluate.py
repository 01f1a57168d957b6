"""How well the configured encoder and index answer, measured on annotated videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from shotlake.cli.options import AsJson, ConfigFile, LakeRoot, Quiet, Sets, load, log_to_stderr
from shotlake.terminal import ProgressView, print_json, say, table_lines

app = typer.Typer(help="Measure retrieval.", no_args_is_help=True)


@app.command(
    "retrieval",
    epilog="Example: shotlake eval retrieval --dataset msrvtt --annotations MSRVTT_JSFUSION_test.csv --videos ./videos "
    "--lake ./eval-lake --out ./eval",
)
def retrieval(
    dataset: Annotated[str, typer.Option(help="msrvtt, didemo, activitynet, vatex, audiocaps or jsonl.")],
    annotations: Annotated[Path, typer.Option(help="The published file, or the folder with it.")],
    videos: Annotated[str, typer.Option(help="Folder or s3:// prefix; files are called by their ids.")],
    config: ConfigFile = None,
    sets: Sets = None,
    lake: LakeRoot = None,
    out: Annotated[Path, typer.Option(help="Folder for retrieval.json and retrieval.html.")] = Path("eval"),
    descriptions: Annotated[
        Path | None, typer.Option(help="Lines of {video, description}: the baseline that embeds words.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="retrieval.json of another run: a paired test on the same queries.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Backfill annotated videos and measure R@k, ranks and nDCG of every space, with baselines and intervals."""
    from shotlake.evaluate.page import render_page
    from shotlake.flow.evaluate import Task, evaluate

    tree = load(config, sets, lake)
    log_to_stderr(False)
    with ProgressView(quiet) as progress:
        result = evaluate(Task(dataset, annotations, videos, descriptions, against), tree, progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / "retrieval.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (out / "retrieval.html").write_text(render_page(result), encoding="utf-8")
    shown = [{name: value for name, value in row.items() if name != "ranks"} for row in result["rows"]]
    if as_json:
        print_json({**result, "rows": shown})
        return 0
    gallery = result["gallery"]
    lacking = f"{len(gallery['missing'])} videos missing, {len(gallery['without_vectors'])} without a vector"
    say(f"{gallery['items']} items, {gallery['queries']} captions; {lacking}")
    for line in table_lines([_flat(row) for row in shown]):
        say(line)
    for note in result["notes"]:
        say(note)
    say(f"{out / 'retrieval.html'} shows them, {out / 'retrieval.json'} has every rank")
    return 0


def _flat(row: dict[str, Any]) -> dict[str, object]:
    """A row of numbers only, in percent where they are shares, and how widely its scores spread."""
    names = {name: row[name] for name in ("method", "protocol", "space", "direction", "queries")}
    metrics: dict[str, object] = {}
    for name in ("r_at_1", "r_at_5", "r_at_10", "ndcg_at_10", "median_rank", "mean_rank"):
        value = row[name]["value"] * (1 if "rank" in name else 100) if name in row else None
        metrics[name] = value if value is None else round(value, 1)
    return {**names, **metrics, "score_std": round(row["scores"]["std"], 4) if "scores" in row else None}
