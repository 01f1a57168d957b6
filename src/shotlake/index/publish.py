"""Which generation is current: numbered pointers that are only ever created; the highest number counts. Each has a
check of its own bytes, and the sha256 of its generation's manifest, which has those of all files.

A generation that misses its recall, lost rows, or was measured with too few queries cannot become current. Readers
that hold an older one are not disturbed. What is damaged, be it the newest pointer, never hinders the next build.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from shotlake import storage
from shotlake.errors import AlreadyExists, CorruptGeneration, IndexingError, NoIndex, NotFound, RecallTooLow
from shotlake.index.default import default_space
from shotlake.index.gate import shortfalls
from shotlake.index.manifest import MANIFEST_NAME, Manifest, Part, parse_manifest, sha256

log = logging.getLogger(__name__)

POINTERS = "CURRENT"


class Pointer(Part):
    """One numbered pointer: which generation, and the sha256 of its manifest."""

    number: int
    generation: str
    manifest_sha256: str
    table_version: int
    published_at: datetime


Check = Callable[[Manifest], None]  # raises what keeps a generation from being current


def _nothing(_: Manifest) -> None:
    """No check but those of this room."""


def publish(index_root: str, manifest: Manifest, check: Check = _nothing) -> int:
    """Make a stored generation current and return the pointer's number; the same one again changes nothing.

    Its files are looked for, and `check` is asked, right before the pointer is written and once more afterwards: what
    was removed or erased in between takes the pointer back, and the generation before is current again.
    Errors: RecallTooLow, IndexingError (counts, an older table version than the current), CorruptGeneration, those of
    `check`.
    """
    _check_gate(manifest)
    while True:
        _check_now(index_root, manifest, check)
        numbers = pointer_numbers(index_root, manifest.embed_key)
        latest = _newest_whole(index_root, manifest.embed_key, numbers)
        if latest and latest.number == numbers[-1] and latest.generation == manifest.generation:
            return latest.number
        if latest and latest.table_version > manifest.table_version:
            raise IndexingError(
                f"generation {manifest.generation} is of table version {manifest.table_version}, the current one "
                f"{latest.generation} of {latest.table_version}; use rollback to go back on purpose"
            )
        try:
            return _point(index_root, manifest, max(numbers, default=0) + 1, check)
        except AlreadyExists:
            continue  # another builder published in between: look again


def rollback(index_root: str, embed_key: str, generation: str = "", check: Check = _nothing) -> int:
    """Make an earlier generation current: `generation`, or the one before the current. Returns the pointer's number.

    It is checked as by `publish`. A newest pointer that is damaged counts as the current one.
    """
    while True:
        manifest = _earlier(index_root, embed_key, generation)
        _check_now(index_root, manifest, check)
        try:
            return _point(index_root, manifest, pointer_numbers(index_root, embed_key)[-1] + 1, check)
        except AlreadyExists:
            continue


def _earlier(index_root: str, embed_key: str, generation: str) -> Manifest:
    """The generation to go back to. Errors: NoIndex, IndexingError (there is none), CorruptGeneration."""
    numbers, pointers = pointer_numbers(index_root, embed_key), list_pointers(index_root, embed_key)
    if not numbers:
        _found(None, index_root, embed_key)
    is_damaged = not pointers or pointers[-1].number != numbers[-1]
    latest = "" if is_damaged else pointers[-1].generation
    earlier = [p for p in pointers if p.generation != latest and generation in ("", p.generation)]
    if not earlier:
        known = sorted({p.generation for p in pointers} - {latest})
        there_are = f"there are {', '.join(known)}" if known else "it is the only one"
        raise IndexingError(f"no earlier generation {generation or 'than ' + latest}; {there_are}")
    return _read(storage.join(index_root, embed_key), earlier[-1])


def current(index_root: str, embed_key: str) -> Manifest:
    """The current generation. Errors: NoIndex, CorruptGeneration, LakeFormat."""
    pointer = latest_pointer(index_root, embed_key)
    return _read(storage.join(index_root, embed_key), _found(pointer, index_root, embed_key))


def latest_pointer(index_root: str, embed_key: str) -> Pointer | None:
    """The pointer with the highest number, or none; what a service polls."""
    while numbers := pointer_numbers(index_root, embed_key):
        try:
            return _read_pointer(index_root, embed_key, numbers[-1])
        except NotFound:  # taken back since it was listed
            continue
    return None


def list_pointers(index_root: str, embed_key: str) -> list[Pointer]:
    """Every pointer that is whole, in the order of publishing; the last is current if its number is the highest."""
    return list(_whole(index_root, embed_key, pointer_numbers(index_root, embed_key)))


def list_generations(index_root: str, embed_key: str) -> list[Manifest]:
    """Manifests of the generations that have ever been current, oldest first; damaged ones are left out."""
    pointers = {p.generation: p for p in list_pointers(index_root, embed_key)}
    found = []
    for pointer in pointers.values():
        try:
            found.append(_read(storage.join(index_root, embed_key), pointer))
        except CorruptGeneration as error:
            log.warning("embed_key=%s generation=%s left_out=%s", embed_key, pointer.generation, error)
    return found


def find_generation(index_root: str, embed_key: str, generation: str) -> Manifest:
    """A generation that is or was current, by its name. Errors: NoIndex if it is not known any more."""
    for pointer in reversed(list_pointers(index_root, embed_key)):
        if pointer.generation == generation:
            return _read(storage.join(index_root, embed_key), pointer)
    raise NoIndex(f"{index_root} has no generation {generation!r} of the space {embed_key}; see shotlake index list")


def stored_generation(index_root: str, embed_key: str, generation: str) -> Manifest:
    """A generation that is stored, be it published or not. Errors: NoIndex, CorruptGeneration, LakeFormat."""
    uri = storage.join(index_root, embed_key, generation, MANIFEST_NAME)
    try:
        data = storage.read_bytes(uri)
    except NotFound:
        raise NoIndex(f"there is no {uri}; a build that has ended prints the name of its generation") from None
    return parse_manifest(data, sha256(data), uri)


def published_keys(index_root: str) -> set[str]:
    """The embed_keys of which something was ever published, be it whole or not."""
    return {name.split("/")[0] for name in storage.names(index_root) if f"/{POINTERS}/" in name}


def list_embed_keys(index_root: str) -> list[str]:
    """The embed_keys that have a current generation: the default space, then the last published first."""
    published, chosen = {}, default_space(index_root)
    for key in published_keys(index_root):
        pointer = latest_pointer(index_root, key)
        if pointer:
            published[key] = pointer.published_at
    newest_first = sorted(published, key=published.__getitem__, reverse=True)
    return sorted(newest_first, key=lambda key: chosen is None or key != chosen.embed_key)


def _check_gate(manifest: Manifest) -> None:
    live = manifest.n_rows - manifest.retired_rows
    if live != manifest.table_rows:
        raise IndexingError(
            f"generation {manifest.generation} holds {live} live rows, table version {manifest.table_version} "
            f"has {manifest.table_rows}; build the index again"
        )
    for why in shortfalls(manifest):
        raise RecallTooLow(why)


def check_stored(index_root: str, manifest: Manifest) -> None:
    """Errors: CorruptGeneration if a file of the generation is missing or has another size."""
    folder = storage.join(index_root, manifest.embed_key)
    for file in manifest.files:
        uri = storage.join(folder, file.path)
        try:
            size_bytes = storage.stat(uri).size_bytes
        except NotFound:
            raise CorruptGeneration(f"{uri} is missing; build the index again") from None
        if size_bytes != file.size_bytes:
            raise CorruptGeneration(f"{uri} has {size_bytes} bytes instead of {file.size_bytes}; build the index again")


def _check_now(index_root: str, manifest: Manifest, check: Check) -> None:
    check_stored(index_root, manifest)
    check(manifest)


def _point(index_root: str, manifest: Manifest, number: int, check: Check) -> int:
    """Create the pointer, then look again whether it may stay. Errors: AlreadyExists (the number), those of checks."""
    pointer = Pointer(
        number=number,
        generation=manifest.generation,
        manifest_sha256=sha256(manifest.to_bytes()),
        table_version=manifest.table_version,
        published_at=datetime.now(UTC),
    )
    tree = pointer.model_dump(mode="json")
    data = json.dumps({**tree, "check": _check(tree)}).encode()
    uri = storage.join(index_root, manifest.embed_key, POINTERS, f"{number}.json")
    storage.create(uri, data)
    try:
        _check_now(index_root, manifest, check)
    except BaseException as error:
        log.warning("embed_key=%s generation=%s withdrawn=%s", manifest.embed_key, manifest.generation, error)
        _withdraw(uri, data)
        raise
    return number


def _withdraw(uri: str, data: bytes) -> None:
    """Delete our own pointer, also where another one came on top of it: nobody shall roll back to it either."""
    with suppress(NotFound):
        if storage.read_bytes(uri) == data:
            storage.delete(uri)


def pointer_numbers(index_root: str, embed_key: str) -> list[int]:
    """Numbers of all pointers, ascending, be they whole or not."""
    names = storage.names(storage.join(index_root, embed_key, POINTERS))
    return sorted(int(stem) for stem in (name.removesuffix(".json") for name in names) if stem.isdigit())


def _newest_whole(index_root: str, embed_key: str, numbers: list[int]) -> Pointer | None:
    return next(_whole(index_root, embed_key, reversed(numbers)), None)


def _whole(index_root: str, embed_key: str, numbers: Iterable[int]) -> Iterator[Pointer]:
    for number in numbers:
        try:
            yield _read_pointer(index_root, embed_key, number)
        except CorruptGeneration as error:
            log.warning("embed_key=%s pointer=%d left_out=%s", embed_key, number, error)
        except NotFound:  # pruned since it was listed
            continue


def _read_pointer(index_root: str, embed_key: str, number: int) -> Pointer:
    uri = storage.join(index_root, embed_key, POINTERS, f"{number}.json")
    try:
        tree = json.loads(storage.read_bytes(uri))
        pointer = Pointer.model_validate(tree)
    except ValueError:
        tree, pointer = {}, None
    if pointer is None or pointer.number != number or not _is_whole(tree):
        raise CorruptGeneration(
            f"{uri} is not the pointer that was published; delete it, and the generation before it is current again"
        )
    return pointer


def _is_whole(tree: dict[str, object]) -> bool:
    """Whether a pointer's check fits; those of earlier versions have none, and just these fields."""
    if "check" not in tree:
        return tree.keys() == Pointer.model_fields.keys()
    rest = dict(tree)
    return rest.pop("check") == _check(rest)


def _check(tree: dict[str, object]) -> str:
    return sha256(json.dumps(tree, sort_keys=True).encode())


def _found(pointer: Pointer | None, index_root: str, embed_key: str) -> Pointer:
    if pointer is None:
        raise NoIndex(f"{index_root} has no published index for the space {embed_key}; run shotlake index build")
    return pointer


def _read(folder: str, pointer: Pointer) -> Manifest:
    uri = storage.join(folder, pointer.generation, MANIFEST_NAME)
    try:
        return parse_manifest(storage.read_bytes(uri), pointer.manifest_sha256, uri)
    except NotFound:
        raise CorruptGeneration(f"{uri} is missing; roll back or build the index again") from None
