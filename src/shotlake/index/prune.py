"""Removing what no kept generation needs: old generations, epochs and drafts that were never published.

A generation may name shards and epochs of earlier ones, so that files are kept by name, not by folder. Whoever calls
this holds the space's lease, so that no builder is alive. Copies in this machine's cache go as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from shotlake import storage
from shotlake.errors import IndexingError, NoIndex
from shotlake.index.files import default_cache_dir, discard
from shotlake.index.publish import current, pointer_numbers
from shotlake.index.stock import Stock, removal_order

DRAFT_GRACE = timedelta(days=1)  # so long a killed build can be taken up, and a stored generation be published


def prune(index_root: str, embed_key: str, keep: int = 2, grace: timedelta = DRAFT_GRACE) -> list[str]:
    """Delete all but the current generation and the `keep - 1` published before it; returns the deleted paths.

    Drafts and generations that were only stored are deleted once nothing was added to them for `grace`, by the clock of
    the store alone. Errors: IndexingError for `keep` below 1, NoIndex if nothing is published, CorruptGeneration if
    nobody can say which generation is current or what it needs; then nothing is removed.
    """
    if keep < 1:
        raise IndexingError(f"keep is {keep}; the current generation cannot be pruned, so at least 1 is allowed")
    if not pointer_numbers(index_root, embed_key):
        raise NoIndex(f"{index_root} has no published index for the space {embed_key}; there is nothing to prune")
    current(index_root, embed_key)
    stock = Stock.take(index_root, embed_key)
    kept = list(stock.published.values())[-keep:]
    needed = stock.of(kept) | _young(stock, grace)
    return remove(stock, stock.objects.keys() - needed)


def remove(stock: Stock, paths: Iterable[str]) -> list[str]:
    """Delete files of a space, here and in the cache, in an order in which readers find whole generations only."""
    doomed = sorted(paths, key=removal_order)
    for path in doomed:
        uri = storage.join(stock.folder, path)
        storage.delete(uri)
        discard(uri, default_cache_dir())
    return doomed


def _young(stock: Stock, grace: timedelta) -> set[str]:
    """What no pointer names and something was added to within the grace, with all that it needs."""
    published = stock.of(stock.published.values())
    groups = [stock.of([manifest]) for manifest in stock.stored.values()] + [set(d) for d in stock.drafts.values()]
    nobodys = stock.objects.keys() - published.union(*groups) - stock.pointers.keys()
    folders = {path.removeprefix("epochs/").split("/")[0] for path in nobodys}
    groups += [{path for path in nobodys if path.removeprefix("epochs/").startswith(f"{name}/")} for name in folders]
    if not any(groups):
        return set()
    since = store_time(stock.folder) - grace
    young = [group for group in groups if (at := stock.newest_of(group - published)) and at > since]
    return set[str]().union(*young)


def store_time(folder: str) -> datetime:
    """What time it is by the clock that dates the objects of a folder, which may be far from this machine's."""
    probe = storage.join(folder, f"clock-{uuid.uuid4().hex}")
    storage.write_bytes(probe, b"")
    try:
        return storage.stat(probe).modified_at
    finally:
        storage.delete(probe)
