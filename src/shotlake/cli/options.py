"""Options that every command knows, and what they stand for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from shotlake.config import Config, load_config
from shotlake.terminal import print_json, say

ConfigFile = Annotated[str | None, typer.Option("--config", help="YAML file; configs/archive.yaml is a commented one.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one key, such as embed.model=mini.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log every work unit.")]
LakeRoot = Annotated[str | None, typer.Option("--lake", help="Short for --set lake=...")]


def print_counts(counts: dict[str, Any], as_json: bool) -> int:
    """Names and numbers, below each other or as JSON; exit status 0."""
    if as_json:
        print_json(counts)
    else:
        for name, value in counts.items():
            shown = (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else value
            say(f"{name:<20}{shown}")
    return 0


def load(file: str | None, sets: list[str] | None, lake: str | None, short: Sequence[str] = ()) -> Config:
    """The configuration of a command; `short` are the shorthands as KEY=VALUE. Errors: ConfigError."""
    root = [f"lake={lake}"] if lake else []
    return load_config(file, [*(sets or ()), *root, *short])


def log_to_stderr(verbose: bool) -> None:
    """Warnings of everybody, and with `verbose` a line of ours for every work unit."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("shotlake").setLevel(level)
