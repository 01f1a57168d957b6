"""Whether a generation can be kept, takes fresh shards, or has to be trained again, and why: arithmetic on manifests.

Limits are those at which recall was measured to fall: rows of another kind have a larger quantisation error, fill the
lists unevenly, and end in a lower bound under the target although (nprobe, R) were tuned again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shotlake.config import IndexConfig
from shotlake.index.manifest import Manifest, SpaceEntry, SpaceShard
from shotlake.index.sizing import MIN_POINTS_PER_LIST, PQ_CENTROIDS, IndexPlan, plan_index
from shotlake.records import Space

ERROR_RATIO = 1.3
IMBALANCE_RATIO = 1.6
RECALL_SLACK = 0.01
MAX_EXTRA_SHARDS = 16  # fresh shards beside those that so many rows need
MAX_RETIRED = 0.2  # of the rows in the shards

Action = Literal["keep", "update", "build"]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with the current generation; `reasons` is empty for keep."""

    action: Action
    reasons: tuple[str, ...] = ()


def advise(manifest: Manifest, table_rows: int, table_version: int, config: IndexConfig) -> Advice:
    """Compare a generation with the table as it is now: `table_rows` live rows of this space at `table_version`.

    Rows that were only retired are hidden by every reader, so that they ask for nothing until they are many.
    """
    reasons = [
        *_outgrown(manifest, table_rows, config),
        *_retired(manifest, table_rows if table_version == manifest.table_version else manifest.table_rows),
        *(reason for space, entry in manifest.spaces.items() for reason in _missed_recall(space, entry)),
        *(reason for space, entry in manifest.spaces.items() for reason in _drifted(space, entry, manifest.plan)),
    ]
    if reasons:
        return Advice("build", tuple(reasons))
    if table_version > manifest.table_version:
        newer = f"the table is at version {table_version} with {table_rows} live rows"
        return Advice("update", (f"{newer}, the generation at {manifest.table_version} with {manifest.table_rows}",))
    return Advice("keep")


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
    if len(manifest.shards) - plan.n_shards >= MAX_EXTRA_SHARDS:
        reasons.append(f"{len(manifest.shards)} shards hold what {plan.n_shards} could")
    return reasons


def _retired(manifest: Manifest, live: int) -> list[str]:
    retired = manifest.n_rows - live
    return [f"{retired} of {manifest.n_rows} rows are retired"] if retired > MAX_RETIRED * manifest.n_rows else []


def _missed_recall(space: Space, entry: SpaceEntry) -> list[str]:
    return [
        f"recall@10 of {kind} queries in {space} is {tuning.chosen.lower_bound:.3f} or more, the target {tuning.target}"
        for kind, tuning in entry.tuning.items()
        if tuning.chosen.lower_bound < tuning.target - RECALL_SLACK
    ]


def _drifted(space: Space, entry: SpaceEntry, plan: IndexPlan) -> list[str]:
    """New rows against those of the epoch's own generation; a starved codebook fits its own rows too well to say."""
    first, fresh = entry.shards[: entry.first_shards], entry.shards[entry.first_shards :]
    if not fresh or plan.codec == "exact" or plan.train_rows < PQ_CENTROIDS * MIN_POINTS_PER_LIST:
        return []
    reasons = []
    error = _mean(fresh, "quantisation_error") / _mean(first, "quantisation_error")
    if error > ERROR_RATIO:
        reasons.append(f"new rows in {space} have {error:.2f} times the quantisation error of those trained on")
    imbalance = _mean(fresh, "imbalance") / _mean(first, "imbalance")
    if imbalance > IMBALANCE_RATIO:
        reasons.append(f"new rows in {space} fill the lists {imbalance:.2f} times as unevenly as those trained on")
    return reasons


def _mean(shards: Sequence[SpaceShard], name: str) -> float:
    total = sum(shard.n_vectors for shard in shards)
    return float(sum(getattr(shard, name) * shard.n_vectors for shard in shards) / max(total, 1))
