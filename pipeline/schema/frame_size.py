"""The size of output frames: which sizes are possible, and which network scale they need.

The network enlarges by 2, 4 or 8. For any other size, frames are enlarged by the next larger scale
and then downscaled. A smaller scale would leave the rest of the enlargement to interpolation,
without the reference's detail; a larger scale would cost time without adding detail.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

from pipeline.schema.clip import RecordingBase

Recorded = TypeVar("Recorded", bound=RecordingBase)

SCALES = (2, 4, 8)
SLACK = 0.01  # relative tolerance, because rounded sizes may slightly miss a scale or the input


def find_network_scale(lr: RecordingBase, width: int, height: int) -> int | None:
    """Return the smallest network scale with which frames reach the given size in stored pixels.

    The result is None if a side is shorter than the input's, or more than 8 times as long.
    """
    ratios = width / lr.width, height / lr.height
    if min(ratios) < 1 - SLACK:
        return None
    return next((scale for scale in SCALES if max(ratios) <= scale * (1 + SLACK)), None)


def find_pixel_aspect(lr: RecordingBase, width: int, height: int) -> Fraction | None:
    """Return the pixel aspect ratio with which frames of the given size show the input undistorted.

    Apart from rounding, it is the input's own ratio if the size has the proportions of the stored
    frames, and 1 if it has the proportions of the displayed frames. Otherwise, the result is None.
    """
    # each output side may be off by one pixel (to be even), and each input side by half a pixel
    allowed = lr.width + lr.height + Fraction(width + height, 2)
    stored = Fraction(abs(width * lr.height - height * lr.width))
    shown = abs(width * lr.height - height * lr.width * lr.sample_aspect_ratio)
    if stored > allowed and shown > allowed:
        return None
    return lr.sample_aspect_ratio if stored <= shown else Fraction(1)


def is_possible_size(lr: RecordingBase, width: int, height: int) -> bool:
    """Return whether a run on this input can have an output of the given size."""
    reached = find_network_scale(lr, width, height) is not None
    return reached and find_pixel_aspect(lr, width, height) is not None


def match_pixel_aspect(lr: Recorded, width: int, height: int) -> Recorded:
    """Return the input's description with the pixel aspect ratio of an output of the given size.

    The ratio changes only if the input's pixels are not square but the output's are. The input is
    returned unchanged if the size is impossible.
    """
    aspect = find_pixel_aspect(lr, width, height)
    if aspect in (None, lr.sample_aspect_ratio):
        return lr
    return lr.model_copy(update={"sample_aspect_ratio": aspect})


def expect_size(lr: RecordingBase, width: int, height: int) -> tuple[int, int]:
    """Return the width and height that an output should have if its settings are unknown.

    `width` and `height` are the output's actual size, which is returned if it is possible.
    Otherwise, the result is the multiple of the input's size with the nearest width.
    """
    if is_possible_size(lr, width, height):
        return width, height
    scale = max(1, round(width / lr.width))
    return lr.width * scale, lr.height * scale
