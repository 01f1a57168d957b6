"""What was erased, told by keyed hashes: numbered objects that are only ever created, and what they add up to.

    <lake>/erasures/secret           create-only: the key of the hashes
    <lake>/erasures/<n>.json         create-only: videos that were erased, or uris that may come back
    <lake>/erasures/<n>.done         create-only: nothing of them was found any more

No name and no content hash can be read from them; whoever has a name can ask. They are the one truth about erasures:
`retired` and everything else follows from them and is made again from them after a crash.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shotlake import storage
from shotlake.errors import AlreadyExists, CommitError, NotFound

FOLDER = "erasures"
_TRIES = 50


@dataclass(frozen=True, slots=True)
class ErasedVideo:
    """A video before it is forgotten: of its content what is known, none if nothing."""

    video_id: str
    uri: str
    etag: str = ""
    size_bytes: int = 0
    content_sha256: str | None = None
    is_copy: bool = False  # erased because another name of its content was


@dataclass(frozen=True, slots=True)
class Signs:
    """What tells erased videos by their names or by their contents; plain values that travel to workers."""

    secret: bytes = b""
    uris: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()  # of those whose content hash is known
    etags: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.uris)

    def is_erased(self, uri: str | None) -> bool:
        """True if an object of this name was erased."""
        return bool(self.uris and uri is not None and _hash(self.secret, "uri", uri) in self.uris)

    def is_erased_content(self, content_sha256: str | None) -> bool:
        """True if this content was erased under whatever name."""
        return bool(content_sha256) and _hash(self.secret, "content", content_sha256 or "") in self.contents

    def may_be_erased(self, size_bytes: int) -> bool:
        """True if a content of this size was erased, so that the object is worth being hashed."""
        return bool(self.sizes) and _hash(self.secret, "size", str(size_bytes)) in self.sizes

    def has_etag(self, uri: str, etag: str, size_bytes: int) -> bool:
        """True if an object of a store with this etag and size was erased; etags of local files say nothing."""
        known = bool(self.etags and etag and size_bytes) and storage.is_remote(uri)  # empty objects are all the same
        return known and _hash(self.secret, "etag", f"{size_bytes} {etag}") in self.etags


NOTHING = Signs()


@dataclass(frozen=True, slots=True)
class Erasure:
    """One numbered erasure; `videos` maps ids to the hash of their uri, less those that may come back."""

    number: int
    erasure_id: str
    videos: dict[str, str]
    is_done: bool


@dataclass(slots=True)
class Tombstones:
    """The erasures of a lake, as of the last look; a look reads only what is new."""

    lake_root: str
    number: int = 0  # of the newest erasure that was looked at
    signs: Signs = NOTHING
    _entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)
    _secret: bytes = b""

    @classmethod
    def of(cls, lake_root: str) -> Tombstones:
        """Those of a lake as they are now."""
        found = cls(storage.normalise(lake_root))
        found.look()
        return found

    def look(self) -> bool:
        """Read what was erased since the last look; True if there was something."""
        names = storage.names(storage.join(self.lake_root, FOLDER))
        before, self._done = self._done, {int(name.removesuffix(".done")) for name in names if name.endswith(".done")}
        numbers = [int(name.removesuffix(".json")) for name in names if name.endswith(".json")]
        new = [number for number in numbers if number not in self._entries]
        for number in new:
            self._entries[number] = json.loads(storage.read_bytes(self._uri(f"{number:08d}.json")))
        if new:
            self.number = max(numbers)
            self._secret = self._secret or _read_secret(self.lake_root)
        if new or (self._entries and before != self._done):
            self.signs = self._signs()
        return bool(new)

    @property
    def erasures(self) -> list[Erasure]:
        """All erasures in their order."""
        back = self._came_back()
        return [
            Erasure(
                number,
                entry["erasure_id"],
                {v["video_id"]: v["uri"] for v in entry["videos"] if back.get(v["uri"], 0) < number},
                number in self._done,
            )
            for number, entry in sorted(self._entries.items())
            if entry["kind"] == "erase"
        ]

    @property
    def pending(self) -> list[Erasure]:
        """Erasures of which something may be left."""
        return [erasure for erasure in self.erasures if erasure.videos and not erasure.is_done]

    def ids_of(self, uri: str) -> list[str]:
        """Ids of the videos that were erased under this name or as copies of them, and did not come back."""
        wanted = self._names(uri)
        return [i for erasure in self.erasures for i, name in erasure.videos.items() if name in wanted]

    def add(self, erasure_id: str, videos: Iterable[ErasedVideo]) -> int:
        """Say that videos are erased; the number of the erasure."""
        self._secret = self._secret or _make_secret(self.lake_root)
        entries = [self._entry(video) for video in videos]
        return self._create({"kind": "erase", "erasure_id": erasure_id, "videos": entries})

    def lift(self, erasure_id: str, uri: str) -> int:
        """Say that objects of this name, and the content that was erased under it, may come back; copies too."""
        return self._create({"kind": "unerase", "erasure_id": erasure_id, "uris": sorted(self._names(uri))})

    def close(self, number: int) -> None:
        """Say that nothing of an erasure was found any more."""
        try:
            storage.create(self._uri(f"{number:08d}.done"), b"")
        except AlreadyExists:
            return
        self._done.add(number)

    def _names(self, uri: str) -> set[str]:
        """The hash of a name, and those of names that were erased because of the content that it stood for."""
        name = _hash(self._secret, "uri", uri)
        videos = [video for entry in self._entries.values() for video in entry.get("videos", ())]
        contents = {v[sign] for v in videos if v["uri"] == name for sign in ("content", "etag") if sign in v}
        return {name, *(v["uri"] for v in videos if v.get("is_copy") and contents & {v.get("content"), v.get("etag")})}

    def _entry(self, video: ErasedVideo) -> dict[str, Any]:
        entry: dict[str, Any] = {"video_id": video.video_id, "uri": _hash(self._secret, "uri", video.uri)}
        if video.content_sha256:
            entry["content"] = _hash(self._secret, "content", video.content_sha256)
            entry["size"] = _hash(self._secret, "size", str(video.size_bytes))
        if video.etag and video.size_bytes and storage.is_remote(video.uri):
            entry["etag"] = _hash(self._secret, "etag", f"{video.size_bytes} {video.etag}")
        if video.is_copy:
            entry["is_copy"] = True
        return entry

    def _create(self, entry: dict[str, Any]) -> int:
        data = json.dumps({**entry, "at": datetime.now(UTC).isoformat(timespec="seconds")}).encode()
        for _ in range(_TRIES):
            self.look()
            number = self.number + 1
            try:
                storage.create(self._uri(f"{number:08d}.json"), data)
            except AlreadyExists:
                continue
            self.look()
            return number
        raise CommitError(f"others erased from {self.lake_root!r} {_TRIES} times in a row at this moment; run again")

    def _came_back(self) -> dict[str, int]:
        """The number since which a name (its hash) may come back."""
        lifted = ((number, entry) for number, entry in sorted(self._entries.items()) if entry["kind"] == "unerase")
        return {uri: number for number, entry in lifted for uri in entry["uris"]}

    def _signs(self) -> Signs:
        """A content that was erased under several names may come back under each as soon as it may under one.

        The name of a copy is sought until nothing is left of it; then it may stand for another content.
        """
        back = self._came_back()
        erased = [
            (n, video) for n, entry in self._entries.items() if entry["kind"] == "erase" for video in entry["videos"]
        ]
        for number, video in erased:
            if (since := back.get(video["uri"], 0)) > number:
                for name in ("content", "etag"):
                    if name in video:
                        back[video[name]] = max(since, back.get(video[name], 0))

        def those(name: str) -> frozenset[str]:
            told = name if name != "size" else "content"  # a size is of the content beside it
            return frozenset(
                v[name] for n, v in erased if name in v and back.get(v["uri"], 0) < n and back.get(v[told], 0) < n
            )

        free = {v["uri"] for n, v in erased if v.get("is_copy") and n in self._done}
        held = {v["uri"] for n, v in erased if not (v.get("is_copy") and n in self._done)}
        return Signs(self._secret, those("uri") - (free - held), those("content"), those("size"), those("etag"))

    def _uri(self, name: str) -> str:
        return storage.join(self.lake_root, FOLDER, name)


def _hash(secret: bytes, kind: str, text: str) -> str:
    data = f"{kind} {text}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=16, key=secret).hexdigest()


def _make_secret(lake_root: str) -> bytes:
    """The secret of a lake, made where there is none; of two that make one at once the first one's counts."""
    try:
        storage.create(storage.join(lake_root, FOLDER, "secret"), secrets.token_hex(32).encode())
    except AlreadyExists:
        return _read_secret(lake_root)
    return _read_secret(lake_root)


def _read_secret(lake_root: str) -> bytes:
    try:
        return bytes.fromhex(storage.read_bytes(storage.join(lake_root, FOLDER, "secret")).decode())
    except (NotFound, ValueError):
        raise CommitError(
            f"{storage.join(lake_root, FOLDER, 'secret')} is gone or damaged, and with it who was erased; restore it "
            "before anything else is written to this lake"
        ) from None
