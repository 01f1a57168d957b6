"""Probes videos; where `decode.isolate` says so in a child process, so that no file meets libav in the caller's."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

from shotlake import storage
from shotlake.config import DecodeConfig
from shotlake.decode.keeper import Keeper
from shotlake.decode.probe import probe
from shotlake.errors import Crashed, MediaError, OutOfMemory, TimedOut
from shotlake.records import MediaInfo, Usage, Video, media_from_json

_PATIENCE = 10  # times `decode.idle_s`
_MEDIA_ERRORS = {cls.code: cls for cls in MediaError.__subclasses__()}


class VideoProber:
    """Says what videos are; holds one child for all of them. `usage` is that of the latest, however it ended."""

    def __init__(self, config: DecodeConfig) -> None:
        self._config = config
        self._keeper = Keeper(config) if config.isolate else None
        self.usage = Usage()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, video: Video) -> MediaInfo:
        """What the container says of itself, proved by one frame; a child that dies is tried once more.

        Errors: the MediaError whose code goes to `failures`; StoreError; AccessDenied.
        """
        self.usage = Usage()
        if self._keeper is None:
            return self._probe(video, None)
        try:
            return self._probe(video, self._keeper)
        except (Crashed, OutOfMemory, TimedOut):
            return self._probe(video, self._keeper)

    def close(self) -> None:
        """End the child."""
        if self._keeper is not None:
            self._keeper.close()

    def _probe(self, video: Video, keeper: Keeper | None) -> MediaInfo:
        with storage.open_object(video.uri, video.etag, video.size_bytes, storage.PROBE_BLOCK_BYTES) as reader:
            try:
                return self._ask(keeper, reader, video.size_bytes) if keeper else probe(reader, self._config)
            finally:
                self.usage += Usage(bytes_read=reader.bytes_read, requests=reader.requests)

    def _ask(self, keeper: Keeper, reader: storage.ObjectReader, size_bytes: int) -> MediaInfo:
        request = json.dumps({"size_bytes": size_bytes})
        answers = list(keeper.ask(request, reader.read_range, _PATIENCE * self._config.idle_s))
        if not answers:
            raise Crashed("the decoder's process gave no answer")
        answer: dict[str, Any] = answers[-1]
        self.usage += Usage(cpu_s=float(answer["cpu_s"]))
        if "media" in answer:
            return media_from_json(answer["media"])
        raise _MEDIA_ERRORS.get(answer["code"], MediaError)(answer["message"])
