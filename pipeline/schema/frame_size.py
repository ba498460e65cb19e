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
SLACK = 0.01  # share by which rounded sizes may exceed a scale or fall short of one


def find_network_scale(lr: RecordingBase, width: int, height: int) -> int | None:
    """Return the least scale of the network that reaches a size in stored pixels.

    The result is None if the size is smaller than the input, or larger than 8 times the input.
    """
    ratios = width / lr.width, height / lr.height
    if min(ratios) < 1 - SLACK:
        return None
    return next((scale for scale in SCALES if max(ratios) <= scale * (1 + SLACK)), None)


def find_pixel_aspect(lr: RecordingBase, width: int, height: int) -> Fraction | None:
    """Return the pixel aspect with which frames of a size show the input's picture undistorted.

    That is the input's own if the size has the proportions of its stored frames, and 1 if it has
    those of its display. The result is None if the size has neither, beyond rounding.
    """
    # a side of the output may be off by one pixel, because it is even, and one of the input by half
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
    """Return the input with the pixel aspect of an output of a possible size.

    It differs if the input's pixels are not square and the output's are.
    """
    aspect = find_pixel_aspect(lr, width, height)
    if aspect in (None, lr.sample_aspect_ratio):
        return lr
    return lr.model_copy(update={"sample_aspect_ratio": aspect})


def expect_size(lr: RecordingBase, width: int, height: int) -> tuple[int, int]:
    """Return the width and height to expect of an output of unknown settings that has this size.

    That is its own size if it is possible, or else the nearest multiple of the input's.
    """
    if is_possible_size(lr, width, height):
        return width, height
    scale = max(1, round(width / lr.width))
    return lr.width * scale, lr.height * scale
