"""Removing what no kept generation needs: old generations, epochs and drafts that were never published.

A generation may name shards and epochs of earlier ones, so that files are kept by name, not by folder. Pointers go
first, then manifests, then files: whatever a reader still finds is whole. Copies in this machine's cache go as well.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shotlake import storage
from shotlake.errors import IndexingError, NoIndex
from shotlake.index.files import default_cache_dir, discard
from shotlake.index.manifest import MANIFEST_NAME
from shotlake.index.publish import POINTERS, list_generations, list_pointers

DRAFT_GRACE = timedelta(days=1)  # a build that has stored something since then may still be running


def prune(index_root: str, embed_key: str, keep: int = 2, grace: timedelta = DRAFT_GRACE) -> list[str]:
    """Delete all but the current generation and the `keep - 1` published before it; returns the deleted paths.

    Files that no published generation names are deleted once nothing was added to them for `grace`.
    Errors: IndexingError for `keep` below 1, NoIndex if nothing is published.
    """
    if keep < 1:
        raise IndexingError(f"keep is {keep}; the current generation cannot be pruned, so at least 1 is allowed")
    pointers = list_pointers(index_root, embed_key)
    if not pointers:
        raise NoIndex(f"{index_root} has no published index for the space {embed_key}; there is nothing to prune")
    newest_first = list(dict.fromkeys(pointer.generation for pointer in reversed(pointers)))
    kept, dropped = set(newest_first[:keep]), set(newest_first[keep:])
    manifests = list_generations(index_root, embed_key)
    needed = {file.path for m in manifests if m.generation in kept for file in m.files}
    needed |= {m.path for m in manifests if m.generation in kept}
    once_needed = {file.path for m in manifests for file in m.files} | {m.path for m in manifests}

    folder = storage.join(index_root, embed_key)
    doomed = [f"{POINTERS}/{pointer.number}.json" for pointer in pointers if pointer.generation in dropped]
    doomed += sorted(once_needed - needed, key=lambda path: not path.endswith(MANIFEST_NAME))
    before = datetime.now(UTC) - grace
    known = once_needed | {f"{POINTERS}/{pointer.number}.json" for pointer in pointers}
    drafts = [o for o in storage.list_objects(folder) if o.key not in known]
    if all(o.modified_at < before for o in drafts):
        doomed += [o.key for o in drafts]
    for path in doomed:
        storage.delete(storage.join(folder, path))
        discard(storage.join(folder, path), default_cache_dir())
    return doomed
