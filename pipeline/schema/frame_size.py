"""The size of output frames: which sizes suit an input, and which scale of the network they need.

The network enlarges by 2, 4 or 8. An output of another size is enlarged by the nearest scale at or
above what it needs, and then reduced. A smaller scale would leave the last part of the enlargement
to interpolation, without the reference's detail; a larger one would cost time without adding any.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

from pipeline.schema.clip import RecordingBase

Recorded = TypeVar("Recorded", bound=RecordingBase)

SCALES = (2, 4, 8)
SLACK = 0.01  # share by which rounded sizes may exceed a scale or fall short of the input


def find_network_scale(lr: RecordingBase, width: int, height: int) -> int | None:
    """Return the least scale of the network that reaches a size in stored pixels.

    The result is None if a side is smaller than that of the input, or larger than 8 times that.
    """
    ratios = width / lr.width, height / lr.height
    if min(ratios) < 1 - SLACK:
        return None
    return next((scale for scale in SCALES if max(ratios) <= scale * (1 + SLACK)), None)


def find_pixel_aspect(lr: RecordingBase, width: int, height: int) -> Fraction | None:
    """Return the pixel aspect ratio with which frames of a size show the input undistorted.

    That is the input's own if the size has the proportions of the stored frames, and 1 if it has
    those of the displayed frames. The result is None if it has neither, apart from rounding.
    """
    # an even side of the output may be off by one pixel, and a side of the input by half a pixel
    allowed = lr.width + lr.height + Fraction(width + height, 2)
    stored = Fraction(abs(width * lr.height - height * lr.width))
    shown = abs(width * lr.height - height * lr.width * lr.sample_aspect_ratio)
    if stored > allowed and shown > allowed:
        return None
    return lr.sample_aspect_ratio if stored <= shown else Fraction(1)


def is_possible_size(lr: RecordingBase, width: int, height: int) -> bool:
    """Return whether frames of a size can be an output of the input."""
    reached = find_network_scale(lr, width, height) is not None
    return reached and find_pixel_aspect(lr, width, height) is not None


def match_pixel_aspect(lr: Recorded, width: int, height: int) -> Recorded:
    """Return the input with the pixel aspect ratio of an output of this size.

    The ratio changes only if the input's pixels are not square and the output's are. The input is
    returned unchanged if the size is not a possible one.
    """
    aspect = find_pixel_aspect(lr, width, height)
    if aspect in (None, lr.sample_aspect_ratio):
        return lr
    return lr.model_copy(update={"sample_aspect_ratio": aspect})


def expect_size(lr: RecordingBase, width: int, height: int) -> tuple[int, int]:
    """Return the width and height to expect of an output whose settings are not known.

    `width` and `height` are those that it has. They are expected if they are a possible size, and
    otherwise the multiple of the input's size with the nearest width.
    """
    if is_possible_size(lr, width, height):
        return width, height
    scale = max(1, round(width / lr.width))
    return lr.width * scale, lr.height * scale
