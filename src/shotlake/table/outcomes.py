"""What commits of `segments` owe to `units` and `failures`: copies of outcomes, which lie beside the tables meanwhile.

    <lake>/outcomes/<run_id>/<committer>/<number>.jsonl     create-only, before the commit; removed once it is paid

A copy whose commit happened is brought in by whoever finds it. One whose commit did not happen goes only once the log
says that it is not coming: its lease is fenced out first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.errors import LeaseLost, NotFound
from shotlake.records import UnitOutcome
from shotlake.table.delta import App
from shotlake.table.lake import Lake
from shotlake.table.lease import Fence, Lease, live_run_ids
from shotlake.table.rows import failure_rows, unit_rows
from shotlake.table.tombstones import Signs, Tombstones

log = logging.getLogger(__name__)

OUTCOMES = "outcomes"
# The accounts of a run stay, without a word about an erased video: how many cells were planned, written and lost.
BLANKED = {"units": ("uri", "content_sha256"), "failures": ("uri", "message")}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The copy of a commit's outcomes; `fence` is the lease under which it is made, unknown for older ones."""

    run_id: str
    outcomes: list[UnitOutcome]
    fence: Fence | None = None

    def to_bytes(self) -> bytes:
        """A line of JSON about the commit, then one a unit."""
        head = {"run_id": self.run_id, "fence": self.fence}
        return "\n".join([json.dumps(head), *(outcome.to_json() for outcome in self.outcomes)]).encode()

    @classmethod
    def of(cls, data: bytes) -> Sidecar:
        """What `to_bytes` wrote."""
        head, *lines = data.decode().split("\n")
        tree = json.loads(head)
        fence = tree.get("fence")
        return cls(tree["run_id"], [UnitOutcome.from_json(line) for line in lines], fence and (fence[0], fence[1]))


def put_outcomes(lake: Lake, app: App, sidecar: Sidecar) -> str:
    """Store the copy of a commit that is about to be made; gives its uri."""
    name = storage.join(lake.root, OUTCOMES, app[0], f"{app[1]:08d}.jsonl")
    storage.create(name, sidecar.to_bytes())
    return name


def recover(lake: Lake, lease: Lease) -> int:
    """Shut earlier holders of the lease out, then give `units` and `failures` what commits before a crash owe them.

    Call it after the lease is acquired and before `finished_units` is read. Gives the number of commits completed.
    Errors: LeaseLost, StoreError.
    """
    for fence in lease.expired:
        shut_out(lake, fence)
    lake.fence(lease.fence)
    return complete_commits(lake)


def shut_out(lake: Lake, fence: Fence) -> None:
    """Let no earlier epoch of a lease commit any more; a later one is as good."""
    try:
        lake.fence(fence)
    except LeaseLost:
        log.debug("fence=%s a later epoch has reached the log", fence)


def complete_commits(lake: Lake) -> int:
    """Append to `units` and `failures` what commits of `segments` owe them; harmless beside their run."""
    signs = Tombstones.of(lake.root).signs
    return sum(_complete(lake, name, signs) for name in storage.names(storage.join(lake.root, OUTCOMES)))


def remove_outcomes(lake: Lake) -> tuple[int, int]:
    """(completed, removed): bring in what was committed, remove the copies whose commit is not coming any more.

    Names are listed first and live runs read after them: who wrote one of these names and does not live then is over.
    """
    folder = storage.join(lake.root, OUTCOMES)
    names = storage.names(folder)
    live, signs = live_run_ids(lake.root), Tombstones.of(lake.root).signs
    completed = removed = 0
    for name in names:
        if name.split("/")[0] not in live:
            fence = _fence_of(storage.join(folder, name))
            if fence:
                shut_out(lake, (fence[0], fence[1] + 1))
        if _complete(lake, name, signs):
            completed += 1
        elif name.split("/")[0] not in live:
            storage.delete(storage.join(folder, name))
            removed += 1
    return completed, removed


def append_outcomes(
    lake: Lake, run_id: str, outcomes: Sequence[UnitOutcome], app: App, version: int, signs: Signs
) -> None:
    """Append outcomes to `units` and `failures`, at most once for each `app`; nothing is said of an erased video."""
    at = datetime.now(UTC)
    lake.append("units", _blanked("units", unit_rows(outcomes, run_id, version, at), signs), app)
    failures = failure_rows(outcomes, run_id, at)
    if len(failures):
        lake.append("failures", _blanked("failures", failures, signs), app)


def _blanked(table: str, rows: pa.Table, signs: Signs) -> pa.Table:
    if not signs:
        return rows
    is_erased = pa.array([signs.is_erased(uri) for uri in rows["uri"].to_pylist()], pa.bool_())
    for name in BLANKED[table]:
        field = rows.schema.field(name)
        emptied = pc.if_else(is_erased, pa.scalar(None, field.type), rows[name])
        rows = rows.set_column(rows.schema.get_field_index(name), field, emptied)
    return rows


def _complete(lake: Lake, name: str, signs: Signs) -> bool:
    """True if the commit of this copy has happened; then its outcomes are in the tables."""
    app_id, _, number = name.removesuffix(".jsonl").rpartition("/")
    app = (app_id, int(number))
    if lake.transaction_version("segments", app_id) < app[1]:
        return False  # its units are planned again
    uri = storage.join(lake.root, OUTCOMES, name)
    try:
        sidecar = Sidecar.of(storage.read_bytes(uri))
    except NotFound:  # its run is alive and has just done it
        return True
    append_outcomes(lake, sidecar.run_id, sidecar.outcomes, app, lake.version("segments"), signs)
    storage.delete(uri)
    log.info("recovered=%s units=%d", name, len(sidecar.outcomes))
    return True


def _fence_of(uri: str) -> Fence | None:
    try:
        return Sidecar.of(storage.read_bytes(uri)).fence
    except NotFound:
        return None


def named_in(data: bytes) -> Iterable[str]:
    """The uris that a copy names."""
    return (outcome.unit.video.uri for outcome in Sidecar.of(data).outcomes)
