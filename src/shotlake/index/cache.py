"""Which copies of a lake's files this machine has, and dropping those that the lake has no more.

Copies that a process holds open are dropped when it lets go of them (see files.py).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from shotlake import storage
from shotlake.errors import ShotlakeError
from shotlake.index.files import GENERATIONS, ORIGIN, default_cache_dir, discard_copy
from shotlake.index.publish import latest_pointer, list_generations, pointer_numbers

log = logging.getLogger(__name__)


def cached_files(root: str, cache_dir: Path) -> Iterator[tuple[str, Path]]:
    """(URI, copy) of everything below `root` that was downloaded; copies of before there were origins are all given."""
    for path in (cache_dir / GENERATIONS).glob("*/[!.]*"):
        origin = path.with_name(ORIGIN)
        uri = origin.read_text() if origin.exists() else storage.join(root, "unknown", path.name)
        if uri.startswith(f"{root}/"):
            yield uri, path


def drop_copies(root: str, stored: Collection[str], cache_dir: Path) -> list[str]:
    """Drop the copies of what is not among the `stored` paths below `root`; gives the URIs."""
    gone = []
    for uri, path in cached_files(root, cache_dir):
        if uri.removeprefix(f"{root}/") not in stored:
            discard_copy(path, cache_dir)
            gone.append(uri)
    return gone


class CacheSweep:
    """Drops the copies that no pointer of a space names any more; called as often as its pointers are looked at.

    A copy of what is still stored is left until it is not: it may be of a build on this machine. A call costs a listing
    of the pointers, unless they have changed or such copies are waited for.
    """

    def __init__(self, index_root: str, embed_key: str, cache_dir: Path | None = None) -> None:
        self._index_root, self._embed_key = index_root, embed_key
        self._folder = storage.join(index_root, embed_key)
        self._cache_dir = cache_dir or default_cache_dir()
        self._seen: list[int] | None = None

    def __call__(self) -> list[str]:
        """The URIs whose copies were dropped, or will be when they are let go; a store that fails is asked again."""
        try:
            numbers = pointer_numbers(self._index_root, self._embed_key)
            return [] if numbers == self._seen else self._dropped(numbers)
        except ShotlakeError as error:  # among them a pointer that is damaged: which files are needed cannot be said
            log.warning("embed_key=%s copies_not_looked_at=%s", self._embed_key, error)
            return []

    def _dropped(self, numbers: list[int]) -> list[str]:
        latest_pointer(self._index_root, self._embed_key)
        manifests = list_generations(self._index_root, self._embed_key)
        named = {file.path for manifest in manifests for file in manifest.files}
        copies = {uri.removeprefix(f"{self._folder}/") for uri, _ in cached_files(self._folder, self._cache_dir)}
        is_all_named = copies <= named
        stored = named if is_all_named else named.union(storage.names(self._folder))
        gone = drop_copies(self._folder, stored, self._cache_dir)
        if gone:
            log.info("embed_key=%s copies_dropped=%d", self._embed_key, len(gone))
        self._seen = numbers if len(copies - named) == len(gone) else None
        return gone
