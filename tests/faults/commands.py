"""The commands of a schedule as functions of a configuration: what the command line calls, in a process of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from tests.faults.toys import FAILING

from shotlake.config import Config, load_config

BUCKET = "tapes"
LAKE, SOURCE, MOVED = f"s3://{BUCKET}/lake", f"s3://{BUCKET}/archive", f"s3://{BUCKET}/moved"
PIECES = (
    f"lake={LAKE}",
    "catalog.unit_s=4",
    "catalog.block_s=1",
    "catalog.subtitles=[]",
    "table.rows_per_file=2",
    "table.commit_units=1",
    "table.commit_s=3600",
    "table.lease_s=1",
    "table.retention_h=1",
    "flow.engine=local",
    "flow.wave_videos=2",
    "flow.max_attempts=10",  # several runs in a row may meet the video that cannot be read
    "index.spaces=[fused]",
    "index.min_queries=1",
    "index.target_recall=0",
    "index.target_recall_segment=0",
    "embed.model=mini",
)
Arguments = dict[str, Any]
Call = Callable[[Config, Arguments], Any]


def settings(*more: str) -> Config:
    """Small pieces, so that there is a before and an after of everything."""
    return load_config(None, [*PIECES, *more], {})


def _backfill(config: Config, given: Arguments) -> Any:
    from shotlake.flow.backfill import backfill

    retried = frozenset(given.get("retried", ()))
    report = backfill([given.get("source", SOURCE)], config, lambda *_: None, given.get("build", True), retried)
    if not report.ledger.balanced:
        raise AssertionError(f"the run does not balance: {report.ledger.to_json()}")
    return report.ledger.to_json()


def _part(config: Config, given: Arguments) -> Any:
    """A backfill of a root below the others'."""
    return _backfill(config, {**given, "source": f"{SOURCE}/tape-4.mp4"})


def _flaky(config: Config, given: Arguments) -> Any:
    """A backfill in which one video cannot be read."""
    os.environ[FAILING] = given["erased"]
    try:
        return _backfill(config, given)
    finally:
        del os.environ[FAILING]


def _erase(config: Config, given: Arguments) -> Any:
    from shotlake.flow.erasure import erase_videos

    return erase_videos(given["erased"], None, "asked for", config)


def _unerase(config: Config, given: Arguments) -> Any:
    from shotlake.flow.erasure import unerase_video

    return unerase_video(given["erased"], config)


def _checkpoint(config: Config, given: Arguments) -> Any:
    """One file instead of the entries of every log: what each command has to ask for is a third of it."""
    from shotlake.table.lake import Lake
    from shotlake.table.maintenance import checkpoint
    from shotlake.table.schemas import TABLES

    lake = Lake(config.lake)
    for table in TABLES:
        checkpoint(lake, table)


def _repair(config: Config, given: Arguments) -> Any:
    from shotlake.flow.repair import repair_lake

    return repair_lake(config, apply=True)


def _upkeep(name: str, *words: str) -> Call:
    def call(config: Config, given: Arguments) -> Any:
        from shotlake.flow import upkeep

        return getattr(upkeep, name)(*(given[word] for word in words), config)

    return call


def _index(action: str, is_published: bool = True) -> Call:
    def call(config: Config, given: Arguments) -> Any:
        from shotlake.flow.build_index import build_index

        return build_index(config, None, action, is_published).generation  # type: ignore[arg-type]

    return call


def _publish(config: Config, given: Arguments) -> Any:
    """Publish the generation that is stored and was never current."""
    from shotlake.flow.generations import publish_stored

    return publish_stored(config, given["draft"])


def _status(config: Config, given: Arguments) -> Any:
    from shotlake.flow.status import failure_groups, lake_status

    return [lake_status(config.lake), failure_groups(config.lake)]


def _balance(config: Config, given: Arguments) -> Any:
    from shotlake.flow.verify import lake_balance

    found = lake_balance(config.lake)
    if not found["balanced"]:
        raise AssertionError(f"verify --balance: {found}")
    return found


def _index_status(config: Config, given: Arguments) -> Any:
    from shotlake.flow.generations import published, standing

    return [standing(config), published(config)]


COMMANDS: dict[str, Call] = {
    "backfill": _backfill,
    "part": _part,
    "flaky": _flaky,
    "erase": _erase,
    "unerase": _unerase,
    "maintain": _upkeep("maintain_lake"),
    "migrate": _upkeep("migrate_lake"),
    "relocate": _upkeep("relocate_archive", "old", "new"),
    "repair": _repair,
    "checkpoint": _checkpoint,
    "build": _index("build"),
    "update": _index("update"),
    "compact": _index("compact"),
    "draft": _index("build", is_published=False),
    "publish": _publish,
    "status": _status,
    "balance": _balance,
    "index_status": _index_status,
}


def run(names: list[str], given: Arguments) -> list[dict[str, Any]]:
    """Run commands one after the other; of each how it ended."""
    config, ended = settings(*given.get("sets", ())), []
    for name in names:
        try:
            value = COMMANDS[name](config, given)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = dataclasses.asdict(value)
            ended.append({"command": name, "error": "", "value": value})
        except Exception as error:
            ended.append({"command": name, "error": type(error).__name__, "value": str(error)})
    return ended
