"""The border to libav: what PyAV raises becomes a MediaError of our tree, once, here.

A store's own error always wins: libav may swallow it and report broken data or an early end instead.
"""

from __future__ import annotations

from typing import Any

from av.error import DecoderNotFoundError, FFmpegError
from av.error import MemoryError as LibavMemoryError

from shotlake.errors import MediaError, NotMedia, OutOfMemory, Unreadable, UnsupportedCodec
from shotlake.storage import ObjectReader

# UnicodeDecodeError (metadata, tags), IndexError, MemoryError and OSError escape from PyAV besides its own errors.
FOREIGN = (FFmpegError, ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, ValueError)

_HEAD_BYTES = 16
_MAGIC = (
    b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV\x01", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba", b"\x06\x0e\x2b\x34",
    b"fLaC", b"ID3", b".RMF", b"DKIF", b"caff", b"FORM",
)  # fmt: skip
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot")


def check_store(reader: ObjectReader) -> None:
    """Raise the StoreError that happened while libav was reading, if there was one."""
    if reader.error is not None:
        raise reader.error


def check_memory(error: BaseException) -> None:
    """Raise OutOfMemory if that is what the foreign error means."""
    if isinstance(error, (MemoryError, LibavMemoryError)):
        raise OutOfMemory("the decoder asked for more memory than decode.memory_bytes; the file may be a bomb")


def opening_error(error: BaseException, reader: ObjectReader) -> MediaError:
    """Why a container did not open. Errors: the reader's own StoreError or AccessDenied, raised."""
    check_store(reader)
    check_memory(error)
    if isinstance(error, DecoderNotFoundError):
        return UnsupportedCodec(f"no decoder for the streams ({first_line(error)})")
    if _looks_like_container(reader):
        return Unreadable("a known container whose index is missing or broken (cut, or still being written?)")
    return NotMedia("the bytes are none of the allowed containers; exclude the file with catalog.exclude")


def is_encrypted(packet: Any) -> bool:
    """True if the container says that the packet's bytes are encrypted."""
    return any(packet.has_sidedata(kind) for kind in ("encryption_info", "encryption_init_info"))


def first_line(error: BaseException) -> str:
    """The first line of a foreign error, for a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _looks_like_container(reader: ObjectReader) -> bool:
    reader.seek(0)
    head = reader.read(_HEAD_BYTES)
    transport_stream = head[:1] == b"\x47" and _byte_at(reader, 188) == b"\x47"
    return head.startswith(_MAGIC) or head[4:8] in _BOXES or transport_stream


def _byte_at(reader: ObjectReader, position: int) -> bytes:
    reader.seek(position)
    return reader.read(1)
