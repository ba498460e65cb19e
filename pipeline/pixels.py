"""The array types of frames, and the conversions between 8-bit and 16-bit pixels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deploy.protocol import Pixels

__all__ = [
    "Picture",
    "Pixels",
    "as_pixels",
    "high_byte",
    "match_deeper",
    "match_depth",
    "to_8_bit",
    "to_16_bit",
]

Picture = NDArray[np.uint8]  # H x W x 3 RGB, for display

_FULL_SCALE = 257  # 65535 / 255


def as_pixels(array: NDArray[Any]) -> Pixels:
    """Return `array`, typed as Pixels for mypy, which is not aware that operations keep a dtype."""
    return cast(Pixels, array)


def to_8_bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 8- or 16-bit pixels as 8-bit pixels, rounded to the nearest level."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    return np.asarray((pixels.astype(np.uint32) + 128) // _FULL_SCALE, np.uint8)


def to_16_bit(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    """Return 8- or 16-bit pixels as 16-bit pixels; 8-bit 255 becomes 65535."""
    if pixels.dtype == np.uint16:
        return np.asarray(pixels, np.uint16)
    return np.asarray(pixels.astype(np.uint16) * _FULL_SCALE, np.uint16)


def match_depth(pixels: Pixels, like: Pixels) -> Pixels:
    """Return `pixels` with the bit depth of `like`."""
    return to_16_bit(pixels) if like.dtype == np.uint16 else to_8_bit(pixels)


def match_deeper(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels]:
    """Return two pictures, both converted to the greater of their bit depths."""
    deeper = first if first.itemsize > second.itemsize else second
    return match_depth(first, deeper), match_depth(second, deeper)


def high_byte(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the upper 8 bits of 16-bit pixels, or 8-bit pixels unchanged.

    Plans depend on this truncation, so do not round instead.
    """
    return np.asarray(pixels >> 8 if pixels.dtype == np.uint16 else pixels, np.uint8)
