"""What lies below an embed_key, and who names it: pointers, manifests, and the receipts of builds that did not end.

What nobody names is of a build that was killed before its receipt, and no other build takes it up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from shotlake import storage
from shotlake.errors import CorruptGeneration, NoIndex, SourceMissing
from shotlake.index.manifest import MANIFEST_NAME, Manifest
from shotlake.index.publish import POINTERS, list_generations, list_pointers, pointer_numbers, stored_generation
from shotlake.index.receipts import FOLDER, named_files
from shotlake.storage import ObjectInfo


@dataclass(frozen=True)
class Stock:
    """One listing of a space. Paths are relative to its folder; `published`: oldest first, the last is current."""

    folder: str
    objects: dict[str, ObjectInfo]
    published: dict[str, Manifest]
    stored: dict[str, Manifest]  # whole generations without a pointer
    pointers: dict[str, str]  # path to generation, "" where it is damaged
    drafts: dict[str, frozenset[str]]  # identity to its receipts and the files that they name

    @classmethod
    def take(cls, index_root: str, embed_key: str) -> Stock:
        """List and read; damaged pointers, manifests and receipts name nothing. Errors: LakeFormat."""
        folder = storage.join(index_root, embed_key)
        objects = {found.key: found for found in _listed(folder)}
        whole = {pointer.number: pointer.generation for pointer in list_pointers(index_root, embed_key)}
        pointers = {_path(number): whole.get(number, "") for number in pointer_numbers(index_root, embed_key)}
        published = {manifest.generation: manifest for manifest in list_generations(index_root, embed_key)}
        order = list(dict.fromkeys(name for name in reversed(pointers.values()) if name in published))
        stored = dict(_stored(index_root, embed_key, objects, {*published, *pointers.values()}))
        in_order = {name: published[name] for name in reversed(order)}
        return cls(folder, objects, in_order, stored, pointers, _drafts(folder, objects))

    def of(self, generations: Iterable[Manifest]) -> set[str]:
        """The manifests, their files, and the pointers to them."""
        found, names = set[str](), set[str]()
        for manifest in generations:
            found |= {manifest.path, *(file.path for file in manifest.files)}
            names.add(manifest.generation)
        return found | {path for path, generation in self.pointers.items() if generation in names}

    def newest_of(self, paths: Iterable[str]) -> datetime | None:
        """When something was added to these files, by the store's clock; None if none of them is there."""
        return max((self.objects[path].modified_at for path in paths if path in self.objects), default=None)


def removal_order(path: str) -> tuple[int, str]:
    """Pointers go first, then manifests and receipts, then files: whatever a reader still finds is whole."""
    if path.startswith(f"{POINTERS}/"):
        return 0, path
    return (1 if path.endswith(MANIFEST_NAME) or path.startswith(f"{FOLDER}/") else 2), path


def _path(number: int) -> str:
    return f"{POINTERS}/{number}.json"


def _listed(folder: str) -> Iterator[ObjectInfo]:
    try:
        yield from storage.list_objects(folder)
    except SourceMissing:  # a local space of which nothing was ever stored
        return


def _stored(index_root: str, embed_key: str, objects: Iterable[str], known: set[str]) -> Iterator[tuple[str, Manifest]]:
    for path in objects:
        generation, _, name = path.partition("/")
        if name == MANIFEST_NAME and generation not in known:
            try:
                yield generation, stored_generation(index_root, embed_key, generation)
            except (NoIndex, CorruptGeneration):  # removed meanwhile, or damaged: its files are nobody's
                continue


def _drafts(folder: str, objects: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for path in objects:
        if path.startswith(f"{FOLDER}/"):
            identity = path.split("/")[1]
            named = named_files(storage.join(folder, path))
            found[identity] = found.get(identity, frozenset()) | {path, *named}
    return found
