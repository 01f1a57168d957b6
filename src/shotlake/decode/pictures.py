"""A decoded frame becomes RGB pixels of the size that the encoder wants: upright, square pixels, right colours.

One swscale context is held a video. Without tags, pictures of 720 lines and more are BT.709 and smaller ones BT.601,
limited range. HDR (PQ, HLG) is tone-mapped by one curve a channel; its wider gamut is left as it is.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from shotlake.records import ClipSpec, MediaInfo

Pixels = NDArray[np.uint8]
HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
_HD_LINES = 720
_REFERENCE_WHITE_NITS = 203.0
_BRIGHTEST = 1000 / _REFERENCE_WHITE_NITS  # what becomes full white


def scaled_size(width_px: int, height_px: int, spec: ClipSpec) -> tuple[int, int]:
    """Width and height that an upright picture of square pixels is scaled to, before it is placed in the output."""
    box = (spec.width_px, spec.height_px)
    if spec.resize == "squash" or width_px <= 0 or height_px <= 0:
        return box
    ratios = box[0] / width_px, box[1] / height_px
    ratio = max(ratios) if spec.resize == "crop" else min(ratios)
    return max(1, round(width_px * ratio)), max(1, round(height_px * ratio))


def observed(info: MediaInfo, frame: Any) -> MediaInfo:
    """`info` of a container, completed by what only a frame of it tells: rotation and HDR."""
    info = replace(info, rotation_deg=frame.rotation % 360, hdr=frame.color_trc in HDR_TRANSFERS)
    return replace(info, width_px=info.height_px, height_px=info.width_px) if info.rotation_deg % 180 else info


class PictureFitter:
    """Frames of one video as RGB arrays of the encoder's size.

    `sample_aspect` is the width of a pixel over its height.
    """

    def __init__(self, spec: ClipSpec, sample_aspect: float) -> None:
        self._spec, self._sample_aspect = spec, sample_aspect
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Pixels:
        """[H, W, 3] uint8."""
        turns = frame.rotation // 90 % 4
        width_px, height_px = frame.width * self._sample_aspect, float(frame.height)
        upright = (height_px, width_px) if turns % 2 else (width_px, height_px)
        scaled = scaled_size(round(upright[0]), round(upright[1]), self._spec)
        pixels = self._scale(frame, scaled[::-1] if turns % 2 else scaled)
        if turns:
            pixels = np.rot90(pixels, turns)
        return _place(pixels, self._spec.width_px, self._spec.height_px)

    def _scale(self, frame: Any, size: tuple[int, int]) -> Pixels:
        untagged = frame.colorspace == _UNTAGGED and not frame.format.is_rgb
        matrix = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
        rgb = self._reformatter.reformat(
            frame,
            *size,
            "gbrp",  # swscale's packed RGB is slower, halves the chroma and is two levels too dark
            src_colorspace=matrix if untagged else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BILINEAR,
            threads=1,
        )
        pixels: Pixels = np.asarray(rgb.to_ndarray(), np.uint8)
        if frame.color_trc in HDR_TRANSFERS:
            return _tone_curve("pq" if frame.color_trc == ColorTrc.SMPTE2084 else "hlg")[pixels]
        return pixels


def _place(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """The middle of the picture where it is too large, black around it where it is too small."""
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    placed = np.zeros((height_px, width_px, 3), np.uint8)
    rows, columns = min(height_px, pixels.shape[0]), min(width_px, pixels.shape[1])
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    down, right = (height_px - rows) // 2, (width_px - columns) // 2
    placed[down : down + rows, right : right + columns] = pixels[top : top + rows, left : left + columns]
    return placed


@cache
def _tone_curve(transfer: Literal["pq", "hlg"]) -> Pixels:
    """[256] code values of SDR for those of HDR: to light, rolled off above reference white, to gamma 2.2."""
    code = np.arange(256) / 255
    if transfer == "pq":
        root = code ** (1 / 78.84375)
        light = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    else:
        low, high = code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = 1000 * np.where(code <= 0.5, low, high) ** 1.2
    relative = light / _REFERENCE_WHITE_NITS
    rolled = relative * (1 + relative / _BRIGHTEST**2) / (1 + relative)
    return np.round(255 * np.clip(rolled, 0, 1) ** (1 / 2.2)).astype(np.uint8)
