"""What people read: data on stdout, progress on stderr; a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from shotlake.records import Hit

LINE_EVERY_S = 5.0

Progress = Callable[[str, int, int], None]


class ProgressView:
    """`view(stage, done, total)` as a bar or as lines; a context, so that the bar is taken away at the end."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._said: dict[str, tuple[float, int]] = {}
        self._tasks: dict[str, Any] = {}
        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._bar = RichProgress(*columns, console=console) if console.is_terminal and not quiet else None

    def __enter__(self) -> ProgressView:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if self._bar:
            task = self._tasks.get(stage)
            if task is None:
                task = self._tasks[stage] = self._bar.add_task(stage, total=total)
            self._bar.update(task, completed=done, total=total)
            return
        said_at, _ = self._said.get(stage, (0.0, -1))
        now = time.monotonic()
        if done >= total or now - said_at >= LINE_EVERY_S:
            if self._said.get(stage, (0.0, -1))[1] != done:
                print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)
            self._said[stage] = (now, done)


def say(text: str = "") -> None:
    """One line for people on stdout."""
    print(text, flush=True)


def tell(text: str) -> None:
    """One line for people on stderr, where progress is."""
    print(text, file=sys.stderr, flush=True)


def print_json(tree: Any) -> None:
    """One JSON object on one line of stdout."""
    print(json.dumps(tree, default=str), flush=True)


def hit_lines(hits: Iterable[Hit], root: str = "", marks: Iterable[str] = ()) -> list[str]:
    """One line a hit: rank, score, when and where, and the score in each space."""
    marks = list(marks)
    lines = []
    for position, hit in enumerate(hits):
        name = hit.video_uri.removeprefix(root).lstrip("/") if root else hit.video_uri
        spaces = "  ".join(f"{space} {score:+.2f}" for space, score in hit.scores.items() if score is not None)
        mark = f"{marks[position]} " if position < len(marks) else ""
        span = f"{clock(hit.start_us)}-{clock(hit.end_us)}"
        lines.append(f"  {mark}{hit.rank}. {hit.score:.3f}  {span}  {name}   {spaces}")
    return lines


def clock(us: int) -> str:
    """m:ss.d, or h:mm:ss.d from an hour on."""
    tenths = round(us / 100_000)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def conservation_lines(report: dict[str, Any]) -> list[str]:
    """The two sums of a run, and whether they hold."""
    videos, cells = report["videos"], report["cells"]
    classes = " + ".join(f"{videos[name]} {name}" for name in ("indexed", "partial", "unchanged", "skipped", "failed"))
    verdict = "balanced" if report["balanced"] else "NOT BALANCED"
    gone = f"; {videos['vanished']} vanished" if videos["vanished"] else ""
    return [
        f"videos  {videos['listed']} listed = {classes} + {videos['deferred']} deferred{gone}",
        f"cells   {cells['planned']} planned = {cells['written']} written + {cells['lost']} lost"
        f" + {cells['deferred']} deferred   [{verdict}]",
    ]


def running_line(run: dict[str, Any]) -> str:
    """How a run that is still going on fares, of `shotlake status --json`."""
    left = "no video is done yet" if run["eta_s"] is None else f"about {_duration(run['eta_s'])} left"
    pace = "" if run["hours_per_hour"] is None else f", {run['hours_per_hour']:g} video-hours an hour"
    lost = ", ".join(f"{n} {code}" for code, n in run["failures"].items()) or "nothing lost"
    return f"{run['run_id']}: {left}{pace}; {lost}; heard of {_duration(run['heard_s'])} ago"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Rows with the same keys as aligned columns under a heading."""
    if not rows:
        return []
    names = list(rows[0])
    texts = [[str("" if row[name] is None else row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(text[i]) for text in texts)) for i, name in enumerate(names)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in [names, *texts]]
