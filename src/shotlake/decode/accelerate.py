"""Pictures decoded by a GPU's NVDEC behind the same contract; where it cannot, by the CPU, and the outcome says so.

libav's own decoders hand the work of a picture to NVDEC and do the rest as always: packets, references, time stamps,
damage. So every policy, status and time is that of the CPU path; only the pixels come from elsewhere.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from shotlake.config import DecodeConfig
from shotlake.decode.faults import FOREIGN

_log = logging.getLogger(__name__)
_DOWNLOADED = frozenset(("nv12", "nv16", "p010le", "p012le", "p016le", "p210le", "p216le"))  # no CPU decoder's


def accelerator(config: DecodeConfig) -> HWAccel | None:
    """What `av.open` is given: NVDEC where `decode.device` asks for it and this process reaches one, else None."""
    return _nvdec() if config.device == "nvdec" else None


@cache
def _nvdec() -> HWAccel | None:
    """Looked for once a process, and held: every file shares the primary context of the GPU."""
    wanted = HWAccel("cuda", allow_software_fallback=True, options={"primary_ctx": "1"})
    try:
        return wanted.create(av.Codec("h264", "r"))
    except FOREIGN as error:
        _log.warning("decode.device=nvdec used=cpu reason=%r", f"no GPU that libav can use ({error})")
        return None


def is_from_gpu(frame: Any, codec: Any) -> bool:
    """True if a GPU decoded the frame: NVDEC that refuses a stream leaves it to the CPU without a word."""
    return codec.is_hwaccel and frame.format.name in _DOWNLOADED
