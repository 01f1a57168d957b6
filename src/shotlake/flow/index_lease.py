"""Who may change the index of a space: one process at a time, be it a build, an update, a prune or an erasure.

So whoever holds the lease knows that no builder is alive, whatever clocks say; and a builder that lost it finds out
before its pointer is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.config import Config
from shotlake.errors import CorruptGeneration, LeaseHeld
from shotlake.flow.index_source import index_root
from shotlake.flow.run_id import new_run_id
from shotlake.index.forget import holds
from shotlake.index.manifest import Manifest
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.readers import erased_videos


@contextmanager
def indexing(lake: Lake, key: str, config: Config) -> Iterator[Lease]:
    """Hold the lease on the index of a space. Errors: LeaseHeld while another process works on it."""
    try:
        lease = Lease.acquire(lake.root, "index", f"/{key}", new_run_id(), config.table.lease_s)
    except LeaseHeld as error:
        who = error.message.partition(" is working on ")[0].partition(" took ")[0]
        raise LeaseHeld(f"the index of the space {key} is being changed by {who}; wait for it") from None
    with lease:
        yield lease


class PublishCheck:
    """What `publish` asks in each attempt and once more behind its pointer: nothing erased is in it, and we hold the
    lease. Errors: CorruptGeneration, LeaseLost.
    """

    def __init__(self, lake: Lake, lease: Lease, config: Config) -> None:
        self._lake, self._lease, self._cache_bytes = lake, lease, config.index.cache_bytes
        self._absent: dict[str, pa.Array] = {}  # by generation, the erased videos that it has no rows of

    def __call__(self, manifest: Manifest) -> None:
        known = self._absent.get(manifest.generation, pa.array([], pa.string()))
        erased = erased_videos(self._lake)
        new = erased.filter(pc.invert(pc.is_in(erased, value_set=known)))
        if holds(index_root(self._lake), manifest, new, self._cache_bytes):
            raise CorruptGeneration(
                f"generation {manifest.generation} has rows of videos that were erased; build the index again"
            )
        self._absent[manifest.generation] = erased
        self._lease.check()
