"""Whether a generation can be kept, is tuned or compacted, takes fresh shards, or has to be trained again, and why.

Arithmetic on manifests. Limits are those at which recall was measured to fall: rows of another kind have a larger
quantisation error, fill the lists unevenly, and end in a lower bound under the target although (nprobe, R) were tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shotlake.config import IndexConfig
from shotlake.index.gate import shortfalls
from shotlake.index.manifest import Manifest, QueryKind, SpaceEntry, SpaceShard
from shotlake.index.rewrite import compacted
from shotlake.index.sizing import MIN_POINTS_PER_LIST, PQ_CENTROIDS, IndexPlan, plan_index
from shotlake.records import Space

ERROR_RATIO = 1.3
IMBALANCE_RATIO = 1.6
MAX_EXTRA_SHARDS = 16  # fresh shards beside those that so many rows need
MAX_RETIRED = 0.2  # of the rows in the shards

# build trains again; update adds fresh shards and tunes; compact leaves fewer shards; retune takes other targets
Action = Literal["keep", "build", "update", "compact", "retune"]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with the current generation; `reasons` is empty for keep."""

    action: Action
    reasons: tuple[str, ...] = ()


def advise(manifest: Manifest, table_rows: int, table_version: int, config: IndexConfig) -> Advice:
    """Compare a generation with the table as it is now: `table_rows` live rows of this space at `table_version`.

    Rows that were only retired are hidden by every reader, so that they ask for nothing until they are many.
    """
    live = table_rows if table_version == manifest.table_version else manifest.table_rows
    newer = f"the table is at version {table_version} with {table_rows} live rows"
    found: dict[Action, list[str]] = {
        "build": [
            *_outgrown(manifest, table_rows, config),
            *shortfalls(manifest),
            *(reason for space, entry in manifest.spaces.items() for reason in _drifted(space, entry, manifest.plan)),
        ],
        "update": [f"{newer}, the generation at {manifest.table_version} with {manifest.table_rows}"]
        if table_version > manifest.table_version
        else [],
        "compact": [*_scattered(manifest, config), *_retired(manifest, live)],
        "retune": _other_targets(manifest, config),
    }
    return next((Advice(action, tuple(reasons)) for action, reasons in found.items() if reasons), Advice("keep"))


def is_compact(manifest: Manifest, live_rows: int, config: IndexConfig) -> bool:
    """True if no shards could be joined and no row is gone; `live_rows`: of the table version of the generation."""
    return _fewest_shards(manifest, config) == len(manifest.shards) and manifest.n_rows <= live_rows


def _outgrown(manifest: Manifest, table_rows: int, config: IndexConfig) -> list[str]:
    plan = plan_index(table_rows, manifest.plan.dim, config)
    reasons = []
    if plan.codec != manifest.codec:
        reasons.append(f"{table_rows} rows are indexed as {plan.codec}, the generation is {manifest.codec}")
    if plan.nlist >= 4 * manifest.plan.nlist:
        reasons.append(f"{table_rows} rows want {plan.nlist} lists, the epoch has {manifest.plan.nlist}")
    if set(manifest.spaces_asked) != set(config.spaces):
        reasons.append(
            f"index.spaces is {list(config.spaces)}, the generation was built with {list(manifest.spaces_asked)}"
        )
    return reasons


def _scattered(manifest: Manifest, config: IndexConfig) -> list[str]:
    fewer = _fewest_shards(manifest, config)
    scattered = len(manifest.shards) - fewer >= MAX_EXTRA_SHARDS
    return [f"{len(manifest.shards)} shards hold what {fewer} could"] if scattered else []


def _fewest_shards(manifest: Manifest, config: IndexConfig) -> int:
    return len(compacted(config.rows_per_shard)(manifest, np.empty(0, np.int64)))


def _other_targets(manifest: Manifest, config: IndexConfig) -> list[str]:
    wanted: dict[QueryKind, float] = {"text": config.target_recall, "segment": config.target_recall_segment}
    tuned = {(kind, entry.tuning[kind].target) for entry in manifest.spaces.values() for kind in wanted}
    return [
        f"{kind} queries were tuned to a recall of {target}, {wanted[kind]} is wanted"
        for kind, target in sorted(tuned)
        if target != wanted[kind]
    ]


def _retired(manifest: Manifest, live: int) -> list[str]:
    retired = manifest.n_rows - live
    return [f"{retired} of {manifest.n_rows} rows are retired"] if retired > MAX_RETIRED * manifest.n_rows else []


def drift(entry: SpaceEntry, plan: IndexPlan) -> dict[str, float] | None:
    """New rows over those that the epoch was trained on: quantisation error, and how unevenly they fill the lists.

    None if there are not both, or a starved codebook fits its own rows too well to say.
    """
    first, fresh = entry.shards[: entry.first_shards], entry.shards[entry.first_shards :]
    if not (first and fresh) or plan.codec == "exact" or plan.train_rows < PQ_CENTROIDS * MIN_POINTS_PER_LIST:
        return None
    names = {"error": "quantisation_error", "imbalance": "imbalance"}
    return {name: round(_mean(fresh, of) / _mean(first, of), 4) for name, of in names.items()}


def _drifted(space: Space, entry: SpaceEntry, plan: IndexPlan) -> list[str]:
    found = drift(entry, plan)
    if found is None:
        return []
    reasons = []
    if found["error"] > ERROR_RATIO:
        reasons.append(
            f"new rows in {space} have {found['error']:.2f} times the quantisation error of those trained on"
        )
    if found["imbalance"] > IMBALANCE_RATIO:
        times = f"{found['imbalance']:.2f} times as unevenly"
        reasons.append(f"new rows in {space} fill the lists {times} as those trained on")
    return reasons


def _mean(shards: Sequence[SpaceShard], name: str) -> float:
    total = sum(shard.n_vectors for shard in shards)
    return float(sum(getattr(shard, name) * shard.n_vectors for shard in shards) / max(total, 1))
